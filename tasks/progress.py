"""The progress of background work: what the bar shows, written seldom enough not to slow the work down."""

import datetime as dt
import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

from django.db.models import F, QuerySet
from django.db.models.functions import Greatest, Least
from django.utils import timezone

from accounts.exceptions import AccountsError
from accounts.models import User
from tasks.exceptions import TasksError
from tasks.models import TaskRun, TaskStatus
from transactions.chain.exceptions import ChainError
from transactions.exceptions import TransactionsError

logger = logging.getLogger(__name__)

WRITE_EVERY_SECONDS = 0.5
MESSAGE_LENGTH_MAX = 500
ERROR_LENGTH_MAX = 1_000
HARD_TIME_LIMIT_SECONDS_MAX = 900
"""No task may run longer (a test compares), so a run that was silent for as long is dead."""
QUEUED_AT_MOST = dt.timedelta(days=1)
"""A run that no worker took for so long never starts: its message was lost, or expires (see `QUEUE_EXPIRY`)."""
QUEUE_EXPIRY_SECONDS = int(QUEUED_AT_MOST.total_seconds())

_SPOKEN_ERRORS = (AccountsError, TransactionsError, TasksError, ChainError)


def create_run(*, name: str, owner: User | None = None, total: int | None = None) -> TaskRun:
    """Return a new run in the queue, for its owner and staff to watch."""
    return TaskRun.objects.create(name=name, owner=owner, total=total)


def start_run(run_id: uuid.UUID | str, *, total: int | None = None) -> bool:
    """Mark a run as in progress and return whether it may go on.

    A finished run may not: its message was delivered twice. One that was under way when its worker died starts over.
    """
    now = timezone.now()
    changes: dict[str, Any] = {"processed": 0, "error": "", "started_at": now, "updated_at": now}
    if total is not None:
        changes["total"] = total
    return _unfinished(run_id).update(status=TaskStatus.IN_PROGRESS, **changes) == 1


def advance_run(run_id: uuid.UUID | str, steps: int, *, message: str | None = None) -> None:
    """Add steps to a run in progress; several processes can. Never beyond the total, never after the end."""
    changes: dict[str, Any] = {"updated_at": timezone.now()}
    if message is not None:
        changes["message"] = _cut(message, MESSAGE_LENGTH_MAX)
    _unfinished(run_id).update(processed=Least(F("processed") + steps, F("total")), **changes)


def reach(run_id: uuid.UUID | str, position: int) -> None:
    """Say that a run has come to a position: for work that may go through some steps a second time."""
    _unfinished(run_id).update(processed=Least(Greatest("processed", position), F("total")), updated_at=timezone.now())


def is_open(run_id: uuid.UUID | str) -> bool:
    """Return whether a run still waits or goes on."""
    return _unfinished(run_id).exists()


def set_total(run_id: uuid.UUID | str, total: int) -> None:
    """Say how many steps there are, once that is known."""
    _unfinished(run_id).update(total=total, processed=Least(F("processed"), total), updated_at=timezone.now())


def finish_run(run_id: uuid.UUID | str, *, message: str = "") -> bool:
    """Mark a run as successful; return whether it was this call that ended it."""
    return _end(run_id, status=TaskStatus.SUCCESSFUL, message=_cut(message, MESSAGE_LENGTH_MAX))


def fail_run(run_id: uuid.UUID | str, *, error: str, message: str | None = None) -> bool:
    """Mark a run as failed; return whether it was this call that ended it."""
    changes = {} if message is None else {"message": _cut(message, MESSAGE_LENGTH_MAX)}
    return _end(run_id, status=TaskStatus.FAILED, error=_cut(error, ERROR_LENGTH_MAX), **changes)


def refuse_run(run_id: uuid.UUID | str, *, error: str) -> bool:
    """Mark a run as failed if nobody has begun it: the one under way may be this very run, delivered twice."""
    waiting = TaskRun.objects.filter(pk=run_id, status=TaskStatus.QUEUED)
    now = timezone.now()
    changes = {"status": TaskStatus.FAILED, "error": _cut(error, ERROR_LENGTH_MAX)}
    return waiting.update(finished_at=now, updated_at=now, **changes) == 1


def fail_dead_runs(now: dt.datetime) -> int:
    """Close the runs whose worker died and those that no worker ever took; return how many."""
    silent_since = now - dt.timedelta(seconds=HARD_TIME_LIMIT_SECONDS_MAX)
    died = TaskRun.objects.filter(status=TaskStatus.IN_PROGRESS, updated_at__lt=silent_since).update(
        status=TaskStatus.FAILED, error="It stopped without a word: its worker died.", finished_at=now, updated_at=now
    )
    lost = TaskRun.objects.filter(status=TaskStatus.QUEUED, created_at__lt=now - QUEUED_AT_MOST).update(
        status=TaskStatus.FAILED, error="No worker took it within a day.", finished_at=now, updated_at=now
    )
    if died or lost:
        logger.warning("Closed %d task runs whose worker died and %d that no worker took.", died, lost)
    return died + lost


class Progress:
    """A run's progress as its task sees it: counts in memory, written at most twice a second."""

    def __init__(self, run_id: uuid.UUID | str) -> None:
        self.run_id = run_id
        self._steps = 0
        self._written_at = monotonic()

    def set_total(self, total: int) -> None:
        set_total(self.run_id, total)

    def advance(self, steps: int = 1) -> None:
        """Count steps, and write when it is time."""
        self._steps += steps
        if monotonic() - self._written_at >= WRITE_EVERY_SECONDS:
            self.write()

    def write(self, message: str | None = None) -> None:
        """Write what was counted since the last time."""
        if self._steps or message is not None:
            advance_run(self.run_id, self._steps, message=message)
        self._steps = 0
        self._written_at = monotonic()

    def finish(self, message: str = "") -> None:
        self.write()
        finish_run(self.run_id, message=message)

    def fail(self, error: str, message: str | None = None) -> None:
        self.write()
        fail_run(self.run_id, error=error, message=message)


@contextmanager
def track_run(run_id: uuid.UUID | str | None, *, name: str) -> Iterator[Progress | None]:
    """Yield the progress of a run while the block works on it, or None when the run is over already.

    An exception fails the run, and goes on; a block that ends without a word of its own finishes it.

    :param run_id: of `create_run`; without one (a scheduled task) a run is made.
    :param name: of the run that is made.
    """
    if run_id is None:
        run_id = create_run(name=name).pk
    if not start_run(run_id):
        yield None
        return
    progress = Progress(run_id)
    try:
        yield progress
    except Exception as error:
        progress.fail(describe_failure(error))
        raise
    else:
        progress.finish()


def describe_failure(error: BaseException) -> str:
    """Return what may be shown of an exception: our own words, or only its kind, since others' may hold secrets."""
    if isinstance(error, _SPOKEN_ERRORS):
        return str(error)
    if type(error).__name__ == "SoftTimeLimitExceeded":
        return "It took longer than it may."
    return f"It broke off ({type(error).__name__}); the worker's log says more."


def _unfinished(run_id: uuid.UUID | str) -> QuerySet[TaskRun]:
    return TaskRun.objects.filter(pk=run_id, finished_at__isnull=True)


def _end(run_id: uuid.UUID | str, **changes: Any) -> bool:
    now = timezone.now()
    return _unfinished(run_id).update(finished_at=now, updated_at=now, **changes) == 1


def _cut(text: str, length: int) -> str:
    """Return the text, cut to what its column holds."""
    return text if len(text) <= length else f"{text[: length - 1]}…"
