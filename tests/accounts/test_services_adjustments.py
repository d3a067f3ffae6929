"""Staff credit and debit accounts by balanced journals, once for each request, never below zero."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections

from accounts.exceptions import (
    AccountNotFoundError,
    AlreadyPostedError,
    BadAmountError,
    InsufficientFundsError,
    ReasonRequiredError,
)
from accounts.ledger import place_hold, system_account
from accounts.models import Account, AccountKind, AuditEvent, Journal, JournalKind, User
from accounts.money import WEI_MAX
from accounts.services.adjustments import Adjustment, credit_account, debit_account
from tests.books import assert_books_balance
from tests.desk import ETHER, NOW, freeze, make_account, make_user
from tests.staff import balances, events

Service = Callable[..., Adjustment]


@pytest.fixture
def actor(db: None) -> User:
    return make_user("officer")


def terms(actor: User, account: Account, amount_in_wei: int = ETHER, **changes: Any) -> dict[str, Any]:
    """Return the arguments of an adjustment."""
    return {
        "actor": actor,
        "account_id": account.pk,
        "amount_in_wei": amount_in_wei,
        "reason": "Correction of payment 12",
        "request_id": "request-1",
        **changes,
    }


def adjustments() -> int:
    return Journal.objects.filter(kind=JournalKind.ADJUSTMENT, source__startswith="request").count()


def test_a_credit_posts_a_balanced_journal_against_external_funding(alice: Account, actor: User) -> None:
    adjustment = credit_account(**terms(actor, alice, 3 * ETHER))
    assert balances(alice) == (8 * ETHER, 8 * ETHER)
    journal = Journal.objects.get(pk=adjustment.journal_id)
    assert (journal.kind, journal.source, journal.created_by) == (JournalKind.ADJUSTMENT, "request-1", actor)
    assert journal.description == "Correction of payment 12"
    funding = system_account(AccountKind.EXTERNAL_FUNDING).pk
    assert dict(journal.entries.values_list("account_id", "amount_in_wei")) == {
        alice.pk: 3 * ETHER,
        funding: -3 * ETHER,
    }
    (event,) = events("account.credited")
    assert (event.actor, event.target_id, event.reason) == (actor, str(alice.pk), "Correction of payment 12")
    assert event.details == {"amount_in_wei": str(3 * ETHER), "journal": journal.pk}
    assert_books_balance()


def test_a_debit_takes_down_to_the_last_wei(alice: Account, actor: User) -> None:
    debit_account(**terms(actor, alice, 5 * ETHER))
    assert balances(alice) == (0, 0)
    (event,) = events("account.debited")
    assert event.details["amount_in_wei"] == str(5 * ETHER)
    assert_books_balance()


def test_a_debit_never_goes_below_zero(alice: Account, actor: User) -> None:
    with pytest.raises(InsufficientFundsError):
        debit_account(**terms(actor, alice, 5 * ETHER + 1))
    assert balances(alice) == (5 * ETHER, 5 * ETHER)
    assert adjustments() == 0
    assert events("account.debited") == []


def test_a_debit_leaves_what_payments_have_reserved(alice: Account, actor: User) -> None:
    place_hold(account_id=alice.pk, amount_in_wei=2 * ETHER, kind="payment", source="1", now=NOW)
    with pytest.raises(InsufficientFundsError):
        debit_account(**terms(actor, alice, 3 * ETHER + 1))
    assert balances(alice) == (5 * ETHER, 3 * ETHER)
    debit_account(**terms(actor, alice, 3 * ETHER))
    assert balances(alice) == (2 * ETHER, 0)


def test_a_frozen_account_can_be_corrected(alice: Account, actor: User) -> None:
    freeze(alice)
    credit_account(**terms(actor, alice, 1))
    debit_account(**terms(actor, alice, 2, request_id="request-2"))
    assert balances(alice) == (5 * ETHER - 1, 5 * ETHER - 1)


@pytest.mark.parametrize("service", [credit_account, debit_account])
def test_the_same_request_again_posts_nothing(service: Service, alice: Account, actor: User) -> None:
    first = service(**terms(actor, alice))
    after = balances(alice)
    second = service(**terms(actor, alice))
    assert (first.replayed, second.replayed) == (False, True)
    assert first.journal_id == second.journal_id
    assert balances(alice) == after
    assert AuditEvent.objects.count() == 1


def test_a_debit_of_everything_sent_twice_is_no_lack_of_funds(alice: Account, actor: User) -> None:
    debit_account(**terms(actor, alice, 5 * ETHER))
    assert debit_account(**terms(actor, alice, 5 * ETHER)).replayed


def test_a_request_id_serves_one_adjustment_only(alice: Account, actor: User) -> None:
    other = make_account(balance_in_wei=ETHER)
    credit_account(**terms(actor, alice))
    for service, arguments in (
        (credit_account, terms(actor, alice, 2 * ETHER)),
        (credit_account, terms(actor, other)),
        (debit_account, terms(actor, alice)),
    ):
        with pytest.raises(AlreadyPostedError):
            service(**arguments)
    assert balances(alice) == (6 * ETHER, 6 * ETHER)
    assert balances(other) == (ETHER, ETHER)


@pytest.mark.parametrize("service", [credit_account, debit_account])
@pytest.mark.parametrize("amount", [0, -1, WEI_MAX + 1])
def test_an_amount_is_from_one_wei_to_the_largest(service: Service, amount: int, alice: Account, actor: User) -> None:
    with pytest.raises(BadAmountError):
        service(**terms(actor, alice, amount))
    assert balances(alice) == (5 * ETHER, 5 * ETHER)


def test_no_balance_goes_beyond_the_largest_amount(alice: Account, actor: User) -> None:
    with pytest.raises(BadAmountError):
        credit_account(**terms(actor, alice, WEI_MAX))
    assert balances(alice) == (5 * ETHER, 5 * ETHER)
    credit_account(**terms(actor, alice, WEI_MAX - 5 * ETHER))
    assert balances(alice) == (WEI_MAX, WEI_MAX)
    assert_books_balance()


@pytest.mark.parametrize("service", [credit_account, debit_account])
def test_an_adjustment_needs_a_reason(service: Service, alice: Account, actor: User) -> None:
    with pytest.raises(ReasonRequiredError):
        service(**terms(actor, alice, reason="  "))
    assert balances(alice) == (5 * ETHER, 5 * ETHER)


def test_only_users_accounts_are_adjusted(actor: User) -> None:
    income = system_account(AccountKind.FEE_INCOME)
    with pytest.raises(AccountNotFoundError):
        credit_account(**terms(actor, income))
    assert balances(income) == (0, 0)


@pytest.mark.django_db(transaction=True)
def test_a_form_sent_eight_times_at_once_counts_once() -> None:
    actor, account = make_user("officer"), make_account(balance_in_wei=ETHER)

    def send(_: int) -> Adjustment:
        try:
            return credit_account(**terms(actor, account))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(send, range(8)))
    assert sorted(answer.replayed for answer in answers) == [False] + [True] * 7
    assert len({answer.journal_id for answer in answers}) == 1
    assert balances(account) == (2 * ETHER, 2 * ETHER)
    assert len(events("account.credited")) == 1
    assert_books_balance()
