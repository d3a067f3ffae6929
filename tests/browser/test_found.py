"""Ether found, or missing, and booked by staff on a phone: what is there, how much of it, and why."""

import pytest
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import expect

from tests.browser.conftest import LiveDesk, OpenPage
from tests.browser.test_admin import sign_in
from tests.desk import ETHER
from tests.staff import balances, make_staff
from transactions.chain.client import get_chain
from transactions.models import Block
from transactions.services.deposit_addresses import deposit_address_of
from transactions.services.follow import follow_chain

pytestmark = pytest.mark.usefixtures("deposit_seed")


@pytest.mark.parametrize("width", [375, 1280])
def test_found_ether_is_booked(desk: LiveDesk, open_page: OpenPage, width: int) -> None:
    wallet = deposit_address_of(desk.account.pk)
    desk.chain.set_balance(wallet.address, 5 * ETHER // 4 + 1)
    follow_chain(get_chain())
    desk.chain.mine(12)
    follow_chain(get_chain())
    Block.objects.update(taken_in_at=timezone.now())
    make_staff("operators")
    page = open_page(width=width)
    sign_in(page, "operators")
    page.goto(reverse("admin:transactions_wallet_change", args=[wallet.pk]))
    page.get_by_role("link", name="Book ether found…").click()
    expect(page.get_by_label("Amount")).to_have_value("1.250000000000000001")
    page.get_by_label("Reason").fill("A smart wallet's transfer, looked up in the explorer")
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    page.get_by_role("button", name="Review").click()
    expect(page.get_by_text("1,250,000,000,000,000,001 wei").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    page.get_by_role("button", name="Book 1.250000000000000001 ETH").click()
    expect(page.get_by_text("Booked 1.250000000000000001 ETH for Main")).to_be_visible()
    assert balances(desk.account)[0] == 100 * ETHER + 5 * ETHER // 4 + 1


@pytest.mark.parametrize("width", [375, 1280])
def test_missing_ether_is_written_off(desk: LiveDesk, open_page: OpenPage, width: int) -> None:
    lacking = 5 * ETHER // 4 + 1
    desk.chain.set_balance(desk.wallet.address, 1_000 * ETHER - lacking)
    follow_chain(get_chain())
    desk.chain.mine(12)
    follow_chain(get_chain())
    Block.objects.update(taken_in_at=timezone.now())
    make_staff("operators")
    page = open_page(width=width)
    sign_in(page, "operators")
    page.goto(reverse("admin:transactions_wallet_change", args=[desk.wallet.pk]))
    page.get_by_role("link", name="Book missing ether…").click()
    expect(page.get_by_label("Amount")).to_have_value("1.250000000000000001")
    page.get_by_label("Reason").fill("Gone with a reorg, looked up in the explorer")
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    page.get_by_role("button", name="Review").click()
    expect(page.get_by_text("1,250,000,000,000,000,001 wei").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    page.get_by_role("button", name="Write off 1.250000000000000001 ETH").click()
    expect(page.get_by_text("Written off 1.250000000000000001 ETH")).to_be_visible()
    desk.wallet.account.refresh_from_db()
    assert desk.wallet.account.current_balance_in_wei == lacking - 1_000 * ETHER
