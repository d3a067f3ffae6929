"""Operators freeze, unfreeze, credit and debit accounts through pages that ask why and show before and after."""

import re
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.urls import reverse

from accounts.ledger import place_hold, system_account
from accounts.models import Account, AccountKind, Journal
from tests.books import assert_books_balance
from tests.desk import ETHER, NOW, make_account, make_user
from tests.staff import Staff, balances, events, make_staff

pytestmark = pytest.mark.django_db
LIST = "admin:accounts_account_changelist"


@pytest.fixture
def operator(db: None) -> Staff:
    return make_staff("operators")


def act(staff: Staff, action: str, *accounts: Account) -> Any:
    """Choose an action in the list, as a browser does."""
    fields = {"action": action, "_selected_action": [row.pk for row in accounts], "index": 0}
    return staff.client.post(reverse(LIST), fields)


def said(answer: Any) -> list[str]:
    return [str(message) for message in get_messages(answer.wsgi_request)]


def freeze_url(*accounts: Account, page: str = "freeze") -> str:
    return reverse(f"admin:accounts_account_{page}") + "?" + "&".join(f"id={row.pk}" for row in accounts)


def adjust_url(account: Account, page: str = "credit") -> str:
    return reverse(f"admin:accounts_account_{page}", args=[account.pk])


def adjustment(**changes: str) -> dict[str, str]:
    return {
        "amount": "1.5",
        "unit": "ether",
        "reason": "Correction of payment 12",
        "request_id": "2f1c2c1e-5a0a-4a8e-8f0e-3d7f2a7b9c11",
        **changes,
    }


# --- Freeze and unfreeze ----------------------------------------------------------------------------------------------
def test_an_action_leads_to_a_page_that_asks_why(operator: Staff, alice: Account) -> None:
    answer = act(operator, "freeze", alice)
    assert answer["Location"] == freeze_url(alice)
    page = operator.client.get(answer["Location"])
    assert page.status_code == 200
    assert f"Freeze Main (#{alice.pk})" in page.content.decode()
    alice.refresh_from_db()
    assert not alice.is_frozen


def test_several_accounts_are_frozen_with_one_reason(operator: Staff) -> None:
    accounts = [make_account() for _ in range(3)]
    answer = operator.client.post(freeze_url(*accounts), {"reason": "Court order 4711"})
    assert answer["Location"] == reverse(LIST)
    assert set(Account.objects.filter(frozen_reason="Court order 4711")) == set(accounts)
    assert {event.target_id for event in events("account.frozen")} == {str(row.pk) for row in accounts}
    assert {(event.actor, event.reason) for event in events("account.frozen")} == {(operator.user, "Court order 4711")}


def test_one_account_is_frozen_and_unfrozen_from_its_page(operator: Staff, alice: Account) -> None:
    page = reverse("admin:accounts_account_change", args=[alice.pk])
    assert freeze_url(alice) in operator.client.get(page).content.decode()
    assert operator.client.post(freeze_url(alice), {"reason": "Lost phone"})["Location"] == page
    assert freeze_url(alice, page="unfreeze") in operator.client.get(page).content.decode()
    operator.client.post(freeze_url(alice, page="unfreeze"), {"reason": "Phone found"})
    alice.refresh_from_db()
    assert not alice.is_frozen
    assert len(events("account.unfrozen")) == 1


@pytest.mark.parametrize("reason", ["", "   ", "x" * 501])
def test_without_a_reason_nothing_is_frozen(operator: Staff, alice: Account, reason: str) -> None:
    answer = operator.client.post(freeze_url(alice), {"reason": reason})
    assert answer.status_code == 200
    assert "errorlist" in answer.content.decode()
    alice.refresh_from_db()
    assert not alice.is_frozen


def test_those_frozen_already_are_named_and_the_others_frozen(operator: Staff, alice: Account) -> None:
    other = make_account()
    operator.client.post(freeze_url(alice), {"reason": "First"})
    answer = operator.client.post(freeze_url(alice, other), {"reason": "Second"})
    assert f"Account #{alice.pk} is frozen already: First" in said(answer)
    assert f"Frozen: Main (#{other.pk})." in said(answer)
    alice.refresh_from_db()
    assert alice.frozen_reason == "First"


@pytest.mark.parametrize("query", ["", "?id=", "?id=abc", "?id=999999999", "?id=" + "9" * 40])
def test_pages_about_no_account_lead_back(operator: Staff, query: str) -> None:
    income = system_account(AccountKind.FEE_INCOME)
    for address in (query, f"?id={income.pk}"):
        answer = operator.client.post(reverse("admin:accounts_account_freeze") + address, {"reason": "Try"})
        assert answer["Location"] == reverse(LIST)
    assert events("account.frozen") == []


def test_at_most_a_hundred_at_once(operator: Staff) -> None:
    owner = make_user()
    accounts = Account.objects.bulk_create([Account(owner=owner, name=f"A{number}") for number in range(101)])
    answer = act(operator, "freeze", *accounts)
    assert said(answer) == ["Choose at most 100 accounts at once."]


# --- Credit and debit -------------------------------------------------------------------------------------------------
def test_a_credit_is_reviewed_then_posted(operator: Staff, alice: Account) -> None:
    review = operator.client.post(adjust_url(alice), adjustment())
    page = review.content.decode()
    assert "Credit <strong>1.5 ETH</strong>" in page
    assert "5 ETH" in page
    assert "<strong>6.5 ETH</strong>" in page
    assert balances(alice) == (5 * ETHER, 5 * ETHER), "a review changes nothing"
    # What the review's form holds is what the browser sends.
    fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page))
    del fields["csrfmiddlewaretoken"]
    assert fields == adjustment()
    answer = operator.client.post(adjust_url(alice), {**fields, "confirm": "1"})
    assert answer["Location"] == reverse("admin:accounts_account_change", args=[alice.pk])
    assert balances(alice) == (13 * ETHER // 2, 13 * ETHER // 2)
    (event,) = events("account.credited")
    assert (event.actor, event.reason) == (operator.user, "Correction of payment 12")
    assert event.details["amount_in_wei"] == str(3 * ETHER // 2)
    assert_books_balance()


def test_each_form_has_a_request_id_of_its_own(operator: Staff, alice: Account) -> None:
    pages = [operator.client.get(adjust_url(alice)).content.decode() for _ in range(2)]
    ids = {re.findall(r'name="request_id" value="([^"]+)"', page)[0] for page in pages}
    assert len(ids) == 2


@pytest.mark.parametrize("page", ["credit", "debit"])
def test_a_form_confirmed_twice_counts_once(operator: Staff, alice: Account, page: str) -> None:
    for _ in range(2):
        answer = operator.client.post(adjust_url(alice, page), {**adjustment(), "confirm": "1"})
    assert any("Nothing was posted a second time" in text for text in said(answer))
    change = 3 * ETHER // 2 * (1 if page == "credit" else -1)
    assert balances(alice) == (5 * ETHER + change, 5 * ETHER + change)
    assert len(events(f"account.{page}ed")) == 1


@pytest.mark.parametrize(
    ("amount", "unit", "wei"), [("7", "wei", 7), ("0.5", "gwei", 5 * 10**8), ("0.000000000000000001", "ether", 1)]
)
def test_an_amount_has_a_unit(operator: Staff, alice: Account, amount: str, unit: str, wei: int) -> None:
    operator.client.post(adjust_url(alice, "debit"), {**adjustment(amount=amount, unit=unit), "confirm": "1"})
    assert balances(alice) == (5 * ETHER - wei, 5 * ETHER - wei)


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount": "0"},
        {"amount": "-1"},
        {"amount": "1e3"},
        {"amount": "1,5"},
        {"amount": "0.5", "unit": "wei"},
        {"amount": "9" * 79},
        {"unit": "finney"},
        {"reason": " "},
        {"request_id": "not a uuid"},
    ],
)
@pytest.mark.parametrize("confirm", [{}, {"confirm": "1"}])
def test_what_is_wrong_is_said_and_nothing_posted(
    operator: Staff, alice: Account, wrong: dict[str, str], confirm: dict[str, str]
) -> None:
    answer = operator.client.post(adjust_url(alice), {**adjustment(**wrong), **confirm})
    assert answer.status_code == 200
    assert "errornote" in answer.content.decode()
    assert balances(alice) == (5 * ETHER, 5 * ETHER)
    assert events("account.credited") == []


def test_a_debit_beyond_what_is_available_is_refused_in_review_and_at_the_end(operator: Staff, alice: Account) -> None:
    place_hold(account_id=alice.pk, amount_in_wei=ETHER, kind="payment", source="1", now=NOW)
    for fields in (adjustment(amount="4.1"), {**adjustment(amount="4.1"), "confirm": "1"}):
        answer = operator.client.post(adjust_url(alice, "debit"), fields)
        assert "The available balance does not cover this amount." in answer.content.decode()
    assert balances(alice) == (5 * ETHER, 4 * ETHER)
    operator.client.post(adjust_url(alice, "debit"), {**adjustment(amount="4"), "confirm": "1"})
    assert balances(alice) == (ETHER, 0)


def test_the_desks_own_accounts_have_no_such_page(operator: Staff) -> None:
    income = system_account(AccountKind.FEE_INCOME)
    for page in ("credit", "debit"):
        answer = operator.client.post(adjust_url(income, page), {**adjustment(), "confirm": "1"})
        assert answer.status_code == 404
    assert balances(income) == (0, 0)
    assert (
        "Credit…"
        not in operator.client.get(reverse("admin:accounts_account_change", args=[income.pk])).content.decode()
    )


@pytest.mark.parametrize("action", ["credit", "debit"])
def test_the_list_leads_to_one_account_only(operator: Staff, alice: Account, action: str) -> None:
    assert act(operator, action, alice)["Location"] == adjust_url(alice, action)
    assert said(act(operator, action, alice, make_account())) == [f"Choose the one account to {action}."]


def test_changing_ones_mind_shows_the_form_again(operator: Staff, alice: Account) -> None:
    page = operator.client.post(adjust_url(alice), {**adjustment(), "change": "1"}).content.decode()
    assert 'name="amount" value="1.5"' in page
    assert "<strong>6.5 ETH</strong>" not in page


# --- Open, look, find -------------------------------------------------------------------------------------------------
def test_a_superuser_opens_an_account() -> None:
    staff, owner = make_staff(is_superuser=True), make_user("bob")
    staff.client.post(reverse("admin:accounts_account_add"), {"owner": owner.pk, "name": "Savings"})
    account = Account.objects.get(owner=owner)
    assert (account.name, account.kind, balances(account)) == ("Savings", "user", (0, 0))
    (event,) = events("account.opened")
    assert (event.actor, event.target_id) == (staff.user, str(account.pk))
    assert not Journal.objects.exists()


def test_an_account_without_owner_is_not_opened() -> None:
    staff = make_staff(is_superuser=True)
    answer = staff.client.post(reverse("admin:accounts_account_add"), {"owner": "", "name": "Savings"})
    assert "errorlist" in answer.content.decode()
    assert not Account.objects.exists()


def test_balances_are_shown_in_ether_and_exact_wei(operator: Staff) -> None:
    make_account(balance_in_wei=1_500_000_000_000_000_001)
    page = operator.client.get(reverse(LIST)).content.decode()
    assert "1.500000000000000001 ETH" in page
    assert "1,500,000,000,000,000,001 wei" in page


def test_accounts_are_found_by_number_name_and_owner(operator: Staff) -> None:
    wanted = make_account(make_user("carol"), name="Travel money")
    make_account(make_user("dave"), name="Savings")
    for term in (str(wanted.pk), f"#{wanted.pk}", "travel", "CAROL", " carol "):
        listed = operator.client.get(reverse(LIST), {"q": term}).context["cl"].result_list
        assert list(listed) == [wanted], term


def test_accounts_are_filtered_by_being_frozen(operator: Staff, alice: Account) -> None:
    operator.client.post(freeze_url(alice), {"reason": "Lost phone"})
    make_account()
    listed = operator.client.get(reverse(LIST), {"frozen": "yes"}).context["cl"].result_list
    assert list(listed) == [alice]
    assert "Lost phone" in operator.client.get(reverse(LIST), {"frozen": "yes"}).content.decode()
