"""Reconcile many payments at a staff member's request, a few at a time, with progress."""

import uuid
from collections import Counter
from collections.abc import Sequence

from django.utils import timezone

from tasks.progress import describe_failure, fail_run, finish_run, is_open, reach, start_run
from transactions.chain.exceptions import ChainError
from transactions.exceptions import TransactionsError
from transactions.models import Transaction
from transactions.services.reconcile import reconcile_transaction

ROWS_AT_ONCE = 20


def reconcile_some(run_id: uuid.UUID | str, transaction_ids: Sequence[int], position: int) -> int:
    """Reconcile the payments from `position` on, a few; return the position to go on from: the end when it is over.

    Safe to run twice from the same position: each payment's reconciliation is, and progress is a position.
    """
    end = len(transaction_ids)
    if not (is_open(run_id) if position else start_run(run_id)):
        return end
    for transaction_id in transaction_ids[position : position + ROWS_AT_ONCE]:
        try:
            reconcile_transaction(transaction_id, timezone.now())
        except ChainError as error:
            # The next payment would only wait for the same node again.
            fail_run(run_id, error=describe_failure(error), message=f"{position} of {end} were looked at.")
            return end
        except TransactionsError as error:
            fail_run(run_id, error=f"Payment #{transaction_id}: {describe_failure(error)}")
            return end
        position += 1
        reach(run_id, position)
    if position >= end:
        finish_run(run_id, message=_describe(transaction_ids))
    return position


def _describe(transaction_ids: Sequence[int]) -> str:
    """Return how far the payments have come, like "12 settled, 3 broadcast"."""
    rows = Transaction.objects.filter(pk__in=transaction_ids).only("stage")
    return ", ".join(f"{count} {stage}" for stage, count in Counter(row.get_stage_display() for row in rows).items())
