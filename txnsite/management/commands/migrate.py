"""Django's command, without the time limits that keep a request or a task from waiting for ever."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.core.management.commands import migrate
from django.db import Error, connections
from django.db.migrations import Migration

LOCK_TIMEOUT_SECONDS = 5
_SETTINGS = ("statement_timeout", "idle_in_transaction_session_timeout", "lock_timeout")


class Command(migrate.Command):
    """Let a statement take as long as a large table needs, and never hold up the desk while waiting for a lock.

    An index that is made concurrently is left invalid when it is cut off, so nothing limits that; it waits for old
    database transactions, and nobody waits for it. Any other change waits for a lock before which all others queue up:
    it gives up soon, undoes itself, and can be tried again.
    """

    def handle(self, *args: Any, **options: Any) -> None:
        self._connection = connections[options["database"]]
        with self._without_limits():
            super().handle(*args, **options)

    def migration_progress_callback(self, action: str, migration: Migration | None = None, fake: bool = False) -> None:
        if action in ("apply_start", "unapply_start") and migration is not None:
            self._set("lock_timeout", f"{LOCK_TIMEOUT_SECONDS}s" if migration.atomic else "0")
        super().migration_progress_callback(action, migration, fake)

    @contextmanager
    def _without_limits(self) -> Iterator[None]:
        self._set("statement_timeout", "0")
        self._set("idle_in_transaction_session_timeout", "0")
        try:
            yield
        finally:
            # What runs in this process afterwards has the limits of its connection again.
            with suppress(Error), self._connection.cursor() as cursor:
                for name in _SETTINGS:
                    cursor.execute(f"RESET {name}")

    def _set(self, name: str, value: str) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute("SELECT set_config(%s, %s, FALSE)", [name, value])
