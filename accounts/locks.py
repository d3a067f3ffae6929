"""Single flight across all processes: named locks that PostgreSQL holds for one session."""

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper

logger = logging.getLogger(__name__)

HOLDER_SILENT_SECONDS_MAX = 300
"""How long whoever holds a lock may say nothing to the database: as long as a task may take, however slow the nodes."""

LEADER_SILENT_SECONDS_MAX = 20
"""The same of a leader, which is asked whether it leads every few seconds."""

# A process that hangs, and whose machine goes on, keeps its session: PostgreSQL has to end that by itself.
_TRY = """
SELECT CASE WHEN pg_try_advisory_lock(%s) THEN set_config('idle_session_timeout', %s || 's', FALSE) END IS NOT NULL
"""
_RELEASE = "SELECT pg_advisory_unlock(%s), set_config('idle_session_timeout', '0', FALSE)"


@contextmanager
def advisory_lock(name: str, key: int = 0) -> Iterator[bool]:
    """Hold the lock `name` (of row `key`, say) while the block runs; yield whether it was free.

    Doesn't wait. PostgreSQL itself lets go when the session ends, so a killed process blocks nobody; and it ends the
    session of one that hangs, after five minutes without a statement. What that one does when it wakes up fails: it has
    no session to write with. The lock belongs to the session, not to a database transaction: take it outside `atomic`.
    A session can take a lock that it holds a second time; other sessions can't. Needs sessions of its own (no PgBouncer
    in transaction mode).
    """
    lock_id = _lock_id(name, key)
    with connection.cursor() as cursor:
        cursor.execute(_TRY, [lock_id, HOLDER_SILENT_SECONDS_MAX])
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
            cursor.execute(_RELEASE, [lock_id])
            was_mine, _ = cursor.fetchone()
    except (DatabaseError, InterfaceError):
        _end_session(connection)
        return
    if not was_mine:
        # The session was replaced while the block ran: for a while two could have been at it.
        logger.warning("The lock %s was lost while it was needed: the database connection was replaced.", name)


def _end_session(session: BaseDatabaseWrapper) -> None:
    """End a session for good: closed by Django alone it might go back to a pool, with its locks."""
    if session.connection is not None:
        session.connection.close()
    session.close()


def _lock_id(name: str, key: int) -> int:
    """Return a signed 64-bit number for the pair, spread so that no two names of ours meet."""
    digest = hashlib.sha256(f"txnsite:{name}:{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def lock_until_commit(name: str, key: int = 0) -> None:
    """Wait for the lock `name` (of row `key`, say) and hold it until the database transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_lock_id(name, key)])


class Leadership:
    """A lock held for as long as the process lives, by a database session of its own: who leads among several.

    Who doesn't ask whether it leads for 20 seconds leads no more.

    :param name: what is led; shared with `advisory_lock`, so choose one that no work uses.
    """

    def __init__(self, name: str) -> None:
        self._lock_id = _lock_id(name, 0)
        self._session: BaseDatabaseWrapper | None = None

    def is_ours(self) -> bool:
        """Return whether this process leads now; when nobody does, it does from here on."""
        try:
            if self._session is not None:
                with self._session.cursor() as cursor:
                    cursor.execute("SELECT 1")
                return True
            return self._try()
        except (DatabaseError, InterfaceError):
            # PostgreSQL has ended the session, or will: the lock is another's to take.
            self.give_up()
            return False

    def give_up(self) -> None:
        """Let another process lead."""
        session, self._session = self._session, None
        if session is not None:
            _end_session(session)

    def _try(self) -> bool:
        session = connections.create_connection(DEFAULT_DB_ALIAS)
        try:
            with session.cursor() as cursor:
                cursor.execute(_TRY, [self._lock_id, LEADER_SILENT_SECONDS_MAX])
                (is_ours,) = cursor.fetchone()
        except BaseException:
            session.close()
            raise
        if is_ours:
            self._session = session
        else:
            session.close()
        return bool(is_ours)
