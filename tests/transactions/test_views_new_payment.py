"""The pages that make a payment: the form with its refusals, the confirmation, and never paying twice."""

import datetime as dt
import re
import threading
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import time_machine
from django.contrib.messages import get_messages
from django.db import connection
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings

from accounts.models import Account
from accounts.money import WEI_MAX
from tasks.submission import account_lock
from tests.desk import ETHER, FEE, Desk, credit, freeze, make_account, make_user
from tests.pages import links_of, owner_of, text_of
from transactions.models import Transaction
from transactions.services.limits import NO_LIMITS

CHECKSUMMED = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
MISTYPED = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAee"


@pytest.fixture
def account(db: None) -> Account:
    """An account of 10 ether."""
    return make_account(make_user("ada"), balance_in_wei=10 * ETHER, name="Main")


@pytest.fixture
def ada(client: Client, account: Account) -> Client:
    client.force_login(owner_of(account))
    return client


def fill(client: Client, payer: Account, **fields: str) -> Any:
    """Send the form of 1 ether to an address, or what the fields say instead."""
    return client.post(
        "/payments/new/", {"account": payer.pk, "to": CHECKSUMMED, "amount": "1", "unit": "ether", **fields}
    )


def confirmation(client: Client, account: Account, **fields: str) -> str:
    """Fill in the form well and return the address of its confirmation."""
    answer = fill(client, account, **fields)
    assert answer.status_code == 302, text_of(answer)
    return str(answer["Location"])


def errors_of(answer: Any) -> dict[str, str]:
    """Return the words next to each field."""
    form = answer.context["form"]
    return {name: " ".join(words) for name, words in form.errors.items()}


def assert_nothing_paid(account: Account, *, available: int = 10 * ETHER) -> None:
    account.refresh_from_db()
    assert account.available_balance_in_wei == available
    assert account.current_balance_in_wei == available
    assert not Transaction.objects.exists()


# --- The form ---------------------------------------------------------------------------------------------------------
def test_the_form_shows_the_fee_before_anything_else_happens(ada: Client) -> None:
    text = text_of(ada.get("/payments/new/"))
    assert "The fee is 0.008 ETH for every payment" in text
    assert "Main – 10 ETH available" in text


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("", "Enter the address that receives the payment."),
        ("0x123", "This is not an Ethereum address"),
        ("vitalik.eth", "This is not an Ethereum address"),
        (f"{CHECKSUMMED}0", "This is not an Ethereum address"),
        (MISTYPED, "The checksum of this address is wrong (EIP-55): at least one character was mistyped."),
        ("0x" + "0" * 40, "This is the zero address. What is sent there is lost."),
        ("0x" + "1" * 400, "This is too long for an Ethereum address"),
    ],
)
def test_a_bad_address_is_told_next_to_its_field(ada: Client, account: Account, to: str, words: str) -> None:
    answer = fill(ada, account, to=to)
    assert answer.status_code == 422
    assert list(errors_of(answer)) == ["to"]
    assert words in errors_of(answer)["to"]
    html = answer.content.decode()
    assert 'id="id_to_error"' in html
    assert re.search(r'<input type="text" name="to"[^>]* aria-invalid="true"[^>]*>', html)
    assert "Error: New payment" in html
    assert_nothing_paid(account)


@pytest.mark.parametrize(
    ("amount", "unit", "words"),
    [
        ("", "ether", "Enter how much to pay."),
        ("ten", "ether", "“ten” is not a number."),
        ("1,5", "ether", "“1,5” is not a number. Write it like 1.25, with a point and no other signs."),
        ("-1", "ether", "“-1” is not a number."),
        ("1e3", "ether", "“1e3” is not a number."),
        ("0", "ether", "The amount must be more than zero."),
        ("0.0", "gwei", "The amount must be more than zero."),
        ("1.5", "wei", "Wei can't be divided: enter a whole number."),
        ("0.0000000001", "gwei", "An amount in gwei has at most 9 decimals"),
        ("0.0000000000000000001", "ether", "An amount in ether has at most 18 decimals"),
        (str(WEI_MAX + 1), "wei", "This is more than the largest amount there is (2^256-1 wei)."),
        ("9" * 200, "wei", "This is more than the largest amount there is (2^256-1 wei)."),
    ],
)
def test_a_bad_amount_is_told_next_to_its_field(
    ada: Client, account: Account, amount: str, unit: str, words: str
) -> None:
    answer = fill(ada, account, amount=amount, unit=unit)
    assert answer.status_code == 422
    assert list(errors_of(answer)) == ["amount"]
    assert words in errors_of(answer)["amount"]
    assert 'id="id_amount_error"' in answer.content.decode()
    assert_nothing_paid(account)


def test_all_mistakes_are_told_at_once_and_what_was_typed_stays(ada: Client, account: Account) -> None:
    answer = fill(ada, account, to=MISTYPED, amount="1,5", unit="gwei")
    assert set(errors_of(answer)) == {"to", "amount"}
    html = answer.content.decode()
    assert f'value="{MISTYPED}"' in html
    assert 'value="1,5"' in html
    assert re.search(r'value="gwei"[^>]* checked', html)


def test_a_unit_must_be_one_of_three(ada: Client, account: Account) -> None:
    answer = fill(ada, account, unit="finney")
    assert errors_of(answer) == {"unit": "Choose ether, gwei or wei."}
    assert_nothing_paid(account)


def test_what_is_missing_is_told_with_the_fee_counted(ada: Client, account: Account) -> None:
    answer = fill(ada, account, amount="9.992000000000000001")
    assert errors_of(answer)["amount"] == (
        "That is 0.000000000000000001 ETH more than there is: amount and fee come to 10.000000000000000001 ETH, "
        "and 10 ETH are available."
    )
    assert_nothing_paid(account)
    assert fill(ada, account, amount="9.992").status_code == 302


def test_the_largest_amount_there_is_plus_the_fee_is_just_too_much(ada: Client, account: Account) -> None:
    assert "more than there is" in errors_of(fill(ada, account, amount=str(WEI_MAX), unit="wei"))["amount"]


def test_a_frozen_account_can_not_pay(ada: Client, account: Account) -> None:
    freeze(account)
    answer = fill(ada, account)
    assert errors_of(answer)["account"].startswith("This account is frozen.")
    assert_nothing_paid(account)


def test_anothers_account_is_no_choice(ada: Client, account: Account) -> None:
    other = make_account(balance_in_wei=ETHER)
    answer = fill(ada, account, account=str(other.pk))
    assert errors_of(answer) == {"account": "You have no such account. Choose one of yours."}
    assert_nothing_paid(other, available=ETHER)


@pytest.mark.parametrize("query", ["", "?account=999999", "?account=nonsense"])
def test_the_only_account_is_no_choice(ada: Client, account: Account, query: str) -> None:
    html = ada.get(f"/payments/new/{query}").content.decode()
    assert f'<input type="hidden" name="account" value="{account.pk}"' in html
    assert "<select" not in html


def test_several_accounts_are_a_choice_and_a_link_can_choose(ada: Client, account: Account) -> None:
    savings = make_account(owner_of(account), balance_in_wei=10**18 // 3, name="Savings")
    freeze(make_account(owner_of(account), name="Old"))
    html = ada.get(f"/payments/new/?account={savings.pk}").content.decode()
    assert f'<option value="{savings.pk}" selected>Savings – 0.333333… ETH</option>' in html
    assert "Old – frozen" in html


def test_who_has_no_account_is_told_so(client: Client, db: None) -> None:
    client.force_login(make_user())
    assert "You have no account to pay from yet." in text_of(client.get("/payments/new/"))
    assert "You have no account to pay from yet." in text_of(client.post("/payments/new/", {"amount": "1"}))


# --- Policies ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("terms", "field", "words"),
    [
        ({"amount_max_in_wei": ETHER // 2}, "amount", "At most 0.5 ETH may be paid from this account at once."),
        (
            {"daily_amount_max_in_wei": ETHER // 2},
            "amount",
            "At most 0.5 ETH may be paid from this account within 24 hours, and 0.5 ETH of it are left.",
        ),
        ({"is_allow_list_only": True}, "to", "This account pays only the recipients on its allow-list"),
    ],
)
def test_what_a_policy_does_not_allow_is_told_next_to_its_field_and_again_before_paying(
    ada: Client, account: Account, terms: dict[str, Any], field: str, words: str
) -> None:
    address = confirmation(ada, account)
    Desk().set_policy(account, **terms)
    answer = fill(ada, account)
    assert answer.status_code == 422
    assert list(errors_of(answer)) == [field]
    assert words in errors_of(answer)[field]
    for late in (ada.get(address), ada.post(address)):
        assert f"This payment can't be made {words}" in text_of(late)
        assert "Pay 1 ETH" not in text_of(late)
    assert ada.post(address).status_code == 422
    assert_nothing_paid(account)


def test_a_policy_that_changes_between_the_page_and_the_click_is_told(
    ada: Client, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should the page, shown again, find nothing any more, it still says why nothing was paid."""
    address = confirmation(ada, account)
    Desk().set_policy(account, amount_max_in_wei=1)
    monkeypatch.setattr("transactions.views.payments.limits_of", lambda *_: NO_LIMITS)
    answer = ada.post(address)
    assert answer.status_code == 422
    assert "may be paid from this account at once. Nothing was paid." in text_of(answer)
    assert "This payment can't be made" not in text_of(answer)
    assert_nothing_paid(account)


def test_a_payment_that_will_wait_for_approval_says_so_before_it_is_confirmed(ada: Client, account: Account) -> None:
    words = "This payment needs approval"
    Desk().set_policy(account, approval_above_in_wei=ETHER)
    assert words not in text_of(ada.get(confirmation(ada, account)))
    address = confirmation(ada, account, amount="1.5")
    assert words in text_of(ada.get(address))
    text = text_of(ada.get(ada.post(address)["Location"]))
    assert "Waiting for approval" in text
    assert "1.508 ETH are reserved on your account" in text
    assert "Cancel this payment" in text


# --- The confirmation -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("amount", "unit", "total", "left"),
    [
        ("1.25", "ether", "1.258 ETH", "8.742 ETH"),
        ("1250000000.5", "gwei", "1.2580000005 ETH", "8.7419999995 ETH"),
        ("1", "wei", "0.008000000000000001 ETH", "9.991999999999999999 ETH"),
    ],
)
def test_the_confirmation_shows_fee_total_and_what_remains_and_pays_nothing(
    ada: Client, account: Account, amount: str, unit: str, total: str, left: str
) -> None:
    page = ada.get(confirmation(ada, account, amount=amount, unit=unit))
    text = text_of(page)
    assert f"To {CHECKSUMMED} From Main" in text
    assert f"Fee 0.008 ETH Total {total} Available afterwards {left}" in text
    assert "Nothing is paid until you confirm" in text
    assert_nothing_paid(account)


def test_an_address_without_a_checksum_is_accepted_with_a_warning(ada: Client, account: Account) -> None:
    warning = "Check this address twice"
    lower = confirmation(ada, account, to=CHECKSUMMED.lower())
    assert warning in text_of(ada.get(lower))
    assert f"To {CHECKSUMMED}" in text_of(ada.get(lower))
    assert warning not in text_of(ada.get(confirmation(ada, account)))
    # Going back to the form must not turn it into an address with a checksum that nobody verified.
    form = ada.get(next(link for link in links_of(ada.get(lower)) if link.startswith("/payments/new/?draft=")))
    assert f'value="{CHECKSUMMED.lower()}"' in form.content.decode()


def test_change_leads_back_to_the_form_with_everything_in_it(ada: Client, account: Account) -> None:
    page = ada.get(confirmation(ada, account, amount="1250000000.5", unit="gwei"))
    change = next(link for link in links_of(page) if link.startswith("/payments/new/?draft="))
    html = ada.get(change).content.decode()
    assert f'value="{CHECKSUMMED}"' in html
    assert 'value="1250000000.5"' in html
    assert re.search(r'value="gwei"[^>]* checked', html)


def test_confirming_makes_the_payment_and_leads_to_its_page(ada: Client, account: Account) -> None:
    answer = ada.post(confirmation(ada, account, amount="1.25"))
    payment = Transaction.objects.get()
    assert answer["Location"] == f"/payments/{payment.pk}/"
    assert payment.to_public_address == CHECKSUMMED
    assert payment.transaction_amount_in_wei == 125 * 10**16
    account.refresh_from_db()
    assert account.held_balance_in_wei == 125 * 10**16 + FEE
    assert "Accepted" in text_of(ada.get(answer["Location"]))


def test_confirming_needs_the_csrf_token(account: Account) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(owner_of(account))
    form = strict.get("/payments/new/")
    token = form.context["csrf_token"]
    assert fill(strict, account).status_code == 403
    address = fill(strict, account, csrfmiddlewaretoken=str(token))["Location"]
    refused = strict.post(address)
    assert refused.status_code == 403
    assert "nothing was paid" in text_of(refused)
    assert_nothing_paid(account)


# --- Never twice ------------------------------------------------------------------------------------------------------
def test_a_second_click_a_reload_or_the_back_button_pay_nothing_more(ada: Client, account: Account) -> None:
    address = confirmation(ada, account)
    first = ada.post(address)
    again = ada.post(address)
    back = ada.get(address)
    assert first["Location"] == again["Location"] == back["Location"]
    assert Transaction.objects.count() == 1
    account.refresh_from_db()
    assert account.held_balance_in_wei == ETHER + FEE
    assert {str(message) for message in get_messages(back.wsgi_request)} == {
        "You confirmed this payment before. It was made once and is not made again."
    }


@pytest.mark.django_db(transaction=True)
def test_ten_clicks_at_once_are_one_payment(account: Account) -> None:
    user = owner_of(account)
    clients = [Client() for _ in range(10)]
    for client in clients:
        client.force_login(user)
    address = confirmation(clients[0], account)
    answers: list[Any] = []
    start = threading.Barrier(len(clients))

    def click(client: Client) -> None:
        start.wait()
        try:
            answers.append(client.post(address))
        finally:
            connection.close()

    threads = [threading.Thread(target=click, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    payment = Transaction.objects.get()
    assert {answer.status_code for answer in answers} <= {302, 409}
    assert {answer["Location"] for answer in answers if answer.status_code == 302} == {f"/payments/{payment.pk}/"}
    account.refresh_from_db()
    assert account.held_balance_in_wei == ETHER + FEE


def test_a_second_payment_of_the_same_kind_is_possible_but_asked_about(ada: Client, account: Account) -> None:
    first = ada.post(confirmation(ada, account))
    address = confirmation(ada, account)
    page = ada.get(address)
    assert "You already paid this" in text_of(page)
    assert first["Location"] in links_of(page)
    ada.post(address)
    assert Transaction.objects.count() == 2


def test_a_payment_of_another_amount_or_one_that_failed_is_not_asked_about(ada: Client, account: Account) -> None:
    desk = Desk()
    desk.chain.reverting.add(CHECKSUMMED)
    ada.post(confirmation(ada, account))
    assert "You already paid this" not in text_of(ada.get(confirmation(ada, account, amount="2")))
    desk.broadcast()
    assert Transaction.objects.get().failure_reason
    assert "You already paid this" not in text_of(ada.get(confirmation(ada, account)))


# --- What can have changed between the form and the click -------------------------------------------------------------
def test_funds_that_went_meanwhile(ada: Client, account: Account) -> None:
    address = confirmation(ada, account, amount="9")
    credit(account, -5 * ETHER)
    for answer in (ada.get(address), ada.post(address)):
        assert "This payment can't be made That is 4.008 ETH more than there is" in text_of(answer)
        assert "Pay 9 ETH" not in text_of(answer)
    assert ada.post(address).status_code == 422
    assert_nothing_paid(account, available=5 * ETHER)


def test_an_account_that_was_frozen_meanwhile(ada: Client, account: Account) -> None:
    address = confirmation(ada, account)
    freeze(account)
    answer = ada.post(address)
    assert answer.status_code == 422
    assert "This payment can't be made This account is frozen." in text_of(answer)
    assert_nothing_paid(account)


def test_an_account_that_changed_hands_meanwhile(ada: Client, account: Account) -> None:
    address = confirmation(ada, account)
    Account.objects.filter(pk=account.pk).update(owner=make_user())
    assert ada.get(address).status_code == 404
    assert ada.post(address).status_code == 404
    assert_nothing_paid(account)


def test_nobody_pays_a_fee_that_they_were_not_shown(ada: Client, account: Account, settings: Settings) -> None:
    address = confirmation(ada, account)
    settings.PAYMENT_FEE_IN_WEI = 2 * FEE
    answer = ada.post(address)
    assert_nothing_paid(account)
    page = ada.get(answer["Location"])
    assert "The fee has changed to 0.016 ETH. Nothing was paid; please look again." in text_of(page)
    assert "Total 1.016 ETH" in text_of(page)
    ada.post(answer["Location"])
    assert Transaction.objects.get().transaction_fee_total_in_wei == 2 * FEE


def test_a_confirmation_that_is_too_old_goes_back_to_the_form(ada: Client, account: Account) -> None:
    address = confirmation(ada, account)
    with time_machine.travel(dt.datetime.now(dt.UTC) + dt.timedelta(minutes=61)):
        answer = ada.post(address)
        form = ada.get(answer["Location"])
    assert urlsplit(answer["Location"]).path == "/payments/new/"
    assert "That confirmation was more than an hour old. Nothing was paid" in text_of(form)
    assert f'value="{CHECKSUMMED}"' in form.content.decode()
    assert_nothing_paid(account)


def test_an_old_confirmation_that_was_used_still_leads_to_its_payment(ada: Client, account: Account) -> None:
    address = confirmation(ada, account)
    paid = ada.post(address)
    with time_machine.travel(dt.datetime.now(dt.UTC) + dt.timedelta(hours=11)):
        assert ada.get(address)["Location"] == paid["Location"]


@pytest.mark.parametrize("draft", ["", "nonsense", "a:b:c"])
def test_a_confirmation_that_was_not_made_here_goes_back_to_the_form(ada: Client, account: Account, draft: str) -> None:
    for ask in (ada.get, ada.post):
        assert ask(f"/payments/confirm/?draft={draft}")["Location"] == "/payments/new/"
        assert "Nothing was paid" in text_of(ada.get("/payments/new/"))
    assert_nothing_paid(account)


def test_anothers_confirmation_is_as_good_as_none(ada: Client, account: Account) -> None:
    address = confirmation(ada, account)
    ada.force_login(make_user())
    assert ada.post(address)["Location"] == "/payments/new/"
    assert_nothing_paid(account)


def test_an_account_that_is_busy_says_so_and_nothing_is_paid(ada: Client, account: Account, settings: Settings) -> None:
    settings.ACCOUNT_LOCK_WAIT_SECONDS = 0.05
    address = confirmation(ada, account)
    with account_lock(account.pk):
        answer = ada.post(address)
    assert answer.status_code == 409
    assert "Another payment from this account is being accepted right now." in text_of(answer)
    assert "Pay 1 ETH" in text_of(answer)
    assert_nothing_paid(account)
    assert ada.post(address).status_code == 302


def test_signing_in_again_on_the_way_loses_nothing(ada: Client, account: Account) -> None:
    address = confirmation(ada, account)
    ada.logout()
    to_login = ada.post(address)["Location"]
    assert parse_qs(urlsplit(to_login).query)["next"] == [address]
    assert_nothing_paid(account)


def test_a_confirmation_takes_a_fixed_number_of_queries(
    ada: Client, account: Account, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    address = confirmation(ada, account)
    with django_assert_num_queries(6):  # session, user; made before? account, its policy, the same payment?
        ada.get(address)
