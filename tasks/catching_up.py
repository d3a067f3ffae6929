"""The progress of a long way to catch up: shown while many blocks are to be taken in, and closed when none is."""

from django.db import transaction as db_transaction

from accounts.locks import lock_until_commit
from tasks.models import TaskRun, TaskStatus
from tasks.progress import create_run, finish_run, reach, start_run

CATCHING_UP = "Take in blocks"
SHOWN_FROM_BLOCKS = 100
"""Fewer blocks behind are every day's work, and no run of their own."""


def show_catching_up(blocks_to_go: int) -> None:
    """Say how far the desk has come, given how many blocks it has still to take in."""
    with db_transaction.atomic():
        lock_until_commit("catching_up")
        run = TaskRun.objects.filter(name=CATCHING_UP, finished_at__isnull=True).first()
        if run is None:
            if blocks_to_go >= SHOWN_FROM_BLOCKS:
                start_run(create_run(name=CATCHING_UP, total=blocks_to_go).pk, total=blocks_to_go)
            return
        if blocks_to_go == 0:
            reach(run.pk, run.total or 0)
            finish_run(run.pk, message=f"{run.total} blocks taken in.")
        elif run.status == TaskStatus.IN_PROGRESS:
            # New blocks come meanwhile: never less than was shown before.
            reach(run.pk, max(0, (run.total or 0) - blocks_to_go))
