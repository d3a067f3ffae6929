"""Nudges: wake the broadcaster without waiting for it, at most one message for many payments.

A nudge is never needed for a payment to be sent, only for it to be sent soon: the follower's tick finds whatever no
nudge was sent for, so no failure here may reach the one who pays.
"""

import logging
import time

from kombu.exceptions import OperationalError

from accounts.cache import cache_commands
from tasks.money import NUDGED_KEY, broadcast

logger = logging.getLogger(__name__)

NUDGE_SECONDS = 1
PAUSE_SECONDS = 2.0

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
        broadcast.apply_async(expires=10)
    except OperationalError:
        _silent_until = time.monotonic() + PAUSE_SECONDS
        logger.warning("The broker does not answer; payments go out with the follower's next tick.")
