"""Missing ether, in the admin: what the chain lacks, reviewed, and written off once by who may."""

import uuid
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse
from pytest_django.fixtures import Settings

from accounts.models import Journal
from tests.desk import ETHER, Desk
from tests.pages import owner_of, text_of
from tests.staff import Staff, balances, events, make_staff
from tests.transactions.test_found import come
from tests.transactions.test_missing import lose_ether
from tests.transactions.test_nonces import send_elsewhere
from transactions.models import Wallet

pytestmark = pytest.mark.usefixtures("asked_by_pages")


@pytest.fixture(autouse=True)
def four_confirmations(settings: Settings) -> None:
    settings.CONFIRMATIONS = 4


@pytest.fixture
def address(desk: Desk) -> Wallet:
    return lose_ether(desk)


def page_of(wallet: Wallet, name: str = "missing") -> str:
    return reverse(f"admin:transactions_wallet_{name}", args=[wallet.pk])


def fields(**changes: Any) -> dict[str, Any]:
    return {"amount": "3", "unit": "ether", "reason": "Gone for good", "request_id": str(uuid.uuid4()), **changes}


def post(staff: Staff, wallet: Wallet, page: str = "missing", **data: Any) -> str:
    answer = staff.client.post(page_of(wallet, page), data, follow=True)
    assert answer.status_code == 200
    return text_of(answer)


def test_the_page_tells_what_is_missing_and_who_bears_it(operator: Staff, desk: Desk, address: Wallet) -> None:
    answer = operator.client.get(page_of(address))
    text = text_of(answer)
    assert "What is written off is the desk's loss" in text
    assert f"external funding: {desk.account} of {owner_of(desk.account)}, whose" in text
    assert "keeps its credit" in text
    assert "5 ETH 5,000,000,000,000,000,000 wei By the ledger 8 ETH" in text
    assert "In flight 0 ETH" in text
    assert "Missing 3 ETH 3,000,000,000,000,000,000 wei" in text
    assert 'name="amount" value="3"' in answer.content.decode()


def test_it_is_reviewed_and_then_written_off(operator: Staff, desk: Desk, address: Wallet) -> None:
    data = fields()
    text = post(operator, address, **data)
    assert "Write off 3 ETH (3,000,000,000,000,000,000 wei): Gone for good" in text
    assert not Journal.objects.filter(kind="missing").exists()
    assert f"Written off 3 ETH: {address}." in post(operator, address, **data, confirm="Write off 3 ETH")
    assert "This was done before, by the same form" in post(operator, address, **data, confirm="Write off 3 ETH")
    assert balances(desk.account) == (108 * ETHER, 108 * ETHER)
    [event] = events("wallet.missing_booked")
    assert (event.actor, event.reason) == (operator.user, "Gone for good")
    desk.assert_books_balance()


def test_more_than_is_missing_is_refused_in_the_review(operator: Staff, address: Wallet) -> None:
    assert "Not that much is missing." in post(operator, address, **fields(amount="3.1"))
    text = post(operator, address, **fields(amount="3.1", confirm="x"))
    assert "3 ETH is missing, not 3.1 ETH" in text
    assert not Journal.objects.filter(kind="missing").exists()


@pytest.mark.parametrize(("change", "told"), [(0, "Nothing is missing."), (1, "The chain has more than")])
def test_where_nothing_is_missing_there_is_nothing_to_fill_in(
    operator: Staff, desk: Desk, change: int, told: str
) -> None:
    come(desk, desk.wallet, change)
    answer = operator.client.get(page_of(desk.wallet))
    assert told in text_of(answer)
    assert 'name="amount"' not in answer.content.decode()
    assert (page_of(desk.wallet, "found") in answer.content.decode()) is bool(change)


def test_nor_while_a_transaction_is_not_told_yet(operator: Staff, desk: Desk) -> None:
    desk.mine()
    send_elsewhere(desk, 0)
    desk.mine(5)
    desk.take_in()
    answer = operator.client.get(page_of(desk.wallet))
    assert "transactions of this address that the desk does not know yet" in text_of(answer)
    assert 'name="amount"' not in answer.content.decode()
    assert "does not know yet" in post(operator, desk.wallet, **fields(confirm="x"))
    assert not Journal.objects.filter(kind="missing").exists()


def test_what_is_found_there_again_is_the_desks_first(operator: Staff, desk: Desk, address: Wallet) -> None:
    post(operator, address, **fields(confirm="x"))
    come(desk, address, 5 * ETHER)
    assert "The first 3 ETH are the desk's own" in text_of(operator.client.get(page_of(address, "found")))
    data = fields(amount="5")
    whom = f"for the desk (3 ETH) and {desk.account} (2 ETH)"
    assert f"{whom}: Gone for good" in post(operator, address, "found", **data)
    assert f"Booked 5 ETH {whom}: {address}." in post(operator, address, "found", **data, confirm="x")
    assert "written off here" not in text_of(operator.client.get(page_of(address, "found")))
    assert balances(desk.account) == (110 * ETHER, 110 * ETHER)


@pytest.mark.parametrize("permissions", [(), ("operate_wallet",), ("adjust_account",)])
def test_both_permissions_are_needed(desk: Desk, address: Wallet, permissions: tuple[str, ...]) -> None:
    viewer = make_staff("viewers")
    viewer.user.user_permissions.add(*Permission.objects.filter(codename__in=permissions))
    assert viewer.client.get(page_of(address)).status_code == 403
    assert viewer.client.post(page_of(address), fields(confirm="x")).status_code == 403
    shown = viewer.client.get(reverse("admin:transactions_wallet_change", args=[address.pk]))
    assert "Book missing ether…" not in shown.content.decode()
    assert not Journal.objects.filter(kind="missing").exists()


def test_the_wallets_page_and_the_other_page_lead_there(operator: Staff, address: Wallet) -> None:
    link = f'<a href="{page_of(address)}">Book missing ether…</a>'
    shown = operator.client.get(reverse("admin:transactions_wallet_change", args=[address.pk]))
    assert link in shown.content.decode()
    assert link in operator.client.get(page_of(address, "found")).content.decode()


def test_there_is_no_page_of_no_wallet(operator: Staff) -> None:
    assert operator.client.get(reverse("admin:transactions_wallet_missing", args=[999])).status_code == 404
