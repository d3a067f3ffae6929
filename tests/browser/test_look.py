"""How every page looks: on a narrow phone, in the dark, and to those who can't see it."""

import re
from pathlib import Path
from urllib.parse import urlencode

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Page, expect

from accounts.models import User
from accounts.money import WEI_MAX
from tasks.progress import advance_run, create_run, fail_run, start_run
from tests.browser.conftest import OpenPage
from tests.deposits import make_deposit, undo_from
from tests.desk import ETHER, RECIPIENT, Desk, freeze, make_account, make_address
from tests.pages import owner_of
from transactions.drafts import PaymentDraft, sign_draft
from transactions.models import Block
from transactions.services.cancel import cancel_transaction

AUDIT = (Path(__file__).parent / "audit.js").read_text()
LONG_NAME = "A treasury whose name is rather long, as names of departments sometimes are"
LONG_WORD = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"


@pytest.fixture
def paths(transactional_db: None, deposit_seed: None) -> dict[str, str]:
    """Fill a desk with a bit of everything and return the path of every kind of page."""
    desk = Desk()
    user = owner_of(desk.account)
    done = desk.accept(ETHER // 3)
    desk.run_to_the_end()
    refusing = make_address()
    desk.chain.reverting.add(refusing)
    rejected = desk.accept(ETHER, to=refusing)
    desk.broadcast()
    under_way = desk.accept(ETHER + 1)
    desk.broadcast()
    desk.mine(4)
    cancelled = desk.accept(3 * ETHER)
    desk.broadcast()
    cancel_transaction(actor=user, transaction_id=cancelled.pk, now=timezone.now())
    desk.broadcast()
    desk.chain.down = True
    waiting = desk.accept(2 * ETHER)
    desk.broadcast()
    desk.set_policy(approval_above_in_wei=0)
    in_review = desk.accept(4 * ETHER)
    whale = make_account(user, balance_in_wei=WEI_MAX, name=LONG_NAME)
    of_whale = desk.accept(WEI_MAX // 2, account=whale)
    frozen = make_account(user, name=LONG_WORD)
    receiving = make_account(user, name=LONG_NAME)
    for number, amount in enumerate((ETHER, WEI_MAX // 2, ETHER + 1), start=Block.newest_number() or 1):
        make_deposit(receiving, amount, block_number=number)
    undo_from((Block.newest_number() or 1) + 1)
    freeze(frozen)
    run = create_run(name="Check the ledger", owner=user, total=80)
    start_run(run.pk)
    advance_run(run.pk, 17, message="Account 17 of 80")
    failed = create_run(name=LONG_WORD, owner=user)
    fail_run(failed.pk, error=f"The file has no column {LONG_WORD}.")
    return {
        "accounts": "/accounts/",
        "account": f"/accounts/{desk.account.pk}/",
        "largest account": f"/accounts/{whale.pk}/",
        "frozen account": f"/accounts/{frozen.pk}/",
        "account that is paid into": f"/accounts/{receiving.pk}/",
        "deposits": f"/accounts/{receiving.pk}/deposits/",
        "no deposit address": f"/accounts/{frozen.pk}/deposits/",
        "new payment": "/payments/new/",
        "confirmation": _confirmation_path(user, whale.pk, WEI_MAX // 3),
        "payment that can't be made": _confirmation_path(user, desk.account.pk, WEI_MAX // 3),
        "payment done": f"/payments/{done.pk}/",
        "payment refused": f"/payments/{rejected.pk}/",
        "payment in a block": f"/payments/{under_way.pk}/",
        "payment being cancelled": f"/payments/{cancelled.pk}/",
        "payment that needs approval": f"/payments/{in_review.pk}/",
        "payment waiting": f"/payments/{waiting.pk}/",
        "largest payment": f"/payments/{of_whale.pk}/",
        "task": f"/tasks/{run.pk}/",
        "failed task": f"/tasks/{failed.pk}/",
        "nothing there": "/nowhere/",
    }


def _confirmation_path(user: User, account_id: int, amount_in_wei: int) -> str:
    draft = PaymentDraft(
        user_id=user.pk,
        user_account_id=account_id,
        to_public_address=RECIPIENT,
        is_checksummed=False,
        amount_in_wei=amount_in_wei,
        fee_in_wei=settings.PAYMENT_FEE_IN_WEI,
        typed_to=RECIPIENT.lower(),
        typed_amount=str(amount_in_wei),
        typed_unit="wei",
        made_at_timestamp=int(timezone.now().timestamp()),
    )
    return f"/payments/confirm/?{urlencode({'draft': sign_draft(draft)})}"


def sign_in(page: Page) -> None:
    """Give the browser the session of the person whose desk this is."""
    client = Client()
    client.force_login(User.objects.exclude(accounts=None).order_by("pk")[0])
    cookie = client.cookies[settings.SESSION_COOKIE_NAME]
    origin = page.evaluate("location.origin")
    page.context.add_cookies([{"name": cookie.key, "value": cookie.value, "url": origin}])


def faults_of(page: Page) -> list[str]:
    """Return what is wrong with the page that is open."""
    faults = [str(fault) for fault in page.evaluate(AUDIT)]
    too_wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    return [*faults, f"{too_wide} px wider than the screen"] if too_wide > 0 else faults


@pytest.mark.parametrize(("width", "color_scheme"), [(320, "light"), (375, "dark"), (768, "dark"), (1280, "light")])
def test_every_page_fits_and_can_be_read_and_found_ones_way_in(
    paths: dict[str, str], open_page: OpenPage, width: int, color_scheme: str
) -> None:
    page = open_page(width=width, color_scheme=color_scheme)
    page.goto("/sign-in/")
    faults = {"sign in": faults_of(page)}
    sign_in(page)
    for name, path in paths.items():
        page.goto(path)
        expect(page.locator("main")).to_be_visible()
        faults[name] = faults_of(page)
    page.goto("/payments/new/")
    page.get_by_label("Amount").fill("1,5")
    page.get_by_role("button", name="Continue").click()
    expect(page.locator(".errors").first).to_be_visible()
    page.wait_for_load_state()
    faults["form with errors"] = faults_of(page)
    assert {name: found for name, found in faults.items() if found} == {}


def test_dark_is_dark_and_light_is_light(open_page: OpenPage) -> None:
    brightness = {}
    for scheme in ("light", "dark"):
        page = open_page(color_scheme=scheme)
        page.goto("/sign-in/")
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness[scheme] = sum(int(part) for part in re.findall(r"\d+", colour)[:3]) / 3
    assert brightness["light"] > 230
    assert brightness["dark"] < 30


def test_a_page_without_its_style_and_script_still_says_everything(paths: dict[str, str], open_page: OpenPage) -> None:
    page = open_page(width=375)
    page.route(re.compile(r"\.(css|js)"), lambda route: route.fulfill(body=""))
    page.goto("/sign-in/")
    sign_in(page)
    page.goto(paths["payment in a block"])
    expect(page.get_by_text("4 of 10 confirmations")).to_be_visible()
    expect(page.get_by_role("progressbar")).to_be_visible()
