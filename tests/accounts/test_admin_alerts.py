"""Alerts in the admin: what is wrong now first, acknowledged by those who may, and a banner as long as nobody has."""

from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.urls import reverse
from django.utils import timezone

from accounts.admin import alerts
from accounts.models import Alert, AlertKind
from accounts.services.alerts import acknowledge_alert, raise_alert, resolve_alert
from tests.desk import RECIPIENT, Desk, make_user
from tests.pages import links_of, text_of
from tests.staff import Staff, events, make_staff
from transactions.services.reserves import Proof
from transactions.services.reserves_reports import keep_report
from transactions.services.watch import NO_WALLET

pytestmark = pytest.mark.django_db
LIST = reverse("admin:accounts_alert_changelist")
INDEX = reverse("admin:index")
HASH = "0x" + "ab" * 32


@pytest.fixture
def operator(db: None) -> Staff:
    return make_staff("operators")


def alert(subject: str, kind: AlertKind = AlertKind.NODE) -> Alert:
    raise_alert(kind=kind, subject=subject, message=f"About {subject}.", now=timezone.now())
    return Alert.objects.get(subject=subject, resolved_at=None)


def acknowledge(staff: Staff, *rows: Alert) -> Any:
    fields = {"action": "acknowledge", "_selected_action": [row.pk for row in rows], "index": 0}
    return staff.client.post(LIST, fields)


def shown(staff: Staff, **filters: str) -> list[str]:
    page = staff.client.get(LIST, filters)
    return [row.subject for row in page.context["cl"].result_list]


def test_the_list_shows_open_ones_first_and_filters(operator: Staff) -> None:
    alert("over")
    resolve_alert(kind=AlertKind.NODE, subject="over", now=timezone.now())
    known = alert("known", AlertKind.QUEUE_FULL)
    acknowledge_alert(actor=make_user(), alert_id=known.pk, now=timezone.now())
    alert("new")
    assert shown(operator) == ["new", "known", "over"]
    assert shown(operator, state="open") == ["new", "known"]
    assert shown(operator, state="unacknowledged") == ["new"]
    assert shown(operator, state="resolved") == ["over"]
    assert shown(operator, kind__exact="queue_full") == ["known"]
    assert shown(operator, q="kno") == ["known"]
    assert shown(operator, q=f"#{known.pk}") == ["known"]


def test_the_page_of_one_tells_everything(operator: Staff) -> None:
    row = alert("0xabc")
    page = text_of(operator.client.get(reverse("admin:accounts_alert_change", args=[row.pk])))
    assert "About 0xabc." in page
    assert "node unhealthy" in page.lower()


@pytest.mark.parametrize(
    ("kind", "subject", "link"),
    [
        (AlertKind.WALLET_PAUSED, RECIPIENT, f"/admin/transactions/wallet/?q={RECIPIENT}"),
        (AlertKind.NONCE_DRIFT, f"{RECIPIENT} nonce 7", f"/admin/transactions/wallet/?q={RECIPIENT}"),
        (AlertKind.PAYMENT_STUCK, "flagged", "/admin/transactions/transaction/?status__exact=PENDING"),
        (AlertKind.QUEUE_FULL, "payments", "/admin/transactions/transaction/?stage__exact=ACCEPTED"),
        (AlertKind.INTAKE_LATE, "intake", "/admin/transactions/deposit/"),
        (AlertKind.BOOKS_DIFFER, "books and chain", "/admin/transactions/reservesreport/"),
        (AlertKind.BOOKS_DIFFER, "deposits", "/admin/transactions/deposit/"),
        (AlertKind.DEEP_REORG, "deposits from #7", "/admin/transactions/deposit/"),
        (AlertKind.DEEP_REORG, f"opening of {RECIPIENT}", f"/admin/transactions/wallet/?q={RECIPIENT}"),
        (AlertKind.LOSS, f"deposit {HASH}.1", f"/admin/transactions/deposit/?q={HASH}"),
    ],
)
def test_the_page_of_one_leads_to_what_it_is_about(operator: Staff, kind: AlertKind, subject: str, link: str) -> None:
    page = operator.client.get(reverse("admin:accounts_alert_change", args=[alert(subject, kind).pk]))
    assert link in links_of(page)
    assert operator.client.get(link).status_code == 200


@pytest.mark.parametrize(("kind", "subject"), [(AlertKind.DEEP_REORG, "from #{}"), (AlertKind.LOSS, "payment #{}.1")])
def test_one_that_names_a_payment_leads_to_its_page(operator: Staff, kind: AlertKind, subject: str) -> None:
    payment = Desk().accept()
    page = operator.client.get(
        reverse("admin:accounts_alert_change", args=[alert(subject.format(payment.pk), kind).pk])
    )
    assert reverse("admin:transactions_transaction_change", args=[payment.pk]) in links_of(page)
    assert f"Payment #{payment.pk}" in text_of(page)


def test_one_of_a_key_without_a_wallet_leads_to_no_wallet(operator: Staff) -> None:
    row = alert(f"{RECIPIENT}{NO_WALLET}", AlertKind.NONCE_DRIFT)
    page = operator.client.get(reverse("admin:accounts_alert_change", args=[row.pk]))
    assert not [link for link in links_of(page) if "wallet/?q" in link]


def test_books_that_differ_lead_to_the_newest_report(operator: Staff) -> None:
    for _ in range(2):
        newest = keep_report(Proof(not_compared="The node is down."), timezone.now())
    row = alert("books and chain", AlertKind.BOOKS_DIFFER)
    page = operator.client.get(reverse("admin:accounts_alert_change", args=[row.pk]))
    assert reverse("admin:transactions_reservesreport_change", args=[newest.pk]) in links_of(page)
    assert f"Newest reserves report (#{newest.pk})" in text_of(page)


def test_the_list_shows_the_start_of_a_long_message(operator: Staff) -> None:
    raise_alert(kind=AlertKind.NODE, subject="a", message="wolf " * 100, now=timezone.now())
    page = text_of(operator.client.get(LIST))
    assert page.count("wolf") == 32
    assert "wolf… open" in page


def test_operators_acknowledge(operator: Staff) -> None:
    first, second, third = alert("a"), alert("b"), alert("c")
    acknowledge_alert(actor=make_user(), alert_id=first.pk, now=timezone.now())
    answer = acknowledge(operator, first, second)
    assert [str(message) for message in get_messages(answer.wsgi_request)] == ["Acknowledged: 1 of 2 chosen."]
    second.refresh_from_db()
    third.refresh_from_db()
    assert second.acknowledged_by == operator.user
    assert third.acknowledged_at is None
    assert [event.target_id for event in events("alert.acknowledged")] == [str(first.pk), str(second.pk)]


def test_too_many_at_once_are_refused(operator: Staff, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "AT_ONCE_MAX", 1)
    acknowledge(operator, alert("a"), alert("b"))
    assert not Alert.objects.exclude(acknowledged_at=None).exists()


def test_the_banner_counts_what_nobody_has_acknowledged(operator: Staff) -> None:
    assert "nobody has acknowledged" not in text_of(operator.client.get(INDEX))
    first = alert("a")
    page = operator.client.get(INDEX)
    assert "1 open alert that nobody has acknowledged" in text_of(page)
    link = f"{LIST}?state=unacknowledged"
    assert link in links_of(page)
    assert operator.client.get(link).status_code == 200
    alert("b")
    assert "2 open alerts that nobody" in text_of(operator.client.get(INDEX))
    acknowledge_alert(actor=operator.user, alert_id=first.pk, now=timezone.now())
    resolve_alert(kind=AlertKind.NODE, subject="b", now=timezone.now())
    assert "nobody has acknowledged" not in text_of(operator.client.get(INDEX))


def test_who_may_not_see_alerts_sees_no_banner() -> None:
    alert("a")
    assert "nobody has acknowledged" in text_of(make_staff("viewers").client.get(INDEX))
    assert "nobody has acknowledged" not in text_of(make_staff("schedulers").client.get(INDEX))
    assert make_staff().client.get(INDEX).status_code == 200
