"""Standstill: for long, the desk has walked to no new block. `/readyz` tells monitors, an alert tells staff."""

import datetime as dt

from django.conf import settings

from accounts.models import AlertKind
from accounts.services.alerts import raise_or_resolve
from transactions.chain.client import Chain, get_chain
from transactions.chain.exceptions import ChainError
from transactions.models import Block


def is_standstill(age_in_seconds: float) -> bool:
    """Say whether the desk stands still when the newest block that it has walked is so old."""
    return 0 < settings.STANDSTILL_AFTER_SECONDS < age_in_seconds


def watch_standstill(now: dt.datetime, *, chain: Chain | None = None) -> None:
    """Raise an alert when nodes answer and no new block is walked for long; resolve it with the next one.

    When no node answers, that is an alert of its own (`watch_nodes`), and this one stays as it is.
    """
    newest = Block.objects.order_by("-number").first()
    message = ""
    if newest is not None and is_standstill(now.timestamp() - newest.timestamp):
        try:
            head = (chain or get_chain()).view([], with_finalized=False).head
        except ChainError:
            return
        made_at = dt.datetime.fromtimestamp(newest.timestamp, dt.UTC)
        why = "No node knows a newer one: a block explorer says whether the chain goes on without them."
        if head.number > newest.number:
            why = f"Nodes know block {head.number}: the log of the workers of queue money says what is in the way."
        message = (
            f"The desk has walked to no block after {newest.number}, made {made_at:%Y-%m-%d %H:%M} UTC: payments are "
            f"accepted, and none becomes final. {why}"
        )
    raise_or_resolve(kind=AlertKind.PAYMENT_STUCK, subject="no new block", message=message, now=now)
