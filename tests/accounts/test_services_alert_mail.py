"""Alerts by e-mail: told once, as one mail, whatever the mail server does."""

import datetime as dt
import time

import pytest
from django.core import mail
from pytest_django import Settings

from accounts.models import Alert, AlertKind
from accounts.services.alert_mail import TOLD_LATE, mail_alerts
from accounts.services.alerts import raise_alert, resolve_alert
from tests.desk import NOW
from tests.mail_server import REFUSAL, mail_server

pytestmark = pytest.mark.django_db
LATER = NOW + dt.timedelta(seconds=30)


@pytest.fixture(autouse=True)
def _told_to_ops(settings: Settings) -> None:
    settings.ALERT_EMAILS = ["ops@desk.test", "boss@desk.test"]
    settings.DEFAULT_FROM_EMAIL = "desk@desk.test"


def alert(subject: str = "0xabc", kind: AlertKind = AlertKind.NODE, now: dt.datetime = NOW) -> None:
    raise_alert(kind=kind, subject=subject, message=f"About {subject}.", now=now)


def use_server(settings: Settings, port: int) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_TIMEOUT = "127.0.0.1", port, 0.2


def test_new_alerts_are_one_mail_and_told_once() -> None:
    alert("0xabc")
    alert("books", AlertKind.BOOKS_DIFFER)
    assert mail_alerts(LATER) == 2
    assert mail_alerts(LATER) == 0
    (sent,) = mail.outbox
    assert (sent.to, sent.from_email) == (["ops@desk.test", "boss@desk.test"], "desk@desk.test")
    assert sent.subject == "[txnsite] 2 alerts: node unhealthy, books differ"
    first, second = Alert.objects.order_by("pk")
    assert sent.body == (
        f"#{first.pk} node unhealthy: 0xabc\nAbout 0xabc.\nSince 2026-01-02 03:04:05 UTC.\n\n"
        f"#{second.pk} books differ: books\nAbout books.\nSince 2026-01-02 03:04:05 UTC.\n\n"
        "They are listed in the admin, under Alerts: acknowledge those you see to.\n"
    )
    assert set(Alert.objects.values_list("mailed_at", flat=True)) == {LATER}


def test_seen_again_it_is_not_told_again_but_opened_again_it_is() -> None:
    alert()
    mail_alerts(LATER)
    alert(now=LATER)
    assert mail_alerts(LATER) == 0
    resolve_alert(kind=AlertKind.NODE, subject="0xabc", now=LATER)
    alert(now=LATER)
    assert mail_alerts(LATER) == 1


def test_what_is_over_already_is_told_as_such() -> None:
    alert()
    resolve_alert(kind=AlertKind.NODE, subject="0xabc", now=LATER)
    assert mail_alerts(LATER) == 1
    assert "Since 2026-01-02 03:04:05 UTC, resolved 2026-01-02 03:04:35 UTC." in str(mail.outbox[0].body)


def test_what_was_over_long_ago_is_not_told_but_what_is_still_open_is() -> None:
    """E-mail was switched on today, on a desk with years of alerts."""
    alert("over")
    resolve_alert(kind=AlertKind.NODE, subject="over", now=NOW)
    alert("open")
    assert mail_alerts(NOW + TOLD_LATE) == 1
    assert "open" in str(mail.outbox[0].body)
    assert "over" not in str(mail.outbox[0].body)


def test_a_flood_is_one_mail_that_a_person_can_read() -> None:
    for number in range(60):
        alert(f"payment {number}", AlertKind.PAYMENT_STUCK)
    assert mail_alerts(NOW) == 60
    (sent,) = mail.outbox
    assert sent.subject == "[txnsite] 60 alerts: payment stuck"
    assert str(sent.body).count("About payment") == 50
    assert "And 10 more." in str(sent.body)


def test_a_subject_with_a_line_break_stops_no_mail() -> None:
    alert("0xabc\r\nBcc: thief@desk.test")
    assert mail_alerts(NOW) == 1
    assert mail.outbox[0].subject == "[txnsite] 1 alert: node unhealthy"


def test_where_nobody_is_to_be_told_nothing_is_sent(settings: Settings) -> None:
    settings.ALERT_EMAILS = []
    alert()
    assert mail_alerts(NOW) == 0
    assert mail.outbox == []
    assert Alert.objects.get().mailed_at is None


def test_a_real_mail_server_takes_them(settings: Settings) -> None:
    alert("wället")
    with mail_server() as server:
        use_server(settings, server.port)
        assert mail_alerts(NOW) == 1
    (taken,) = server.mails
    assert taken["To"] == "ops@desk.test, boss@desk.test"
    assert "node unhealthy: wället" in taken.get_content()


@pytest.mark.parametrize("greeting", [REFUSAL, b""], ids=["refuses", "hangs"])
def test_a_mail_server_that_does_not_take_them_loses_none(settings: Settings, greeting: bytes) -> None:
    alert()
    with mail_server(greeting) as server:
        use_server(settings, server.port)
        started = time.monotonic()
        with pytest.raises(OSError):  # noqa: PT011 (what it says is the server's)
            mail_alerts(NOW)
        assert time.monotonic() - started < 5
    assert Alert.objects.get().mailed_at is None
    with mail_server() as server:
        use_server(settings, server.port)
        assert mail_alerts(LATER) == 1
    assert len(server.mails) == 1


def test_without_a_mail_server_they_wait(settings: Settings) -> None:
    alert()
    use_server(settings, 1)
    with pytest.raises(ConnectionRefusedError):
        mail_alerts(NOW)
    assert Alert.objects.get().mailed_at is None
