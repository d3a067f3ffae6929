"""Ether found, or missing, and booked by staff on a phone: what is there, how much of it, and why."""

import pytest
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect

from tests.browser.conftest import LiveDesk, OpenPage
from tests.browser.test_admin import sign_in
from tests.desk import ETHER
from tests.staff import balances, make_staff
from transactions.chain.client import get_chain
from transactions.models import Block, Wallet
from transactions.services.deposit_addresses import deposit_address_of
from transactions.services.follow import follow_chain

pytestmark = pytest.mark.usefixtures("deposit_seed")


def make_final(desk: LiveDesk) -> None:
    """Let what was done to the chain's balances be final, and searched for deposits."""
    follow_chain(get_chain())
    desk.chain.mine(12)
    follow_chain(get_chain())
    Block.objects.update(taken_in_at=timezone.now())


def book(page: Page, wallet: Wallet, *, link: str, verb: str) -> None:
    """Book 1.25 ether and a wei on one of a wallet's two pages, as all that differs there."""
    sign_in(page, "operators")
    page.goto(reverse("admin:transactions_wallet_change", args=[wallet.pk]))
    page.get_by_role("link", name=link).click()
    expect(page.get_by_label("Amount")).to_have_value("1.250000000000000001")
    page.get_by_label("Reason").fill("Looked up in the explorer")
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    page.get_by_role("button", name="Review").click()
    expect(page.get_by_text("1,250,000,000,000,000,001 wei").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    page.get_by_role("button", name=f"{verb} 1.250000000000000001 ETH").click()


@pytest.mark.parametrize("width", [375, 1280])
def test_found_ether_is_booked(desk: LiveDesk, open_page: OpenPage, width: int) -> None:
    wallet = deposit_address_of(desk.account.pk)
    desk.chain.set_balance(wallet.address, 5 * ETHER // 4 + 1)
    make_final(desk)
    make_staff("operators")
    page = open_page(width=width)
    book(page, wallet, link="Book ether found…", verb="Book")
    expect(page.get_by_text("Booked 1.250000000000000001 ETH for Main")).to_be_visible()
    assert balances(desk.account)[0] == 100 * ETHER + 5 * ETHER // 4 + 1


@pytest.mark.parametrize("width", [375, 1280])
def test_missing_ether_is_written_off(desk: LiveDesk, open_page: OpenPage, width: int) -> None:
    lacking = 5 * ETHER // 4 + 1
    desk.chain.set_balance(desk.wallet.address, 1_000 * ETHER - lacking)
    make_final(desk)
    make_staff("operators")
    page = open_page(width=width)
    book(page, desk.wallet, link="Book missing ether…", verb="Write off")
    expect(page.get_by_text("Written off 1.250000000000000001 ETH")).to_be_visible()
    desk.wallet.account.refresh_from_db()
    assert desk.wallet.account.current_balance_in_wei == lacking - 1_000 * ETHER
