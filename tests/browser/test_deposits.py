"""Paying in, as a person sees it: an address by a button, and deposits that come and are credited while one looks."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import LiveDesk, OpenPage
from tests.deposits import address_of, credit_to, make_deposit, walk_to
from tests.desk import ETHER

pytestmark = pytest.mark.usefixtures("deposit_seed")


def test_from_no_address_to_a_credit_without_loading_the_page_again(desk: LiveDesk, open_page: OpenPage) -> None:
    page = open_page(width=390, permissions=["clipboard-read", "clipboard-write"])
    desk.sign_in(page)
    page.get_by_role("link", name="Main").first.click()
    page.get_by_role("link", name="Pay in").click()
    page.get_by_role("button", name="Get a deposit address").click()
    expect(page.get_by_role("img", name=re.compile("^QR code"))).to_be_visible()
    page.get_by_role("button", name="Copy the deposit address").click()
    expect(page.locator("#said")).to_have_text("Copied the deposit address.")
    assert page.evaluate("navigator.clipboard.readText()") == address_of(desk.account)
    page.evaluate("window.loadedOnce = true")
    expect(page.get_by_text("Nothing has come in yet.")).to_be_visible()
    deposit = make_deposit(desk.account, 3 * ETHER // 2, block_number=1)
    walk_to(3)
    expect(page.locator("#deposits")).to_contain_text("3 of 10 confirmations")
    expect(page.locator("#progress-said")).to_have_text("1.5 ETH on its way: 3 of 10 confirmations.")
    page.locator(f"#copy-{deposit.pk}-hash").focus()
    walk_to(10)
    credit_to(1)
    expect(page.locator("#deposits .pill")).to_have_text("Credited")
    expect(page.locator(f"#copy-{deposit.pk}-hash")).to_be_focused()
    assert page.evaluate("window.loadedOnce")
    page.get_by_role("link", name="Main").click()
    expect(page.get_by_text("101.5 ETH").first).to_be_visible()
    page.get_by_role("link", name="Deposit", exact=True).click()
    expect(page.get_by_role("heading", name="Pay in")).to_be_visible()


def test_without_a_script_it_says_the_same(desk: LiveDesk, open_page: OpenPage) -> None:
    page = open_page(java_script_enabled=False)
    make_deposit(desk.account, ETHER, block_number=1)
    walk_to(2)
    desk.sign_in(page)
    page.goto(f"/accounts/{desk.account.pk}/deposits/")
    expect(page.get_by_text("2 of 10 confirmations")).to_be_visible()
    assert page.get_by_role("button", name=re.compile("^Copy")).count() == 0, "no button that can't do anything"
