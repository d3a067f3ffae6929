"""Single flight across all processes: named locks that PostgreSQL holds for one session."""

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DatabaseError, InterfaceError, connection

logger = logging.getLogger(__name__)


@contextmanager
def advisory_lock(name: str, key: int = 0) -> Iterator[bool]:
    """Hold the lock `name` (of row `key`, say) while the block runs; yield whether it was free.

    Doesn't wait. PostgreSQL itself lets go when the session ends, so a killed process blocks nobody. The lock belongs
    to the session, not to a database transaction: take it outside `atomic`. A session can take a lock that it holds a
    second time; other sessions can't. Needs sessions of its own (no PgBouncer in transaction mode).
    """
    lock_id = _lock_id(name, key)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [lock_id])
        (is_mine,) = cursor.fetchone()
    try:
        yield is_mine
    finally:
        if is_mine:
            _release(name, lock_id)


def _release(name: str, lock_id: int) -> None:
    """Give the lock back; where the connection can't even say so, end the session, which does the same."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [lock_id])
            (was_mine,) = cursor.fetchone()
    except (DatabaseError, InterfaceError):
        connection.close()
        return
    if not was_mine:
        # The session was replaced while the block ran: for a while two could have been at it.
        logger.warning("The lock %s was lost while it was needed: the database connection was replaced.", name)


def _lock_id(name: str, key: int) -> int:
    """Return a signed 64-bit number for the pair, spread so that no two names of ours meet."""
    digest = hashlib.sha256(f"txnsite:{name}:{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def lock_until_commit(name: str, key: int = 0) -> None:
    """Wait for the lock `name` (of row `key`, say) and hold it until the database transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_lock_id(name, key)])
