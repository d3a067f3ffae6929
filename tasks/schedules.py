"""The desk's own schedules in django-celery-beat: made where absent, afterwards the operators'.

A schedule is ours by its name, which the admin neither changes nor lets anybody delete; to stop one, switch it off.
One that is gone all the same (deleted in the database) is made anew at the next set-up: a desk that has forgotten to
follow the chain pays nobody. Everything else about a schedule (when, whether, with which arguments) is the operators'
and survives every set-up.
"""

from typing import Any

from celery.schedules import crontab
from django.conf import settings
from django.db import transaction as db_transaction
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from accounts.locks import lock_until_commit

TICKS_KEPT = 10
"""After an outage of the workers at most so many seconds' worth of ticks is still run; older ones have expired."""
NIGHTLY_EXPIRY_SECONDS = 12 * 3600

WHILE_OFF = {
    "Follow the chain": "Payments are not followed while it is off, and none is settled.",
    "Call off expired payments": "Payments wait to be sent for ever while it is off, whatever EXPIRE_AFTER_HOURS says.",
    "Watch overdue payments": "Payments that hang are not looked after while it is off.",
    "Take in blocks": "Deposits are not seen while it is off.",
    "Watch the desk": "Nobody is told of payments, nodes and deposits that need help while it is off.",
    "Watch wallets": "Nobody is told that a wallet holds too little while it is off.",
    "Mail alerts": "Alerts are not sent by e-mail while it is off.",
    "Check the ledger": "Books and reserves are not proved at night while it is off.",
}
"""What stops with a schedule that money depends on."""


@db_transaction.atomic
def create_default_schedules() -> list[str]:
    """Create each of `DEFAULT_SCHEDULES` that doesn't exist by name; return the names of those created.

    Several set-ups at once are one: the interval and crontab rows that schedules share have no unique key.
    """
    lock_until_commit("schedules")
    existing = set(PeriodicTask.objects.filter(name__in=settings.DEFAULT_SCHEDULES).values_list("name", flat=True))
    created = []
    for name, terms in settings.DEFAULT_SCHEDULES.items():
        if name not in existing:
            PeriodicTask.objects.create(name=name, task=terms["task"], **_timing(terms))
            created.append(name)
    return created


def is_default(name: str) -> bool:
    """Return whether a schedule is one of the desk's own."""
    return name in settings.DEFAULT_SCHEDULES


def stopped() -> list[str]:
    """Return what does not happen now since a schedule that money depends on is switched off or gone, in sentences."""
    running = set(PeriodicTask.objects.filter(name__in=WHILE_OFF, enabled=True).values_list("name", flat=True))
    return [f"{name}: {words}" for name, words in WHILE_OFF.items() if name not in running]


def _timing(terms: dict[str, Any]) -> dict[str, Any]:
    """Return the columns that say when a schedule is due, and when a message of it is too late to be of use."""
    if "every_seconds" in terms:
        seconds = terms["every_seconds"]
        # A tick that comes late is as good as the next one; but a clock may be off by seconds.
        timing = {"interval": _interval(seconds), "expire_seconds": max(seconds, TICKS_KEPT)}
    else:
        timing = {"crontab": _crontab(terms["crontab"]), "expire_seconds": NIGHTLY_EXPIRY_SECONDS}
    if "expire_seconds" in terms:
        timing["expire_seconds"] = terms["expire_seconds"]
    return timing


def _interval(seconds: int) -> IntervalSchedule:
    terms = {"every": seconds, "period": IntervalSchedule.SECONDS}
    return IntervalSchedule.objects.filter(**terms).first() or IntervalSchedule.objects.create(**terms)


def _crontab(schedule: crontab) -> CrontabSchedule:
    row = CrontabSchedule.from_schedule(schedule)
    if row.pk is None:
        row.save()
    return row
