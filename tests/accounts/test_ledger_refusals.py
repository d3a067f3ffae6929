"""What the ledger refuses, and that a refusal leaves every row as it was."""

from types import SimpleNamespace

import pytest
from django.db import IntegrityError
from django.db import transaction as db_transaction

from accounts.exceptions import (
    AccountFrozenError,
    AccountNotFoundError,
    AlreadyPostedError,
    HoldNotHeldError,
    InsufficientFundsError,
    UnbalancedJournalError,
)
from accounts.ledger import JournalDraft, place_hold, post
from accounts.models import Account, AccountKind, JournalKind
from tests.accounts.ledger_words import LATER, account, balances, hold, journal, rows
from tests.desk import ETHER, NOW, credit, freeze, make_account

pytestmark = pytest.mark.django_db


class TestHoldRefused:
    def test_more_than_is_available(self, alice: Account) -> None:
        hold(alice, 3 * ETHER, "1")
        before = rows()
        with pytest.raises(InsufficientFundsError):
            hold(alice, 2 * ETHER + 1, "2")
        assert rows() == before
        hold(alice, 2 * ETHER, "2")
        assert balances(alice) == [(5 * ETHER, 0)]

    def test_an_empty_account(self) -> None:
        empty = make_account()
        before = rows()
        with pytest.raises(InsufficientFundsError):
            hold(empty, 1)
        assert rows() == before

    def test_a_frozen_account(self, alice: Account) -> None:
        freeze(alice)
        before = rows()
        with pytest.raises(AccountFrozenError):
            hold(alice, 1)
        assert rows() == before

    def test_no_account_and_none_of_a_user(self, alice: Account, wallet_account: Account) -> None:
        income = account(AccountKind.FEE_INCOME)
        credit(income, ETHER)
        before = rows()
        for account_id in (alice.pk + 1000, wallet_account.pk, income.pk):
            with pytest.raises(AccountNotFoundError):
                place_hold(account_id=account_id, amount_in_wei=1, kind="payment", source="1", now=NOW)
        assert rows() == before

    @pytest.mark.parametrize("amount", [0, -1, -ETHER])
    def test_an_amount_that_is_none_does_not_create_money(self, alice: Account, amount: int) -> None:
        hold(alice, 4 * ETHER, "other")
        before = rows()
        with pytest.raises(IntegrityError, match="accounts_hold_amount_within_uint256"), db_transaction.atomic():
            hold(alice, amount)
        assert rows() == before

    def test_the_same_source_twice(self, alice: Account) -> None:
        hold(alice, ETHER, "1")
        before = rows()
        with pytest.raises(IntegrityError, match="accounts_hold_placed_once"), db_transaction.atomic():
            hold(alice, ETHER, "1")
        assert rows() == before


class TestPostRefused:
    """All or nothing: whatever is wrong with one journal or hold, no row of any moves."""

    def test_entries_that_do_not_sum_to_zero(self, alice: Account, wallet_account: Account) -> None:
        hold(alice, ETHER, "1")
        good = journal((alice, -ETHER), (wallet_account, ETHER), source="good")
        before = rows()
        for bad in (
            journal((alice, -ETHER), (wallet_account, ETHER - 1), source="bad"),
            journal((alice, 1), source="bad"),
            journal((alice, -1), (wallet_account, 1), (alice, 0), source="bad"),
        ):
            with pytest.raises(UnbalancedJournalError):
                post(now=NOW, journals=[good, bad], settle_holds=["1"])
        assert rows() == before

    def test_a_second_posting_of_the_same_event(self, alice: Account, wallet_account: Account) -> None:
        post(now=NOW, journals=[journal((alice, -1), (wallet_account, 1), source="9")])
        hold(alice, ETHER, "1")
        before = rows()
        with pytest.raises(AlreadyPostedError):
            post(
                now=NOW,
                journals=[journal((alice, -2), (wallet_account, 2), source=source) for source in ("8", "9")],
                settle_holds=["1"],
            )
        assert rows() == before
        post(now=NOW, journals=[journal((alice, -1), (wallet_account, 1), source="9", kind=JournalKind.ADJUSTMENT)])
        assert balances(alice)[0][0] == 5 * ETHER - 2, "the same source under another kind is another event"

    def test_the_same_event_twice_in_one_call(self, alice: Account, wallet_account: Account) -> None:
        before = rows()
        with pytest.raises(AlreadyPostedError):
            post(now=NOW, journals=[journal((alice, -1), (wallet_account, 1), source="9")] * 2)
        assert rows() == before

    @pytest.mark.parametrize("first", ["settle_holds", "release_holds"])
    @pytest.mark.parametrize("second", ["settle_holds", "release_holds"])
    def test_a_hold_is_resolved_only_once(
        self, alice: Account, wallet_account: Account, first: str, second: str
    ) -> None:
        hold(alice, ETHER, "1")
        hold(alice, ETHER, "2")
        post(now=NOW, **{first: ["1"]})  # type: ignore[arg-type]
        before = rows()
        with pytest.raises(HoldNotHeldError):
            post(
                now=LATER,
                journals=[journal((alice, -1), (wallet_account, 1), source="x")],
                **{second: ["2", "1"]},  # type: ignore[arg-type]
            )
        assert rows() == before

    def test_a_hold_in_both_lists_or_twice_in_one(self, alice: Account) -> None:
        hold(alice, ETHER, "1")
        before = rows()
        with pytest.raises(HoldNotHeldError):
            post(now=NOW, settle_holds=["1"], release_holds=["1"])
        with pytest.raises(HoldNotHeldError):
            post(now=NOW, release_holds=["1", "1"])
        assert rows() == before

    def test_a_hold_that_was_never_placed_or_is_of_another_kind(self, alice: Account) -> None:
        place_hold(account_id=alice.pk, amount_in_wei=1, kind="sweep", source="1", now=NOW)
        before = rows()
        with pytest.raises(HoldNotHeldError):
            post(now=NOW, release_holds=["1"])
        assert rows() == before
        post(now=NOW, release_holds=["1"], hold_kind="sweep")
        assert balances(alice) == [(5 * ETHER, 5 * ETHER)]

    def test_an_account_that_is_not_there(self, alice: Account) -> None:
        before = rows()
        with pytest.raises(AccountNotFoundError):
            post(now=NOW, journals=[JournalDraft(JournalKind.SETTLEMENT, "1", [(alice.pk, -1), (alice.pk + 999, 1)])])
        assert rows() == before

    def test_a_debit_beyond_the_hold_that_pays_for_it(self, alice: Account, wallet_account: Account) -> None:
        hold(alice, ETHER, "1")
        hold(alice, 4 * ETHER, "2")
        before = rows()
        with pytest.raises(InsufficientFundsError):
            post(now=NOW, journals=[journal((alice, -ETHER - 1), (wallet_account, ETHER + 1))], settle_holds=["1"])
        assert rows() == before

    def test_a_refusal_that_has_no_word_of_ours_passes_through(self, alice: Account, wallet_account: Account) -> None:
        before = rows()
        entries = [(alice.pk, -1), (wallet_account.pk, 1)]
        unheard_of = SimpleNamespace(kind=SimpleNamespace(value="gift"), source="1", entries=entries)
        unheard_of.description, unheard_of.created_by_id = "", None
        with pytest.raises(IntegrityError, match="accounts_journal_kind_known"):
            post(now=NOW, journals=[unheard_of])  # type: ignore[list-item]
        assert rows() == before

    def test_nothing_to_post_is_nothing_done(self, alice: Account) -> None:
        before = rows()
        post(now=NOW)
        assert rows() == before
