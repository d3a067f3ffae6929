"""Who may see and do what in the admin, page by page, also by requests that no page of ours would send."""

from typing import Any

import pytest
from django.contrib import admin
from django.urls import reverse

from accounts.models import AlertKind, AuditEvent
from accounts.services.alerts import raise_alert
from accounts.services.audit import record_audit
from accounts.services.setup import SCHEDULED, VIEWED
from accounts.services.tokens import create_token
from tasks.progress import create_run
from tasks.schedules import create_default_schedules
from tests.desk import NOW, RECIPIENT, Desk
from tests.staff import Staff, balances, make_staff
from transactions.services.reserves import Proof
from transactions.services.reserves_reports import keep_report

pytestmark = pytest.mark.django_db

READ_ONLY = (
    "accounts.journal",
    "accounts.entry",
    "accounts.hold",
    "accounts.auditevent",
    "accounts.alert",
    "transactions.wallet",
    "transactions.transaction",
    "transactions.approval",
    "transactions.accountpolicy",
    "transactions.allowedrecipient",
    "transactions.deposit",
    "transactions.reservesreport",
    "tasks.taskrun",
)
SHOWN = {f"{model._meta.app_label}.{model._meta.model_name}" for model in admin.site._registry}


@pytest.fixture
def desk(db: None) -> Desk:
    """A desk with a row of everything that the admin shows."""
    desk = Desk()
    desk.accept()
    desk.broadcast()
    desk.accept_for_review()
    desk.allow(RECIPIENT)
    create_default_schedules()
    create_run(name="Count sheep")
    create_token(user=desk.account.owner, name="till")  # type: ignore[arg-type]
    raise_alert(kind=AlertKind.NODE, subject="s", message="m", now=NOW)
    desk.pay_in(desk.wallet.address)
    desk.mine()
    desk.take_in()
    keep_report(Proof(not_compared="No node answers."), NOW)
    return desk


def url(label: str, page: str = "changelist", *args: object) -> str:
    return reverse(f"admin:{label.replace('.', '_')}_{page}", args=args)


def first_pk(label: str) -> object:
    model = next(model for model in admin.site._registry if model._meta.label_lower == label)
    row = model._default_manager.order_by("pk").first()
    assert row is not None, label
    return row.pk


def test_everything_of_the_desk_is_shown() -> None:
    shown = set(VIEWED) - {"transactions.attempt"}
    assert SHOWN == shown | {"auth.group"}  # noqa: SIM300 (these are what is asked about)


@pytest.mark.parametrize("label", sorted(SHOWN))
def test_every_list_and_page_opens_for_a_superuser(desk: Desk, label: str) -> None:
    staff = make_staff(is_superuser=True)
    record_audit(actor=staff.user, action="test.happened", target=desk.account)
    assert staff.client.get(url(label)).status_code == 200
    assert staff.client.get(url(label), {"q": "12"}).status_code == 200
    assert staff.client.get(url(label), {"q": "0x" + "ab" * 20}).status_code == 200
    if label == "django_celery_beat.clockedschedule":
        return
    page = staff.client.get(url(label, "change", first_pk(label)))
    assert page.status_code == 200


@pytest.mark.parametrize(
    ("group", "seen"),
    [
        ("viewers", set(VIEWED)),
        ("operators", set(VIEWED)),
        ("approvers", set(VIEWED)),
        ("schedulers", set(SCHEDULED)),
    ],
)
def test_groups_see_their_lists_and_no_others(desk: Desk, group: str, seen: set[str]) -> None:
    staff = make_staff(group)
    assert staff.client.get(reverse("admin:index")).status_code == 200
    for label in SHOWN:
        expected = 200 if label in seen else 403
        assert staff.client.get(url(label)).status_code == expected, label


@pytest.mark.parametrize("is_staff", [True, False])
def test_without_a_group_nothing_is_seen(desk: Desk, is_staff: bool) -> None:
    staff = make_staff(is_staff=is_staff)
    for label in SHOWN:
        # Who isn't staff is asked to sign in as somebody who is.
        assert staff.client.get(url(label)).status_code == (403 if is_staff else 302), label


@pytest.mark.parametrize("label", READ_ONLY)
def test_what_is_read_only_is_so_for_superusers_too(desk: Desk, label: str) -> None:
    staff = make_staff(is_superuser=True)
    record_audit(actor=staff.user, action="test.happened", target=desk.account)
    pk = first_pk(label)
    before = _row(label, pk)
    for verb in ("get", "post"):
        assert getattr(staff.client, verb)(url(label, "add")).status_code == 403
        assert getattr(staff.client, verb)(url(label, "delete", pk), {"post": "yes"}).status_code == 403
    assert staff.client.post(url(label, "change", pk), _anything(label)).status_code == 403
    forged = {"action": "delete_selected", "_selected_action": [pk], "post": "yes", "index": 0}
    staff.client.post(url(label), forged)
    assert _row(label, pk) == before


@pytest.mark.parametrize("label", sorted(set(SHOWN) - set(READ_ONLY) - {"django_celery_beat.clockedschedule"}))
def test_viewers_change_nothing(desk: Desk, label: str) -> None:
    staff = make_staff("viewers")
    pk = first_pk(label)
    before = _row(label, pk)
    assert staff.client.post(url(label, "add"), _anything(label)).status_code == 403
    assert staff.client.post(url(label, "change", pk), _anything(label)).status_code == 403
    assert staff.client.post(url(label, "delete", pk), {"post": "yes"}).status_code == 403
    assert _row(label, pk) == before


FORGED = [
    ("accounts.account", "freeze", {"reason": "forged"}),
    ("accounts.account", "unfreeze", {"reason": "forged"}),
    ("accounts.account", "credit", {}),
    ("accounts.account", "debit", {}),
    ("accounts.apitoken", "revoke", {"reason": "forged"}),
    ("accounts.alert", "acknowledge", {}),
    ("transactions.transaction", "reconcile", {}),
    ("transactions.allowedrecipient", "disallow", {}),
    ("django_celery_beat.periodictask", "enable_tasks", {}),
    ("django_celery_beat.periodictask", "disable_tasks", {}),
    ("django_celery_beat.periodictask", "run_tasks", {}),
    ("django_celery_beat.periodictask", "delete_selected", {"post": "yes"}),
    ("accounts.user", "delete_selected", {"post": "yes"}),
]


@pytest.mark.parametrize(
    ("group", "label", "action", "fields"),
    [("viewers", *forged) for forged in FORGED]
    + [("schedulers", *forged) for forged in FORGED if forged[0] not in SCHEDULED],
)
def test_actions_are_not_run_for_those_who_may_not(
    desk: Desk, group: str, label: str, action: str, fields: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    staff = make_staff(group)
    pk = first_pk(label)
    before, money, events = _row(label, pk), balances(desk.account), AuditEvent.objects.count()
    monkeypatch.setattr("celery.app.task.Task.apply_async", lambda *_, **__: pytest.fail("a task was started"))
    forged = {"action": action, "_selected_action": [pk], "index": 0, "select_across": 0, **fields}
    answer = staff.client.post(url(label), forged)
    assert answer.status_code in (200, 302, 403)
    if answer.status_code == 302:
        assert answer["Location"].split("?")[0] == url(label), "it led on to a page of the action"
    assert _row(label, pk) == before
    assert balances(desk.account) == money
    assert AuditEvent.objects.count() == events


def test_the_pages_of_actions_ask_for_permission_themselves(desk: Desk) -> None:
    account, payment = desk.account.pk, first_pk("transactions.transaction")
    token = first_pk("accounts.apitoken")
    pages = [
        f"{url('accounts.account', 'freeze')}?id={account}",
        f"{url('accounts.account', 'unfreeze')}?id={account}",
        url("accounts.account", "credit", account),
        url("accounts.account", "debit", account),
        f"{url('accounts.apitoken', 'revoke')}?id={token}",
        url("transactions.transaction", "reconcile", payment),
        url("transactions.approval", "decide", first_pk("transactions.approval")),
        url("transactions.accountpolicy", "set", account),
        url("transactions.allowedrecipient", "allow", account),
        f"{url('transactions.allowedrecipient', 'disallow')}?id={first_pk('transactions.allowedrecipient')}",
        url("accounts.journal", "check"),
    ]
    events = AuditEvent.objects.count()
    for staff, expected in ((make_staff("viewers"), 403), (make_staff("schedulers"), 403), (plain(), 302)):
        count = AuditEvent.objects.count()
        for page in pages:
            posted = {"reason": "forged", "amount": "1", "unit": "ether", "confirm": "1", "approve": "1"}
            assert staff.client.post(page, posted).status_code == expected, page
            assert staff.client.get(page).status_code in (expected, 405), page
        assert AuditEvent.objects.count() == count
    assert AuditEvent.objects.count() > events, "setting up the groups is recorded"
    assert balances(desk.account)[0] == 100 * 10**18


def plain() -> Staff:
    return make_staff(is_staff=False)


def _anything(label: str) -> dict[str, Any]:
    return {"name": "forged", "username": "forged", "is_superuser": "on", "reason": "forged", "every": "9"}


def _row(label: str, pk: object) -> dict[str, Any] | None:
    model = next(model for model in admin.site._registry if model._meta.label_lower == label)
    return model._default_manager.filter(pk=pk).values().first()
