"""The admin in a browser: wide and narrow, without a breach of the content security policy, by a press of a button."""

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect

from accounts.models import Alert, AlertKind, Hold, Journal
from accounts.services.accounts import freeze_account
from accounts.services.alerts import raise_alert
from accounts.services.tokens import authenticate
from tasks.models import TaskRun
from tasks.progress import advance_run, create_run, start_run
from tasks.schedules import create_default_schedules
from tests.browser.conftest import OpenPage
from tests.conftest import StartWorker
from tests.desk import ETHER, NOW, RECIPIENT, Desk, make_account, make_user
from tests.staff import PASSWORD, balances, make_staff
from transactions.models import AccountPolicy, AllowedRecipient, Approval, Attempt, ReservesReport, Transaction
from transactions.services.reserves import prove_reserves
from transactions.services.reserves_reports import keep_report, sign_report
from transactions.services.wallet_care import pause


@pytest.fixture
def desk(transactional_db: None) -> Desk:
    """A desk with a row of everything, and a staff of one of each."""
    desk = Desk()
    make_account(make_user("whale"), balance_in_wei=2**256 - 1)
    desk.accept(ETHER // 3)
    desk.run_to_the_end()
    desk.accept(ETHER)
    desk.broadcast()
    desk.accept_for_review(2 * ETHER)
    desk.allow(RECIPIENT)
    create_default_schedules()
    raise_alert(kind=AlertKind.WALLET_BALANCE_LOW, subject=desk.wallet.address, message="m" * 1_000, now=NOW)
    keep_signed_report(desk)
    run = create_run(name="Count sheep", total=80)
    start_run(run.pk)
    advance_run(run.pk, 17)
    make_staff("operators")
    make_staff("approvers")
    make_staff(is_superuser=True)
    return desk


def keep_signed_report(desk: Desk) -> None:
    """Keep a report that says that a wallet has a wei too few, with everything that explains it."""
    desk.take_in()
    desk.chain.blocks[1].balances[desk.wallet.address] -= 1
    report = keep_report(prove_reserves(chain=desk.chain, block_number=1), NOW)
    assert report.differences_total == 1
    sign_report(report.pk, NOW)


def sign_in(page: Page, name: str) -> None:
    page.goto(reverse("admin:login"))
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Operations")).to_be_visible()


def pages_to_look_at() -> list[str]:
    """Return the path of every list, of a row of each kind, and of every page of our own."""
    account, payment = AccountPolicy.objects.get().account, Transaction.objects.filter(nonce__isnull=False).latest("pk")
    approval = Approval.objects.get()
    rows = {
        "accounts_user": account.owner_id,
        "accounts_account": account.pk,
        "accounts_journal": Journal.objects.latest("pk").pk,
        "accounts_entry": None,
        "accounts_hold": Hold.objects.latest("pk").pk,
        "accounts_apitoken": None,
        "accounts_auditevent": None,
        "accounts_alert": Alert.objects.latest("pk").pk,
        "transactions_transaction": payment.pk,
        "transactions_wallet": payment.wallet_id,
        "transactions_approval": approval.pk,
        "transactions_accountpolicy": account.pk,
        "transactions_allowedrecipient": AllowedRecipient.objects.get().pk,
        "transactions_reservesreport": ReservesReport.objects.get().pk,
        "tasks_taskrun": TaskRun.objects.latest("created_at").pk,
        "django_celery_beat_periodictask": None,
    }
    paths = [reverse(f"admin:{name}_changelist") for name in rows]
    paths += [reverse(f"admin:{name}_change", args=[pk]) for name, pk in rows.items() if pk is not None]
    paths += [reverse(f"admin:accounts_account_{page}", args=[account.pk]) for page in ("credit", "debit")]
    paths += [f"{reverse('admin:accounts_account_freeze')}?id={account.pk}", reverse("admin:accounts_apitoken_add")]
    paths += [
        reverse("admin:transactions_approval_decide", args=[approval.pk]),
        reverse("admin:transactions_accountpolicy_set", args=[account.pk]),
        reverse("admin:transactions_allowedrecipient_allow", args=[account.pk]),
        f"{reverse('admin:transactions_allowedrecipient_disallow')}?id={rows['transactions_allowedrecipient']}",
    ]
    return [reverse("admin:index"), *paths]


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (375, "dark")])
def test_no_page_is_wider_than_its_window_or_complains(
    desk: Desk, open_page: OpenPage, width: int, scheme: str
) -> None:
    page = open_page(width=width, color_scheme=scheme)
    sign_in(page, "superuser")
    for path in pages_to_look_at():
        answer = page.goto(path)
        assert answer is not None
        assert answer.ok, path
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{path} is {wide} px too wide"


def test_a_long_word_makes_no_list_wider(desk: Desk, open_page: OpenPage) -> None:
    pause(actor=make_user(), wallet_id=desk.wallet.pk, reason=500 * "m", now=NOW)
    freeze_account(actor=make_user(), account_id=desk.account.pk, reason=500 * "m")
    page = open_page()
    sign_in(page, "superuser")
    names = ["accounts_alert", "accounts_auditevent", "accounts_account", "transactions_wallet"]
    hidden = {}
    for name in names:
        page.goto(reverse(f"admin:{name}_changelist"))
        hidden[name] = page.locator(".results").evaluate("table => table.scrollWidth - table.clientWidth")
    assert hidden == dict.fromkeys(names, 0)


def test_a_wallets_state_and_balance_are_seen_on_a_phone(desk: Desk, open_page: OpenPage) -> None:
    page = open_page(width=390)
    sign_in(page, "superuser")
    page.goto(reverse("admin:transactions_wallet_changelist"))
    for column in ("state", "ether"):
        box = page.locator(f"td.field-{column}").bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= 390 - 15, column
    page.locator("td.field-in_flight").scroll_into_view_if_needed()
    expect(page.locator("td.field-in_flight")).to_be_in_viewport()


def test_the_bytes_of_a_payment_are_shown_when_asked_for(desk: Desk, open_page: OpenPage) -> None:
    attempt = Attempt.objects.latest("pk")
    page = open_page(width=390)
    sign_in(page, "superuser")
    page.goto(reverse("admin:transactions_transaction_change", args=[attempt.transaction_id]))
    content = bytes(attempt.raw_transaction)
    expect(page.get_by_text(content.hex())).to_be_hidden()
    page.get_by_text(f"{len(content)} bytes").click()
    expect(page.get_by_text(content.hex())).to_be_visible()


def test_an_account_is_credited_on_a_phone(desk: Desk, open_page: OpenPage) -> None:
    page = open_page(width=375)
    sign_in(page, "operators")
    page.goto(reverse("admin:accounts_account_change", args=[desk.account.pk]))
    before, _ = balances(desk.account)
    page.get_by_role("link", name="Credit…").click()
    page.get_by_label("Amount").fill("1.25")
    page.get_by_label("Reason").fill("Paid in cash at the counter")
    page.get_by_role("button", name="Review").click()
    expect(page.get_by_text("1,250,000,000,000,000,000 wei")).to_be_visible()
    page.get_by_role("button", name="Credit 1.25 ETH").click()
    expect(page.get_by_text("Credited 1.25 ETH")).to_be_visible()
    assert balances(desk.account)[0] == before + 5 * ETHER // 4
    page.get_by_role("link", name="Audit trail").click()
    expect(page.get_by_text("Paid in cash at the counter")).to_be_visible()


def test_a_payment_is_approved_on_a_phone(desk: Desk, open_page: OpenPage) -> None:
    page = open_page(width=375)
    sign_in(page, "approvers")
    page.get_by_role("link", name="1 payment", exact=True).click()
    page.get_by_role("link", name="Decide…").click()
    expect(page.get_by_text(RECIPIENT)).to_be_visible()
    page.get_by_role("button", name="Refuse").click()
    expect(page.get_by_text("Say why: a reason is needed.")).to_be_visible()
    page.get_by_label("Reason").fill("Called the owner")
    page.get_by_role("button", name="Approve 2 ETH").click()
    expect(page.get_by_text("of 2 ETH goes out.")).to_be_visible()
    approval = Approval.objects.get()
    assert (approval.verdict, approval.reason) == ("approved", "Called the owner")
    assert approval.transaction.stage == "ACCEPTED"


def test_a_policy_is_set_on_a_phone(desk: Desk, open_page: OpenPage) -> None:
    page = open_page(width=375)
    sign_in(page, "operators")
    page.goto(reverse("admin:accounts_account_change", args=[desk.account.pk]))
    page.get_by_role("link", name="Policy…").click()
    page.get_by_label("Largest amount, in ETH").fill("2.5")
    page.get_by_label("Only recipients on the allow-list").check()
    page.get_by_label("Reason").fill("Contract of 2026")
    page.get_by_role("button", name="Set the policy").click()
    expect(page.get_by_text("is now: at most 2.5 ETH at once")).to_be_visible()
    page.get_by_role("link", name="Audit trail").click()
    expect(page.get_by_text("Contract of 2026")).to_be_visible()


def test_a_token_is_made_for_somebody_who_is_searched_for(desk: Desk, open_page: OpenPage) -> None:
    page = open_page()
    sign_in(page, "superuser")
    page.goto(reverse("admin:accounts_apitoken_add"))
    page.locator(".field-user .select2-selection").click()
    page.get_by_role("searchbox").fill("wha")
    page.get_by_role("option", name="whale").click()
    page.get_by_label("Name").fill("shop")
    page.get_by_role("button", name="Save", exact=True).click()
    owner = authenticate(page.locator(".desk-secret").inner_text())
    assert owner is not None
    page.get_by_role("link", name="I have kept it").click()
    expect(page.get_by_role("link", name="shop")).to_be_visible()


def test_the_ledger_is_checked_by_a_button_and_its_end_is_seen(
    desk: Desk, open_page: OpenPage, celery_worker: StartWorker
) -> None:
    celery_worker("housekeeping")
    page = open_page()
    sign_in(page, "operators")
    page.get_by_role("button", name="Check the ledger now").click()
    # Of the node that the worker asks, nobody has walked the chain.
    expect(page.get_by_text("The books by themselves add up.")).to_be_visible()
