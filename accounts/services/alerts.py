"""Alerts: raised by whoever finds something wrong, resolved by whoever finds it right again, acknowledged by staff."""

import datetime as dt
import logging
from collections.abc import Iterable

from django.db import connection
from django.db import transaction as db_transaction

from accounts.exceptions import AlertNotFoundError
from accounts.models import Alert, AlertKind, User
from accounts.models.alerts import HAPPENED_ONCE, MESSAGE_LENGTH_MAX, SUBJECT_LENGTH_MAX
from accounts.services.audit import record_audit

logger = logging.getLogger(__name__)

# One statement, so that of any number of processes exactly one opens it.
_RAISE = """
INSERT INTO accounts_alert (kind, subject, message, opened_at, last_seen_at, times_seen)
VALUES (%s, %s, %s, %s, %s, 1)
ON CONFLICT (kind, subject) WHERE resolved_at IS NULL DO UPDATE SET
    message = excluded.message,
    last_seen_at = greatest(accounts_alert.last_seen_at, excluded.last_seen_at),
    times_seen = accounts_alert.times_seen + 1
RETURNING times_seen
"""


def raise_alert(*, kind: AlertKind, subject: str, message: str, now: dt.datetime) -> bool:
    """Open an alert, or note that an open one was seen again; return whether it was opened.

    It is part of the caller's database transaction: the alert is there if and only if what it tells of is. Its row
    stays locked until the commit, so raise it last. Staff get it by e-mail (`accounts.services.alert_mail`).

    :param subject: what it is about (an address, a payment's number), the same words each time; 200 characters.
    :param message: what an operator needs to know and do, in up to 1,000 characters; never a secret.
    """
    subject, message = _cleaned(subject, SUBJECT_LENGTH_MAX), _cleaned(message, MESSAGE_LENGTH_MAX)
    with connection.cursor() as cursor:
        cursor.execute(_RAISE, [kind.value, subject, message, now, now])
        (times_seen,) = cursor.fetchone()
    is_new = bool(times_seen == 1)
    if is_new:
        db_transaction.on_commit(lambda: logger.error("Alert: %s, %s: %s", kind.label, subject, message))
    return is_new


def resolve_alert(*, kind: AlertKind, subject: str, now: dt.datetime) -> bool:
    """Close the open alert of this kind and subject; return whether there was one."""
    subject = _cleaned(subject, SUBJECT_LENGTH_MAX)
    was_open = bool(Alert.objects.filter(kind=kind, subject=subject, resolved_at=None).update(resolved_at=now))
    if was_open:
        db_transaction.on_commit(lambda: logger.info("Resolved: %s, %s.", kind.label, subject))
    return was_open


def resolve_others(*, kind: AlertKind, subjects: Iterable[str], now: dt.datetime) -> None:
    """Close the open alerts of this kind about anything but these subjects: what they told of is watched no more."""
    watched = [_cleaned(subject, SUBJECT_LENGTH_MAX) for subject in subjects]
    others = Alert.objects.filter(kind=kind, resolved_at=None).exclude(subject__in=watched)
    for subject in others.order_by("pk").values_list("subject", flat=True):
        resolve_alert(kind=kind, subject=subject, now=now)


def raise_or_resolve(*, kind: AlertKind, subject: str, message: str, now: dt.datetime) -> None:
    """Raise an alert with what is wrong, or resolve it: no message says that all is well."""
    if message:
        raise_alert(kind=kind, subject=subject, message=message, now=now)
    else:
        resolve_alert(kind=kind, subject=subject, now=now)


@db_transaction.atomic
def acknowledge_alert(*, actor: User, alert_id: int, now: dt.datetime) -> bool:
    """Note that a member of the staff knows of an alert; return whether they are the first.

    It stays open until its cause is gone, unless it tells of something that is over.

    :raises AlertNotFoundError: when there is no such alert.
    """
    alert = Alert.objects.select_for_update().filter(pk=alert_id).first()
    if alert is None:
        raise AlertNotFoundError
    if alert.is_acknowledged:
        return False
    alert.acknowledged_at, alert.acknowledged_by = now, actor
    if alert.kind in HAPPENED_ONCE:
        alert.resolved_at = alert.resolved_at or now
    alert.save(update_fields=["acknowledged_at", "acknowledged_by", "resolved_at"])
    record_audit(actor=actor, action="alert.acknowledged", target=alert, details={"alert": str(alert)})
    return True


def _cleaned(text: str, length_max: int) -> str:
    """Return a text that the column takes, whatever a node put into it: who raises an alert must not fail by it."""
    # PostgreSQL takes neither NUL nor half of a surrogate pair.
    return text.replace("\0", "").encode(errors="replace").decode()[:length_max]
