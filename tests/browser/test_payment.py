"""From signing in to SUCCESSFUL, as a person sees it: live, without a script, by keyboard, and never twice."""

import re

from playwright.sync_api import Page, expect

from tests.browser.conftest import PASSWORD, LiveDesk, OpenPage
from tests.desk import ETHER, FEE, make_address
from transactions.models import Transaction
from transactions.states import Status

TO = make_address(1)


def fill(page: Page, *, to: str = TO, amount: str = "1.25") -> None:
    """Fill in the form and go on to the confirmation."""
    page.get_by_role("link", name="New payment").first.click()
    page.get_by_label("To", exact=True).fill(to)
    page.get_by_label("Amount").fill(amount)
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("heading", name="Confirm payment")).to_be_visible()


def confirm(page: Page, amount: str = "1.25") -> None:
    page.get_by_role("button", name=f"Pay {amount} ETH").click()
    page.wait_for_url(re.compile(r"/payments/\d+/$"))


def test_a_payment_is_watched_to_its_end_without_loading_the_page_again(
    paying_desk: LiveDesk, open_page: OpenPage
) -> None:
    desk, page = paying_desk, open_page()
    desk.sign_in(page)
    expect(page.get_by_text("100 ETH").first).to_be_visible()
    fill(page)
    expect(page.locator(".pairs")).to_contain_text("Total1.258 ETH")
    expect(page.locator(".pairs")).to_contain_text("Available afterwards98.742 ETH")
    confirm(page)
    page.evaluate("window.loadedOnce = true")
    expect(page.get_by_role("heading", name="Sent, waiting for a block")).to_be_visible()
    for number, blocks in {1: 1, 2: 1, 9: 7}.items():
        desk.mine(blocks)
        expect(page.locator(".progress-words b")).to_have_text(f"{number} of 10 confirmations")
        expect(page).to_have_title(re.compile(f"^{number} of 10 confirmations"))
    assert float(page.get_by_role("progressbar").get_attribute("value") or 0) == 88
    desk.mine()
    expect(page.get_by_role("heading", name="Payment done")).to_be_visible()
    expect(page).to_have_title(re.compile("^Successful"))
    expect(page.get_by_text("1.258 ETH left your account")).to_be_visible()
    expect(page.locator("#progress-said")).to_have_text("Payment done. Done.")
    assert page.evaluate("window.loadedOnce")
    assert page.locator("[hx-get]").count() == 0, "it has stopped asking"
    payment = Transaction.objects.get()
    assert payment.status == Status.SUCCESSFUL
    assert desk.chain.balance(TO) == 125 * 10**16
    page.get_by_role("link", name="Main").click()
    expect(page.locator("#entries")).to_contain_text(f"Payment #{payment.pk}")
    expect(page.locator("#entries")).to_contain_text("-1.258 ETH")
    expect(page.locator("#payments")).to_contain_text("Successful")


def test_the_same_without_a_script(paying_desk: LiveDesk, open_page: OpenPage) -> None:
    desk, page = paying_desk, open_page(java_script_enabled=False)
    desk.sign_in(page)
    fill(page)
    confirm(page)
    # The page loads itself again every three seconds; nothing here does.
    expect(page.get_by_role("heading", name="Sent, waiting for a block")).to_be_visible()
    desk.mine()
    expect(page.get_by_text("1 of 10 confirmations")).to_be_visible()
    desk.mine(9)
    expect(page.get_by_role("heading", name="Payment done")).to_be_visible()
    expect(page.get_by_role("progressbar")).to_be_visible()
    assert page.get_by_role("button", name=re.compile("^Copy")).count() == 0, "no button that can't do anything"
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_double_click_the_back_button_and_a_reload_pay_once(desk: LiveDesk, open_page: OpenPage) -> None:
    page = open_page()
    desk.sign_in(page)
    fill(page)
    page.get_by_role("button", name="Pay 1.25 ETH").dblclick()
    page.wait_for_url(re.compile(r"/payments/\d+/$"))
    address = page.url
    page.reload()
    page.go_back()
    page.wait_for_url(address)
    expect(page.get_by_text("It was made once and is not made again.")).to_be_visible()
    assert Transaction.objects.count() == 1
    desk.account.refresh_from_db()
    assert desk.account.held_balance_in_wei == 125 * 10**16 + FEE


def test_mistakes_are_told_next_to_the_field_and_typed_values_stay(desk: LiveDesk, open_page: OpenPage) -> None:
    page = open_page(width=375)
    desk.sign_in(page)
    page.goto("/payments/new/")
    page.get_by_label("To", exact=True).fill(TO[:-1] + ("0" if TO[-1] != "0" else "1"))
    page.get_by_label("Amount").fill("1,5")
    page.get_by_text("gwei").click()
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_label("To", exact=True)).to_have_accessible_description(re.compile("checksum of this address"))
    expect(page.get_by_label("Amount")).to_have_accessible_description(re.compile("“1,5” is not a number"))
    expect(page.get_by_label("Amount")).to_have_value("1,5")
    expect(page.get_by_label("gwei")).to_be_checked()
    page.get_by_label("To", exact=True).fill(TO.lower())
    page.get_by_label("Amount").fill("1000000000")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_text("Check this address twice")).to_be_visible()
    expect(page.locator(".big-amount")).to_have_text("1 ETH")


def test_everything_can_be_done_by_keyboard(desk: LiveDesk, open_page: OpenPage) -> None:
    page = open_page()
    page.goto("/")
    expect(page.get_by_label("Username")).to_be_focused()
    page.keyboard.type(desk.user.username)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Accounts", exact=True)).to_be_visible()
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.locator("main").get_by_role("link", name="New payment")).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url("**/payments/new/")
    press_until(page, page.get_by_label("To", exact=True))
    page.keyboard.type(TO)
    page.keyboard.press("Tab")
    page.keyboard.type("1250000000")
    page.keyboard.press("Tab")
    expect(page.get_by_label("ether")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_label("gwei")).to_be_checked()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Confirm payment")).to_be_visible()
    pay = page.get_by_role("button", name="Pay 1.25 ETH")
    press_until(page, pay)
    outline = pay.evaluate("element => getComputedStyle(element).outlineStyle + getComputedStyle(element).outlineWidth")
    assert outline == "solid3px", "the focus is visible"
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/payments/\d+/$"))
    assert Transaction.objects.get().transaction_amount_in_wei == 125 * 10**16


def press_until(page: Page, target: object, most: int = 15) -> None:
    """Press Tab until the element has the focus."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if target.evaluate("element => element === document.activeElement"):  # type: ignore[attr-defined]
            return
    raise AssertionError(f"{target} can't be reached by keyboard")


def test_numbers_and_addresses_are_copied_plain(desk: LiveDesk, open_page: OpenPage) -> None:
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    desk.sign_in(page)
    selected = "(element) => { getSelection().selectAllChildren(element); return getSelection().toString() }"
    assert page.locator(".wei data").first.evaluate(selected) == str(100 * ETHER)
    page.get_by_role("button", name="Copy available balance in wei").click()
    expect(page.locator("#said")).to_have_text("Copied available balance in wei.")
    assert page.evaluate("navigator.clipboard.readText()") == str(100 * ETHER)
    fill(page)
    assert page.locator(".hex").first.evaluate(selected) == TO


def test_a_page_that_loses_its_connection_says_so_until_it_is_back(desk: LiveDesk, open_page: OpenPage) -> None:
    page = open_page()
    desk.sign_in(page)
    fill(page)
    confirm(page)
    note = page.get_by_text("This page can't reach us at the moment")
    expect(note).to_be_hidden()
    page.context.set_offline(True)
    expect(note).to_be_visible()
    page.context.set_offline(False)
    expect(note).to_be_hidden()
    # htmx tells the console of what the page told the person.
    assert {fault.split(",")[0] for fault in open_page.faults} <= {
        "console: htmx:sendError",
        "console: htmx:afterRequest",
    }
    open_page.faults.clear()


def test_the_focus_survives_an_update(paying_desk: LiveDesk, open_page: OpenPage) -> None:
    desk, page = paying_desk, open_page()
    desk.sign_in(page)
    fill(page)
    confirm(page)
    expect(page.get_by_role("heading", name="Sent, waiting for a block")).to_be_visible()
    page.locator("#copy-to").focus()
    desk.mine()
    expect(page.locator(".progress-words b")).to_have_text("1 of 10 confirmations")
    expect(page.locator("#copy-to")).to_be_focused()
