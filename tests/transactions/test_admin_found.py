"""Ether found at an address, in the admin: what is beyond the books, reviewed, and booked once by who may."""

import time
import uuid
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse
from pytest_django.fixtures import Settings

from accounts.models import Journal
from tests.chain.scripted import well
from tests.desk import ETHER, Desk
from tests.fakes.node import serve
from tests.pages import owner_of, text_of
from tests.staff import Staff, balances, events, make_staff
from tests.transactions.test_found import come
from transactions.chain import client, use_chain
from transactions.models import Wallet

pytestmark = pytest.mark.usefixtures("asked_by_pages")


@pytest.fixture(autouse=True)
def four_confirmations(settings: Settings) -> None:
    settings.CONFIRMATIONS = 4


@pytest.fixture
def address(desk: Desk) -> Wallet:
    """The account's deposit address, with five ether that no book knows."""
    wallet = desk.add_deposit_address()
    come(desk, wallet)
    return wallet


def page_of(wallet: Wallet) -> str:
    return reverse("admin:transactions_wallet_found", args=[wallet.pk])


def fields(**changes: Any) -> dict[str, Any]:
    return {"amount": "5", "unit": "ether", "reason": "Internal transfer", "request_id": str(uuid.uuid4()), **changes}


def post(staff: Staff, wallet: Wallet, **data: Any) -> str:
    answer = staff.client.post(page_of(wallet), data, follow=True)
    assert answer.status_code == 200
    return text_of(answer)


def test_the_page_tells_what_is_there_and_asks_for_all_of_it(operator: Staff, desk: Desk, address: Wallet) -> None:
    answer = operator.client.get(page_of(address))
    text = text_of(answer)
    assert f"It is credited to {desk.account} of {owner_of(desk.account)}" in text
    assert "On the chain, at block 2 5 ETH 5,000,000,000,000,000,000 wei" in text
    assert "By the ledger 0 ETH" in text
    assert "In flight 0 ETH" in text
    assert "Beyond the books 5 ETH" in text
    assert 'name="amount" value="5"' in answer.content.decode()


def test_it_is_reviewed_and_then_booked(operator: Staff, desk: Desk, address: Wallet) -> None:
    data = fields()
    text = post(operator, address, **data)
    assert f"Book 5 ETH (5,000,000,000,000,000,000 wei) for {desk.account}: Internal transfer" in text
    assert balances(desk.account) == (100 * ETHER, 100 * ETHER)
    assert f"Booked 5 ETH for {desk.account}: {address}." in post(operator, address, **data, confirm="Book 5 ETH")
    assert balances(desk.account) == (105 * ETHER, 105 * ETHER)
    [event] = events("wallet.found_booked")
    assert (event.actor, event.reason) == (operator.user, "Internal transfer")
    desk.assert_books_balance()


def test_confirmed_twice_it_is_booked_once(operator: Staff, desk: Desk, address: Wallet) -> None:
    data = fields(confirm="Book 5 ETH")
    post(operator, address, **data)
    assert "This was done before, by the same form" in post(operator, address, **data)
    assert balances(desk.account) == (105 * ETHER, 105 * ETHER)


def test_what_was_entered_can_be_changed(operator: Staff, desk: Desk, address: Wallet) -> None:
    answer = operator.client.post(page_of(address), fields(amount="3", change="Change"))
    assert 'name="amount" value="3"' in answer.content.decode()
    assert "Review" in answer.content.decode()


def test_more_than_there_is_is_refused_in_the_review(operator: Staff, desk: Desk, address: Wallet) -> None:
    text = post(operator, address, **fields(amount="5.1"))
    assert "There isn't that much beyond the books." in text
    text = post(operator, address, **fields(amount="5.1", confirm="Book 5.1 ETH"))
    assert "there is 5 ETH beyond the books, not 5.1 ETH" in text
    assert balances(desk.account) == (100 * ETHER, 100 * ETHER)


def test_at_a_hot_wallet_it_is_the_desks(operator: Staff, desk: Desk) -> None:
    come(desk, desk.wallet, 2 * ETHER)
    assert "booked as the desk's own funding" in text_of(operator.client.get(page_of(desk.wallet)))
    assert "Booked 2 ETH for the desk" in post(operator, desk.wallet, **fields(amount="2", confirm="Book 2 ETH"))
    desk.assert_books_balance()


@pytest.mark.parametrize(("change", "told"), [(0, "There is nothing to book."), (-1, "The chain has less than")])
def test_where_nothing_is_there_is_nothing_to_fill_in(operator: Staff, desk: Desk, change: int, told: str) -> None:
    come(desk, desk.wallet, change)
    answer = operator.client.get(page_of(desk.wallet))
    assert told in text_of(answer)
    assert 'name="amount"' not in answer.content.decode()


def test_without_a_node_the_page_says_so(operator: Staff, desk: Desk, address: Wallet) -> None:
    with desk.chain.outage():
        assert "The fake node is down." in text_of(operator.client.get(page_of(address), follow=True))
        assert "The fake node is down." in post(operator, address, **fields(confirm="Book 5 ETH"))
    assert balances(desk.account) == (100 * ETHER, 100 * ETHER)


def test_nobody_waits_long_for_a_node_that_hangs(
    operator: Staff, address: Wallet, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_chain(None)
    monkeypatch.setattr(client, "PAGE_TIMEOUT_SECONDS", 0.2)
    settings.CHAIN_RPC_TIMEOUT_SECONDS = 15
    with serve(well()) as node:
        node.stall.set()
        settings.CHAIN_RPC_URLS = [node.url()]
        started = time.monotonic()
        assert "does not answer" in text_of(operator.client.get(page_of(address), follow=True))
        assert len(node.trips) == 1
        assert "does not answer" in post(operator, address, **fields(confirm="Book 5 ETH"))
        assert len(node.trips) == 2, "what did not answer just now is not asked again by the same click"
        assert time.monotonic() - started < 10


@pytest.mark.parametrize("permissions", [(), ("operate_wallet",), ("adjust_account",)])
def test_both_permissions_are_needed(desk: Desk, address: Wallet, permissions: tuple[str, ...]) -> None:
    viewer = make_staff("viewers")
    viewer.user.user_permissions.add(*Permission.objects.filter(codename__in=permissions))
    assert viewer.client.get(page_of(address)).status_code == 403
    assert viewer.client.post(page_of(address), fields(confirm="x")).status_code == 403
    shown = viewer.client.get(reverse("admin:transactions_wallet_change", args=[address.pk]))
    assert "Book ether found…" not in shown.content.decode()
    assert not Journal.objects.filter(kind="found").exists()


def test_the_wallets_page_leads_there(operator: Staff, address: Wallet) -> None:
    shown = operator.client.get(reverse("admin:transactions_wallet_change", args=[address.pk]))
    assert f'<a href="{page_of(address)}">Book ether found…</a>' in shown.content.decode()


def test_there_is_no_page_of_no_wallet(operator: Staff) -> None:
    assert operator.client.get(reverse("admin:transactions_wallet_found", args=[999])).status_code == 404


def test_its_owner_reads_of_a_deposit(operator: Staff, desk: Desk, address: Wallet) -> None:
    post(operator, address, **fields(reason="for the desk's own eyes", confirm="Book 5 ETH"))
    operator.client.force_login(owner_of(desk.account))
    text = text_of(operator.client.get(reverse("account-detail", args=[desk.account.pk])))
    assert "Deposit booked by staff" in text
    assert "for the desk's own eyes" not in text
