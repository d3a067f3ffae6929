"""Policies are set with a reason, recorded with old and new, by anybody but the account's owner."""

import datetime as dt
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections

from accounts.exceptions import AccountNotFoundError, BadAmountError, ReasonRequiredError
from accounts.ledger import system_account
from accounts.models import Account, AccountKind, AuditEvent
from accounts.money import WEI_MAX
from tests.desk import ETHER, NOW, Desk, make_account, make_address, make_officer, make_user
from tests.pages import owner_of
from tests.staff import events
from transactions.exceptions import BadAddressError, OwnAccountError, PolicyChangedError
from transactions.models import AccountPolicy, AllowedRecipient
from transactions.services.policies import Terms, allow_recipients, disallow_recipients, set_policy, terms_of

LATER = NOW + dt.timedelta(hours=1)
FIRST, SECOND = make_address(2**104), make_address(2**105)

pytestmark = pytest.mark.django_db


@pytest.fixture
def account(db: None) -> Account:
    return make_account()


def put(account: Account, terms: Terms, **changes: Any) -> AccountPolicy:
    """Set a policy for the first time, but for the changes."""
    options = {"actor": make_officer(), "reason": "Contract", "seen_at": None, "now": NOW, **changes}
    return set_policy(account_id=account.pk, terms=terms, **options)


def allow(account: Account, notes: dict[str, str], **changes: Any) -> list[AllowedRecipient]:
    options = {"actor": make_officer(), "reason": "Contract", "now": NOW, **changes}
    return allow_recipients(account_id=account.pk, notes_by_address=notes, **options)


def listed(account: Account) -> dict[str, str]:
    return dict(AllowedRecipient.objects.filter(account=account).values_list("address", "note"))


class TestSet:
    def test_a_first_policy_is_kept_and_recorded(self, account: Account) -> None:
        terms = Terms(2 * ETHER, 5 * ETHER, 0, is_allow_list_only=True)
        policy = put(account, terms, reason=" New  customer ")
        policy.refresh_from_db()
        assert (policy.pk, policy.changed_at) == (account.pk, NOW)
        assert terms_of(policy) == terms
        (event,) = events("account.policy_set")
        assert (event.actor, event.reason) == (make_officer(), "New customer")
        assert (event.target_type, event.target_id) == ("accounts.account", str(account.pk))
        assert event.details == {
            "amount_max_in_wei": [None, "2000000000000000000"],
            "daily_amount_max_in_wei": [None, "5000000000000000000"],
            "approval_above_in_wei": [None, "0"],
            "is_allow_list_only": [False, True],
        }

    def test_of_a_change_only_what_differs_is_recorded(self, account: Account) -> None:
        put(account, Terms(amount_max_in_wei=2, daily_amount_max_in_wei=5))
        policy = put(account, Terms(amount_max_in_wei=3, daily_amount_max_in_wei=5), seen_at=NOW, now=LATER)
        assert policy.changed_at == LATER
        assert events("account.policy_set")[-1].details == {"amount_max_in_wei": ["2", "3"]}
        put(account, Terms(), seen_at=LATER, now=LATER)
        assert events("account.policy_set")[-1].details == {
            "amount_max_in_wei": ["3", None],
            "daily_amount_max_in_wei": ["5", None],
        }

    def test_the_same_again_changes_nothing(self, account: Account) -> None:
        terms = Terms(amount_max_in_wei=2)
        put(account, terms)
        assert put(account, terms, seen_at=NOW, now=LATER).changed_at == NOW
        assert len(events("account.policy_set")) == 1

    @pytest.mark.parametrize("seen_at", [None, LATER])
    def test_what_a_colleague_changed_meanwhile_is_not_overwritten(
        self, account: Account, seen_at: dt.datetime | None
    ) -> None:
        put(account, Terms(amount_max_in_wei=2))
        with pytest.raises(PolicyChangedError):
            put(account, Terms(amount_max_in_wei=9), seen_at=seen_at)
        assert AccountPolicy.objects.get().amount_max_in_wei == 2
        assert len(events("account.policy_set")) == 1

    @pytest.mark.parametrize(
        "terms",
        [
            Terms(amount_max_in_wei=0),
            Terms(daily_amount_max_in_wei=0),
            Terms(approval_above_in_wei=-1),
            Terms(amount_max_in_wei=WEI_MAX + 1),
            Terms(daily_amount_max_in_wei=WEI_MAX + 1),
            Terms(approval_above_in_wei=WEI_MAX + 1),
        ],
    )
    def test_a_limit_is_an_amount(self, account: Account, terms: Terms) -> None:
        with pytest.raises(BadAmountError):
            put(account, terms)
        assert not AccountPolicy.objects.exists()

    def test_a_reason_is_needed(self, account: Account) -> None:
        with pytest.raises(ReasonRequiredError):
            put(account, Terms(amount_max_in_wei=2), reason=" ")
        assert not AccountPolicy.objects.exists()

    def test_nobody_sets_their_own(self, account: Account) -> None:
        with pytest.raises(OwnAccountError):
            put(account, Terms(amount_max_in_wei=2), actor=owner_of(account))
        assert not AccountPolicy.objects.exists()
        assert not AuditEvent.objects.exists()

    def test_the_desks_own_accounts_have_none(self, account: Account) -> None:
        for other in (system_account(AccountKind.FEE_INCOME).pk, 10**9):
            with pytest.raises(AccountNotFoundError):
                put(Account(pk=other), Terms(amount_max_in_wei=2))

    def test_payments_accepted_before_go_on(self) -> None:
        desk = Desk()
        payment = desk.accept(3 * ETHER)
        desk.set_policy(amount_max_in_wei=1, is_allow_list_only=True, approval_above_in_wei=0)
        desk.run_to_the_end()
        desk.assert_paid_once([payment])


class TestRules:
    def test_each_is_told_and_nothing_else(self) -> None:
        policy = AccountPolicy(
            amount_max_in_wei=2 * ETHER,
            daily_amount_max_in_wei=5 * ETHER,
            approval_above_in_wei=0,
            is_allow_list_only=True,
        )
        assert policy.rules == [
            "at most 2 ETH at once",
            "at most 5 ETH within 24 hours",
            "approval above 0 ETH",
            "only recipients on its allow-list",
        ]
        assert AccountPolicy().rules == []


class TestAllowList:
    def test_recipients_are_listed_in_eip_55_form_and_recorded(self, account: Account) -> None:
        rows = allow(account, {FIRST.lower(): "Acme", SECOND: ""})
        assert listed(account) == {FIRST: "Acme", SECOND: ""}
        assert {row.pk for row in rows} == set(AllowedRecipient.objects.values_list("pk", flat=True))
        (event,) = events("account.recipients_allowed")
        assert (event.actor, event.target_id, event.reason) == (make_officer(), str(account.pk), "Contract")
        assert event.details == {FIRST: [None, "Acme"], SECOND: [None, ""]}

    def test_one_that_is_listed_gets_the_new_note(self, account: Account) -> None:
        allow(account, {FIRST: "Acme"})
        allow(account, {FIRST: "Acme Ltd", SECOND: "Bob"}, now=LATER)
        assert listed(account) == {FIRST: "Acme Ltd", SECOND: "Bob"}
        assert AllowedRecipient.objects.get(address=FIRST).allowed_at == NOW
        assert events("account.recipients_allowed")[-1].details == {
            FIRST: ["Acme", "Acme Ltd"],
            SECOND: [None, "Bob"],
        }
        allow(account, {FIRST: "Acme Ltd"})
        assert len(events("account.recipients_allowed")) == 2, "nothing was changed"

    def test_what_is_no_address_lists_nobody(self, account: Account) -> None:
        with pytest.raises(BadAddressError):
            allow(account, {FIRST: "", "bob": ""})
        assert listed(account) == {}

    def test_who_is_taken_off_is_recorded(self, account: Account) -> None:
        allow(account, {FIRST: "Acme", SECOND: "Bob"})
        other = make_account()
        allow(other, {FIRST: "theirs"})
        count = disallow_recipients(
            actor=make_officer(), account_id=account.pk, addresses=[FIRST, make_address()], reason="Ended"
        )
        assert (count, listed(account), listed(other)) == (1, {SECOND: "Bob"}, {FIRST: "theirs"})
        (event,) = events("account.recipients_disallowed")
        assert (event.target_id, event.reason, event.details) == (str(account.pk), "Ended", {FIRST: ["Acme", None]})
        disallow_recipients(actor=make_officer(), account_id=account.pk, addresses=[FIRST], reason="Ended")
        assert len(events("account.recipients_disallowed")) == 1

    def test_nobody_changes_their_own_and_none_without_a_reason(self, account: Account) -> None:
        allow(account, {FIRST: "Acme"})
        take_off = {"account_id": account.pk, "addresses": [FIRST]}
        with pytest.raises(OwnAccountError):
            allow(account, {SECOND: ""}, actor=owner_of(account))
        with pytest.raises(OwnAccountError):
            disallow_recipients(actor=owner_of(account), reason="x", **take_off)  # type: ignore[arg-type]
        with pytest.raises(ReasonRequiredError):
            allow(account, {SECOND: ""}, reason="")
        with pytest.raises(ReasonRequiredError):
            disallow_recipients(actor=make_user(), reason="", **take_off)  # type: ignore[arg-type]
        assert listed(account) == {FIRST: "Acme"}


@pytest.mark.django_db(transaction=True)
def test_of_many_who_set_a_first_policy_at_once_one_does() -> None:
    account, officer = make_account(), make_officer()
    barrier = threading.Barrier(8)

    def run(number: int) -> object:
        barrier.wait(20)
        try:
            return put(account, Terms(amount_max_in_wei=number + 1), actor=officer).amount_max_in_wei
        except PolicyChangedError as error:
            return type(error)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(run, range(8)))
    assert answers.count(PolicyChangedError) == 7
    assert AccountPolicy.objects.get().amount_max_in_wei in answers
    assert AuditEvent.objects.count() == 1
