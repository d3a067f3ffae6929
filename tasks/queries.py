"""What pages and API read of task runs. A run is for its owner and for staff."""

import datetime as dt
import uuid
from typing import TypedDict

from django.db.models import Q, QuerySet

from accounts.models import User
from tasks.exceptions import TaskRunNotFoundError
from tasks.models import TaskRun


def task_run_for(user: User, task_run_id: uuid.UUID | str) -> TaskRun:
    """Return a run that this user may watch: their own, or any for staff.

    :raises TaskRunNotFoundError: when there is none, or it is another's: nobody learns which.
    """
    try:
        key = task_run_id if isinstance(task_run_id, uuid.UUID) else uuid.UUID(task_run_id)
    except ValueError:
        raise TaskRunNotFoundError from None
    run = _visible_to(user).filter(pk=key).first()
    if run is None:
        raise TaskRunNotFoundError
    return run


def task_runs_for(user: User, *, limit: int = 50) -> list[TaskRun]:
    """Return the newest runs that this user may watch."""
    return list(_visible_to(user).order_by("-created_at", "-pk")[:limit])


def _visible_to(user: User) -> QuerySet[TaskRun]:
    return TaskRun.objects.filter(Q() if user.is_staff else Q(owner_id=user.pk))


class RunDetail(TypedDict):
    """A run as programs see it, on its page and in the API; times in ISO 8601."""

    id: str
    name: str
    status: str
    processed: int
    total: int | None
    percent: int | None
    message: str
    error: str
    created_at: str
    started_at: str | None
    updated_at: str
    finished_at: str | None


def describe_run(run: TaskRun) -> RunDetail:
    """Return a run as JSON."""
    return RunDetail(
        id=str(run.pk),
        name=run.name,
        status=str(run.status),
        processed=run.processed,
        total=run.total,
        percent=run.percent,
        message=run.message,
        error=run.error,
        created_at=_iso(run.created_at) or "",
        started_at=_iso(run.started_at),
        updated_at=_iso(run.updated_at) or "",
        finished_at=_iso(run.finished_at),
    )


def _iso(at: dt.datetime | None) -> str | None:
    return None if at is None else at.isoformat().replace("+00:00", "Z")
