"""Alerts by e-mail, from their rows: a mail server that is down delays them and loses none."""

import datetime as dt
from collections.abc import Sequence

from django.conf import settings
from django.core.mail import EmailMessage
from django.db.models import Q

from accounts.models import Alert

AT_ONCE_MAX = 1_000
TOLD_IN_FULL_MAX = 50
"""A flood of alerts is one mail that a person can read, not thousands."""

TOLD_LATE = dt.timedelta(days=7)
"""An alert that is over is still told for so long; older ones are for the admin to list, or for nobody."""


def mail_alerts(now: dt.datetime) -> int:
    """Send one mail about all alerts that none was sent about; return how many it tells of.

    One caller at a time (the task holds a lock). A process that dies after the mail went out sends it again.

    :raises OSError: when the mail server does not take it; `smtplib.SMTPException` is one.
    """
    if not settings.ALERT_EMAILS:
        return 0
    worth_telling = Q(resolved_at=None) | Q(opened_at__gt=now - TOLD_LATE)
    alerts = list(Alert.objects.filter(worth_telling, mailed_at=None).order_by("pk")[:AT_ONCE_MAX])
    if alerts:
        EmailMessage(_subject(alerts), _body(alerts), to=settings.ALERT_EMAILS).send()
        Alert.objects.filter(pk__in=[alert.pk for alert in alerts]).update(mailed_at=now)
    return len(alerts)


def _subject(alerts: Sequence[Alert]) -> str:
    """Return a line of our own words: a subject that came from elsewhere could break the header."""
    kinds = ", ".join(dict.fromkeys(alert.get_kind_display() for alert in alerts))
    return f"[txnsite] {_counted(len(alerts))}: {kinds}"


def _body(alerts: Sequence[Alert]) -> str:
    paragraphs = [_paragraph(alert) for alert in alerts[:TOLD_IN_FULL_MAX]]
    if len(alerts) > TOLD_IN_FULL_MAX:
        paragraphs.append(f"And {len(alerts) - TOLD_IN_FULL_MAX} more.")
    return "\n\n".join([*paragraphs, "They are listed in the admin, under Alerts: acknowledge those you see to.\n"])


def _paragraph(alert: Alert) -> str:
    over = "" if alert.resolved_at is None else f", resolved {alert.resolved_at:%Y-%m-%d %H:%M:%S} UTC"
    return f"#{alert.pk} {alert}\n{alert.message}\nSince {alert.opened_at:%Y-%m-%d %H:%M:%S} UTC{over}."


def _counted(count: int) -> str:
    return "1 alert" if count == 1 else f"{count} alerts"
