"""The watchdog: find payments whose next step is overdue and say when to look again.

The schedule is kept in the row, not in the broker: 100 seconds, doubling to 1,600, 32 tries. After the last the
payment is flagged for staff; the follower goes on watching it all the same.
"""

import datetime as dt

from django.db import connection
from django.db import transaction as db_transaction

CHECKS_MAX = 32
FIRST_DELAY_SECONDS = 100
LONGEST_DELAY_SECONDS = 1_600
SWEEP_MAX = 200


def check_delay(checks_done: int) -> dt.timedelta:
    """Return how long after the check number `checks_done` the next one is due."""
    return dt.timedelta(seconds=min(FIRST_DELAY_SECONDS * 2 ** min(checks_done, 10), LONGEST_DELAY_SECONDS))


def first_check_at(now: dt.datetime) -> dt.datetime:
    """Return when a payment accepted now is first looked at by the watchdog."""
    return now + check_delay(0)


def claim_overdue(now: dt.datetime) -> list[int]:
    """Return the ids of up to 200 overdue payments, each claimed until its next check is due.

    A payment whose last try is claimed here gets no further one and is flagged for staff.
    """
    delays = [check_delay(done).total_seconds() for done in range(CHECKS_MAX + 1)]
    with db_transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE transactions_transaction AS overdue
            SET checks_done = checks_done + 1,
                needs_attention = needs_attention OR checks_done + 1 >= %(checks_max)s,
                next_check_at = CASE WHEN checks_done + 1 >= %(checks_max)s THEN NULL
                    ELSE %(now)s + make_interval(secs => (%(delays)s::float[])[checks_done + 2]) END
            -- As an array it is asked once; as a subquery the planner may ask it again for each row, and claim more.
            WHERE id = ANY (ARRAY(
                SELECT id FROM transactions_transaction
                WHERE status = 'PENDING' AND next_check_at <= %(now)s
                ORDER BY id LIMIT %(sweep_max)s FOR NO KEY UPDATE SKIP LOCKED
            ))
            RETURNING id
            """,
            {"checks_max": CHECKS_MAX, "now": now, "delays": delays, "sweep_max": SWEEP_MAX},
        )
        return sorted(row[0] for row in cursor.fetchall())


def return_claims(transaction_ids: list[int], now: dt.datetime) -> None:
    """Make payments overdue again whose claim led to nothing, and give them the try back."""
    with db_transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE transactions_transaction SET checks_done = checks_done - 1, next_check_at = %s
            WHERE id IN (SELECT id FROM transactions_transaction
                         WHERE id = ANY(%s) AND status = 'PENDING' AND checks_done > 0 ORDER BY id FOR NO KEY UPDATE)
            """,
            [now, transaction_ids],
        )
