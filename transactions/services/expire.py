"""Expire: call off what has waited too long to be sent, where the desk is told to (`EXPIRE_AFTER_HOURS`)."""

import datetime as dt
from itertools import chain

from django.conf import settings

from transactions.models import Approval, Transaction
from transactions.services.refuse import refuse_unsigned
from transactions.services.unclear import without_unclear
from transactions.services.wallets import sending_wallets
from transactions.states import FailureReason, Kind, Stage, Verdict

AT_ONCE = 500
"""How many of those in line, and of those in review, are called off at a time; the next run goes on."""


def expire_payments(now: dt.datetime) -> int:
    """Fail payments that were accepted, or approved, too long ago and of which nothing is signed; return how many.

    What is signed may be mined at any time: only what takes its place ends that, as its owner or staff may ask for. Nor
    is called off what a transaction may have paid that nobody can tell yet; nor anything while no wallet pays: staff
    have stopped them all, or a backup was restored, and it is for them to say when what is known holds again.
    """
    if not settings.EXPIRE_AFTER_HOURS or not sending_wallets():
        return 0
    too_late = now - dt.timedelta(hours=settings.EXPIRE_AFTER_HOURS)
    old = Transaction.objects.filter(kind=Kind.PAYMENT, accepted_at__lt=too_late, cancel_requested_at__isnull=True)
    waiting = without_unclear(old).order_by("pk")
    in_line = waiting.filter(stage=Stage.ACCEPTED).exclude(pk__in=Approval.objects.filter(decided_at__gte=too_late))
    # By way of the requests that are open: no index has the few payments among all of them.
    in_review = waiting.filter(stage=Stage.REVIEW, pk__in=Approval.objects.filter(verdict=Verdict.OPEN))
    ids = chain.from_iterable(rows.values_list("pk", flat=True)[:AT_ONCE] for rows in (in_line, in_review))
    return len(refuse_unsigned(dict.fromkeys(ids, ""), FailureReason.EXPIRED, now))
