"""The ledger under random operations on the real database: after each of them, everything adds up.

A model in plain Python says what each operation must do; the database must do the same, or refuse and change nothing.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import transaction as db_transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from accounts.exceptions import (
    AccountFrozenError,
    AccountsError,
    AlreadyPostedError,
    BadAmountError,
    HoldNotHeldError,
    InsufficientFundsError,
    UnbalancedJournalError,
)
from accounts.ledger import JournalDraft, place_hold, post, system_account
from accounts.models import Account, AccountKind, Entry, Hold, Journal, JournalKind
from accounts.money import WEI_MAX
from tests.accounts.ledger_words import rows
from tests.desk import NOW, freeze, make_account

ACCOUNTS_MAX = 5
"""NUMERIC(78, 0) holds the sum of eight largest balances, and external funding stands opposite to all."""

AMOUNTS = st.one_of(
    st.integers(1, 100),
    st.integers(1, WEI_MAX),
    st.sampled_from([10**18, 2**63 - 1, 2**63, 10**30 + 1, WEI_MAX // 2 + 1, WEI_MAX - 1, WEI_MAX]),
)


@dataclass
class Expected:
    """What an account must be."""

    current: int = 0
    held: int = 0
    is_frozen: bool = False
    entries: list[int] = field(default_factory=list)

    @property
    def available(self) -> int:
        return self.current - self.held


class LedgerMachine(RuleBasedStateMachine):
    """Users' accounts, external funding and fee income; holds of any state; sources used or free."""

    accounts: Bundle[int] = Bundle("accounts")
    holds: Bundle[str] = Bundle("holds")
    sources: Bundle[str] = Bundle("sources")

    def __init__(self) -> None:
        super().__init__()
        self._atomic = db_transaction.atomic()
        self._atomic.__enter__()
        self.expected: defaultdict[int, Expected] = defaultdict(Expected)
        self.held: dict[str, tuple[int, int]] = {}
        self.resolved: set[str] = set()
        self.posted: set[str] = set()
        self.numbers = 0

    def teardown(self) -> None:
        """Leave the database as it was."""
        db_transaction.set_rollback(True)
        self._atomic.__exit__(None, None, None)

    def new_source(self) -> str:
        self.numbers += 1
        return str(self.numbers)

    # --- What happens ------------------------------------------------------------------------------------------------
    @initialize(target=accounts)
    def open_the_books(self) -> Any:
        self.funding = system_account(AccountKind.EXTERNAL_FUNDING).pk
        self.income = system_account(AccountKind.FEE_INCOME).pk
        return multiple(make_account().pk, make_account().pk)

    @precondition(lambda self: len(self.expected) < ACCOUNTS_MAX)
    @rule(target=accounts)
    def open_account(self) -> int:
        pk = make_account().pk
        self.expected[pk] = Expected()
        return pk

    @rule(target=sources, account=accounts, amount=AMOUNTS)
    def credit(self, account: int, amount: int) -> str:
        source = self.new_source()
        fits = self.expected[account].current + amount <= WEI_MAX
        error = None if fits else BadAmountError
        self.post_expecting(error, {account: amount, self.funding: -amount}, source=source)
        return source

    @rule(target=sources, account=accounts, amount=AMOUNTS)
    def debit(self, account: int, amount: int) -> str:
        source = self.new_source()
        error = None if amount <= self.expected[account].available else InsufficientFundsError
        self.post_expecting(error, {account: -amount, self.funding: amount}, source=source)
        return source

    @rule(account=accounts)
    def debit_all_that_is_available(self, account: int) -> None:
        amount = self.expected[account].available
        if amount:
            self.post_expecting(None, {account: -amount, self.funding: amount}, source=self.new_source())
        self.post_expecting(InsufficientFundsError, {account: -1, self.funding: 1}, source=self.new_source())

    @rule(one=accounts, other=accounts, amount=AMOUNTS)
    def transfer(self, one: int, other: int, amount: int) -> None:
        if one == other:
            return
        error: type[AccountsError] | None = None
        if amount > self.expected[one].available:
            error = InsufficientFundsError
        elif self.expected[other].current + amount > WEI_MAX:
            error = BadAmountError
        both = amount > self.expected[one].available and self.expected[other].current + amount > WEI_MAX
        changes = {one: -amount, other: amount}
        self.post_expecting(AccountsError if both else error, changes, source=self.new_source())

    @rule(account=accounts, amount=AMOUNTS, source=sources)
    def post_a_source_again(self, account: int, amount: int, source: str) -> None:
        if source in self.posted:
            self.post_expecting(AlreadyPostedError, {account: amount, self.funding: -amount}, source=source)

    @rule(account=accounts, amount=AMOUNTS, off=st.integers(-3, 3).filter(bool))
    def post_what_does_not_balance(self, account: int, amount: int, off: int) -> None:
        changes = {account: amount, self.funding: -amount + off}
        self.post_expecting(UnbalancedJournalError, changes, source=self.new_source())

    @rule(target=holds, account=accounts, amount=AMOUNTS)
    def hold(self, account: int, amount: int) -> str:
        return self.place(account, amount)

    def place(self, account: int, amount: int) -> str:
        source, expected = self.new_source(), self.expected[account]
        error: type[AccountsError] | None = None
        if expected.is_frozen:
            error = AccountFrozenError
        elif amount > expected.available:
            error = InsufficientFundsError
        terms: dict[str, Any] = {
            "account_id": account,
            "amount_in_wei": amount,
            "kind": "payment",
            "source": source,
            "now": NOW,
        }
        self.call_expecting(error, lambda: place_hold(**terms))
        if error is None:
            expected.held += amount
            self.held[source] = (account, amount)
        return source

    @rule(target=holds, account=accounts)
    def hold_all_that_is_available(self, account: int) -> str:
        amount = self.expected[account].available
        return self.place(account, amount) if amount else self.new_source()

    @rule(sources=st.lists(holds, min_size=1, max_size=4), shares=st.lists(st.integers(0, 100), min_size=4, max_size=4))
    def settle(self, sources: list[str], shares: list[int]) -> None:
        """Settle some holds, taking a share of each off its account: in one call, so all of them or none."""
        error = self.why_not_resolved(sources)
        drafts: list[tuple[str, dict[int, int]]] = []
        for source, share in zip(sources, shares, strict=False):
            account, amount = self.held.get(source, (0, 0))
            spent = amount * share // 100
            income = spent // 10
            changes = {account: -spent, self.funding: spent - income, self.income: income}
            if spent:
                drafts.append((self.new_source(), {pk: wei for pk, wei in changes.items() if wei}))
        journals = [JournalDraft(JournalKind.SETTLEMENT, name, list(changes.items())) for name, changes in drafts]
        self.call_expecting(error, lambda: post(now=NOW, journals=journals, settle_holds=sources))
        if error is None:
            self.forget_holds(sources)
            for name, changes in drafts:
                self.book(name, changes)

    @rule(sources=st.lists(holds, min_size=1, max_size=3))
    def release(self, sources: list[str]) -> None:
        error = self.why_not_resolved(sources)
        self.call_expecting(error, lambda: post(now=NOW, release_holds=sources))
        if error is None:
            self.forget_holds(sources)

    @rule(source=holds, extra=AMOUNTS)
    def settle_and_take_more_than_was_held(self, source: str, extra: int) -> None:
        if source not in self.held:
            return
        account, amount = self.held[source]
        spent = amount + extra
        error = None if extra <= self.expected[account].available else InsufficientFundsError
        if spent > WEI_MAX:
            return
        name = self.new_source()
        changes = {account: -spent, self.funding: spent}
        draft = JournalDraft(JournalKind.SETTLEMENT, name, list(changes.items()))
        self.call_expecting(error, lambda: post(now=NOW, journals=[draft], settle_holds=[source]))
        if error is None:
            self.forget_holds([source])
            self.book(name, changes)

    @rule(account=accounts)
    def freeze(self, account: int) -> None:
        freeze(Account.objects.get(pk=account))
        self.expected[account].is_frozen = True

    @rule(account=accounts)
    def unfreeze(self, account: int) -> None:
        Account.objects.filter(pk=account).update(frozen_at=None, frozen_reason="")
        self.expected[account].is_frozen = False

    # --- The model ---------------------------------------------------------------------------------------------------
    def why_not_resolved(self, sources: list[str]) -> type[AccountsError] | None:
        fine = len(set(sources)) == len(sources) and all(source in self.held for source in sources)
        return None if fine else HoldNotHeldError

    def post_expecting(self, error: type[AccountsError] | None, changes: dict[int, int], *, source: str) -> None:
        draft = JournalDraft(JournalKind.ADJUSTMENT, source, list(changes.items()))
        self.call_expecting(error, lambda: post(now=NOW, journals=[draft]))
        if error is None:
            self.posted.add(source)
            self.book(source, changes)

    def call_expecting(self, error: type[AccountsError] | None, call: Any) -> None:
        """Call, and where an error is due see that it comes and that no row of the ledger moved."""
        if error is None:
            call()
            return
        before = rows()
        with pytest.raises(error):
            call()
        assert rows() == before

    def book(self, source: str, changes: dict[int, int]) -> None:
        for account, amount in changes.items():
            self.expected[account].current += amount
            self.expected[account].entries.append(amount)

    def forget_holds(self, sources: list[str]) -> None:
        for source in sources:
            account, amount = self.held.pop(source)
            self.expected[account].held -= amount
            self.resolved.add(source)

    # --- What must hold after each step ------------------------------------------------------------------------------
    @invariant()
    def balances_are_as_expected(self) -> None:
        for account in Account.objects.all():
            expected = self.expected[account.pk]
            assert account.current_balance_in_wei == expected.current
            assert account.available_balance_in_wei == expected.available
            if account.kind == AccountKind.USER:
                assert 0 <= account.available_balance_in_wei <= account.current_balance_in_wei <= WEI_MAX

    @invariant()
    def entries_explain_every_balance(self) -> None:
        running: defaultdict[int, list[int]] = defaultdict(list)
        for entry in Entry.objects.order_by("id"):
            running[entry.account_id].append(entry.amount_in_wei)
            assert entry.balance_after_in_wei == sum(running[entry.account_id])
        for pk, expected in self.expected.items():
            assert running[pk] == expected.entries
        assert sum(amount for amounts in running.values() for amount in amounts) == 0

    @invariant()
    def journals_balance(self) -> None:
        for journal in Journal.objects.prefetch_related("entries"):
            assert sum(entry.amount_in_wei for entry in journal.entries.all()) == 0

    @invariant()
    def holds_are_as_expected(self) -> None:
        found = {hold.source: hold for hold in Hold.objects.all()}
        assert set(found) == set(self.held) | self.resolved
        for source, (account, amount) in self.held.items():
            assert (found[source].account_id, found[source].amount_in_wei) == (account, amount)
            assert found[source].status == "held"
        assert all(found[source].status in ("settled", "released") for source in self.resolved)


@pytest.mark.django_db
def test_the_books_add_up_whatever_happens() -> None:
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(
            max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
