"""The queue's limit: so many payments may wait to be sent, and no more are accepted until some have gone out."""

import datetime as dt

from django.conf import settings
from django.db import transaction as db_transaction

from accounts.models import AlertKind
from accounts.services.alerts import raise_or_resolve
from transactions.models import Queue, Transaction
from transactions.states import Stage


def measure_queue(now: dt.datetime) -> bool:
    """Shut the queue when it is full and open it when it is no longer; say whether it is full."""
    limit = settings.QUEUE_MAX
    full_since = Queue.objects.filter(pk=1).values_list("full_since", flat=True).first()
    waiting = Transaction.objects.filter(stage=Stage.ACCEPTED)[: limit + 1].count() if limit else 0
    # A full queue opens again when a tenth of it is free, so that it isn't shut and opened with every payment.
    is_full = bool(limit) and waiting >= (limit if full_since is None else limit - limit // 10)
    if is_full == (full_since is not None):
        return is_full
    with db_transaction.atomic():
        Queue.objects.update_or_create(pk=1, defaults={"full_since": now if is_full else None})
        message = f"{waiting} payments wait to be sent; no more are accepted until some have gone out."
        raise_or_resolve(kind=AlertKind.QUEUE_FULL, subject="payments", message=message if is_full else "", now=now)
    return is_full
