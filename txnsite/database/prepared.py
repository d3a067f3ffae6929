"""Statements that the server keeps planned: for those few that run so often that planning them is a cost to count."""

from collections.abc import Mapping, Sequence
from typing import Any, LiteralString

import psycopg
from django.db import connection


def fetch_prepared(sql: LiteralString, parameters: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Run a statement and return its rows. The first time a connection runs it, the server parses and plans it.

    Parameters are sent apart from the text, so each needs a type: `%s::numeric`. Errors are Django's, as with a cursor
    of its own, but neither its log of queries nor its wrappers see the statement.
    """
    connection.ensure_connection()
    connection.validate_no_broken_transaction()
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
        cursor.execute(sql, parameters, prepare=True)
        return cursor.fetchall()
