"""After the rain: when nothing is under way any more, and all that came has been taken in and credited."""

from contextlib import suppress
from typing import LiteralString

import psycopg

from chaos.stack import DATABASE, Stack
from txnsite.stack.anvil import AnvilError

_STOP_SWEEPS = (
    "UPDATE django_celery_beat_periodictask SET enabled = FALSE WHERE name = 'Sweep deposits'",
    # So beat learns that its schedules have changed.
    "UPDATE django_celery_beat_periodictasks SET last_update = now()",
)
_NOTHING_UNDER_WAY = "SELECT NOT EXISTS (SELECT FROM transactions_transaction WHERE status = 'PENDING')"
_ALL_TAKEN_IN = """
SELECT EXISTS (SELECT FROM transactions_block WHERE number >= %(head)s)
   AND NOT EXISTS (SELECT FROM transactions_block WHERE number <= %(head)s AND taken_in_at IS NULL)
   AND NOT EXISTS (SELECT FROM transactions_deposit WHERE status = 'waiting')
"""


class Settling:
    """What is waited for once nobody pays, or pays in, any more."""

    def __init__(self, stack: Stack) -> None:
        self._anvil = stack.anvil
        self._database_url = stack.postgres.url_of(DATABASE)
        self._sweeps_stopped = False
        self._last_block: int | None = None

    def is_over(self) -> bool:
        """Say whether the desk has come to rest; while PostgreSQL or the node doesn't answer, nobody can."""
        with suppress(psycopg.OperationalError, AnvilError, OSError):
            self._stop_sweeps()
            return self._is_true(_NOTHING_UNDER_WAY) and self._is_all_taken_in()
        return False

    def _stop_sweeps(self) -> None:
        """Let no more sweeps be ordered: each would have to be waited for in its turn."""
        if not self._sweeps_stopped:
            with psycopg.connect(self._database_url) as connection:
                for statement in _STOP_SWEEPS:
                    connection.execute(statement)
            self._sweeps_stopped = True

    def _is_all_taken_in(self) -> bool:
        if self._last_block is None:
            if int(self._anvil.rpc("txpool_status")["pending"], 16):
                return False
            # Nothing comes later than in this one.
            self._last_block = self._anvil.block_number()
        return self._is_true(_ALL_TAKEN_IN, head=self._last_block)

    def _is_true(self, statement: LiteralString, **parameters: int) -> bool:
        with psycopg.connect(self._database_url) as connection:
            return connection.execute(statement, parameters).fetchone() == (True,)
