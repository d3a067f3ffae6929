"""Nudges: wake the broadcaster without waiting for it, at most one message for many payments.

A nudge is never needed for a payment to be sent, only for it to be sent soon: the follower's tick finds whatever no
nudge was sent for, so no failure here may reach the one who pays.
"""

import logging
import time

from django.conf import settings
from kombu import Connection
from kombu.exceptions import LimitExceeded, OperationalError
from kombu.pools import producers

from accounts.cache import cache_commands
from tasks.money import NUDGED_KEY, broadcast

logger = logging.getLogger(__name__)

NUDGE_SECONDS = 1
PAUSE_SECONDS = 10.0
TIMEOUT_SECONDS = 0.5
"""How long a payer may wait for a broker that hangs; the workers' own connections are more patient."""

_silent_until = 0.0


def nudge_broadcast() -> None:
    """Ask for a broadcast unless one that hasn't begun yet was asked for within the last second."""
    global _silent_until
    if time.monotonic() < _silent_until:
        return
    commands = cache_commands()
    if not commands.write_if_absent(NUDGED_KEY, 1, NUDGE_SECONDS) and commands.is_up:
        return
    try:
        with producers[_hasty_connection()].acquire(block=True, timeout=TIMEOUT_SECONDS) as producer:
            broadcast.apply_async(expires=10, producer=producer)
    except (OperationalError, LimitExceeded):
        _silent_until = time.monotonic() + PAUSE_SECONDS
        logger.warning("The broker does not answer; payments go out with the follower's next tick.")


def _hasty_connection() -> Connection:
    options = {
        **settings.CELERY_BROKER_TRANSPORT_OPTIONS,
        "socket_timeout": TIMEOUT_SECONDS,
        "socket_connect_timeout": TIMEOUT_SECONDS,
    }
    return broadcast.app.connection_for_write(transport_options=options, connect_timeout=TIMEOUT_SECONDS)
