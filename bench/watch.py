"""Read from the database what has become of payments, and exactly when."""

from collections.abc import Sequence

from django.db import connection

from txnsite.stack.process import wait_for


def wait_until_none(stages: Sequence[str], *, timeout_seconds: float, every_seconds: float = 0.05) -> None:
    """Wait until no payment is in one of these stages.

    :raises TimeoutError: when some still are.
    """
    wait_for(
        lambda: not _any_in(stages),
        what=f"no payment {' or '.join(stages)}",
        timeout_seconds=timeout_seconds,
        every_seconds=every_seconds,
    )


def broadcast_times(ids: Sequence[int]) -> dict[int, float]:
    """Return by payment when its becoming BROADCAST was committed, in seconds of the epoch.

    The attempt's row is written in the same database transaction and, unlike the payment's, not again afterwards.
    """
    return _commit_times(
        "SELECT transaction_id, extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8 FROM transactions_attempt "
        "WHERE transaction_id = ANY(%s) AND sent_at IS NOT NULL",
        ids,
    )


def settled_times(ids: Sequence[int]) -> dict[int, float]:
    """Return by payment when its becoming SETTLED, and the ledger's entries with it, was committed."""
    return _commit_times(
        "SELECT id, extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8 FROM transactions_transaction "
        "WHERE id = ANY(%s) AND status = 'SUCCESSFUL'",
        ids,
    )


def block_numbers(ids: Sequence[int]) -> dict[int, int]:
    """Return by payment the block that holds it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, block_number FROM transactions_transaction WHERE id = ANY(%s) AND block_number IS NOT NULL",
            [list(ids)],
        )
        return dict(cursor.fetchall())


def count_in(stages: Sequence[str]) -> int:
    """Return how many payments are in one of these stages."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM transactions_transaction WHERE stage = ANY(%s)", [list(stages)])
        (count,) = cursor.fetchone() or (0,)
    return int(count)


def _any_in(stages: Sequence[str]) -> bool:
    with connection.cursor() as cursor:
        # Status PENDING lets PostgreSQL use a partial index, so that asking often costs little.
        cursor.execute(
            "SELECT EXISTS (SELECT FROM transactions_transaction WHERE status = 'PENDING' AND stage = ANY(%s))",
            [list(stages)],
        )
        (found,) = cursor.fetchone() or (False,)
    return bool(found)


def _commit_times(statement: str, ids: Sequence[int]) -> dict[int, float]:
    with connection.cursor() as cursor:
        cursor.execute(statement, [list(ids)])
        times = dict(cursor.fetchall())
    if len(times) != len(ids):
        raise LookupError(f"{len(ids) - len(times)} of {len(ids)} payments have not come that far.")
    return times
