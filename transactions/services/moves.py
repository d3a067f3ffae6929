"""The one function that moves transactions from stage to stage."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from django.db import connection
from django.db import transaction as db_transaction
from psycopg import sql

from transactions.detail import announce_change
from transactions.states import Stage, require_move

_COLUMN_TYPES = {
    "wallet_id": sql.SQL("bigint"),
    "from_public_address": sql.SQL("text"),
    "failure_detail": sql.SQL("text"),
    "transaction_hash": sql.SQL("text"),
    "nonce": sql.SQL("bigint"),
    "block_number": sql.SQL("bigint"),
    "block_hash": sql.SQL("text"),
    "succeeded_on_chain": sql.SQL("boolean"),
    "transaction_fee_blockchain_in_wei": sql.SQL("numeric"),
    "reversals": sql.SQL("smallint"),
    "status": sql.SQL("text"),
    "failure_reason": sql.SQL("text"),
}


def move_transactions(
    ids: Sequence[int],
    *,
    old: Collection[Stage],
    new: Stage,
    columns: Mapping[str, Sequence[Any]] | None = None,
    constants: Mapping[str, Any] | None = None,
    though_cancelled: bool = False,
) -> list[int]:
    """Move those of the transactions that are still in one of the `old` stages, and return their ids in order.

    Rows are locked in id order; one that another process moved meanwhile is left as it is, and what was called off
    isn't signed.

    :param columns: what else to set, a list as long as `ids` for each column.
    :param constants: what else to set to the same value in every row.
    :param though_cancelled: whether what was called off is signed all the same, since a block holds it already.
    :raises ForbiddenMoveError: when the table of moves has no such move.
    """
    for stage in old:
        require_move(stage, new)
    if not ids:
        return []
    columns = {} if columns is None else columns
    unless = "AND cancel_requested_at IS NULL " if new == Stage.SIGNED and not though_cancelled else ""
    with db_transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM transactions_transaction WHERE id = ANY(%s) AND stage = ANY(%s) "
            f"{unless}ORDER BY id FOR NO KEY UPDATE",
            [list(ids), [stage.value for stage in old]],
        )
        locked = [row[0] for row in cursor.fetchall()]
        announce_change(locked)
        cursor.execute(
            _update_statement(list(columns), list(constants or {})),
            [
                new.value,
                *(constants or {}).values(),
                list(ids),
                *(_as_array(values) for values in columns.values()),
                locked,
            ],
        )
    return locked


def _update_statement(columns: list[str], constants: list[str]) -> sql.Composed:
    """Return the UPDATE whose parameters are: stage, constants, ids, columns, ids to change."""
    assignments: list[sql.Composable] = [sql.SQL("stage = %s")]
    assignments += [sql.SQL("{} = %s").format(sql.Identifier(name)) for name in constants]
    assignments += [sql.SQL("{0} = data.{0}").format(sql.Identifier(name)) for name in columns]
    arrays: list[sql.Composable] = [sql.SQL("%s::bigint[]")]
    arrays += [sql.SQL("%s::{}[]").format(_COLUMN_TYPES[name]) for name in columns]
    return sql.SQL(
        "UPDATE transactions_transaction AS row SET {assignments} FROM unnest({arrays}) AS data({names}) "
        "WHERE row.id = data.id AND row.id = ANY(%s)"
    ).format(
        assignments=sql.SQL(", ").join(assignments),
        arrays=sql.SQL(", ").join(arrays),
        names=sql.SQL(", ").join(sql.Identifier(name) for name in ["id", *columns]),
    )


def _as_array(values: Sequence[Any]) -> list[Any]:
    """Return values as PostgreSQL takes them; integers of any size as text, cast by the statement."""
    return [str(value) if isinstance(value, int) and not isinstance(value, bool) else value for value in values]
