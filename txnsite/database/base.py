"""The backend, in the file where Django looks for it."""

import select
from types import TracebackType
from typing import Any

import psycopg
from django.db import OperationalError
from django.db.backends.postgresql import base
from django.db.utils import DatabaseErrorWrapper
from django.utils.functional import cached_property


class ErrorWrapper(DatabaseErrorWrapper):
    """Takes a server that lets nobody write for one that is away.

    That is a standby, to which a failover or a proxy has led us too early or too late (SQLSTATE 25006). It answers
    whatever else it is asked, so that a connection to it would be found in order and kept; closed here, it is opened
    anew for the next request or task, and leads to the primary by then. Django calls this an internal error, which
    nobody would try again.
    """

    wrapper: Any

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
            self.wrapper.errors_occurred = True
            if self.wrapper.connection is not None:
                self.wrapper.connection.close()
            raise OperationalError(*error.args).with_traceback(traceback) from error
        super().__exit__(kind, error, traceback)


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection, or one borrowed from the pool."""

    @cached_property
    def wrap_database_errors(self) -> ErrorWrapper:
        return ErrorWrapper(self)

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Return a connection, not one of those in the pool that the server has closed meanwhile.

        Else each of them would cost a request after a restart. Django's own check (CONN_HEALTH_CHECKS) asks the server
        each time: 100 µs, of which 60 are processor time, or 2 % of accepting a payment; a look at the socket takes 1.
        """
        connection = super().get_new_connection(conn_params)
        while self.pool and _has_word_from_server(connection):
            connection.close()
            self.pool.putconn(connection)
            connection = super().get_new_connection(conn_params)
        return connection


def _has_word_from_server(connection: Any) -> bool:
    """Say whether something has arrived on an idle connection: its end, as good as always."""
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    return bool(poll.poll(0))
