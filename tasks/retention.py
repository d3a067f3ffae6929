"""What is not kept for ever: old task runs and expired sessions, deleted in chunks."""

import datetime as dt

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db.models import Q, QuerySet

from tasks.models import TaskRun

CHUNK = 1_000
CHUNKS_MAX = 500
"""What one run deletes at most of a kind, half a million rows; the rest waits for the next night."""


def remove_old_runs(now: dt.datetime) -> int:
    """Delete the runs that ended longer than `TASK_RUN_KEPT` ago; return how many."""
    return _remove(TaskRun.objects.filter(finished_at__lt=now - settings.TASK_RUN_KEPT))


def remove_expired_sessions(now: dt.datetime) -> int:
    """Delete the sessions that nobody can use any more; return how many."""
    return _remove(Session.objects.filter(expire_date__lt=now))


def _remove(rows: QuerySet[TaskRun] | QuerySet[Session]) -> int:
    """Delete rows chunk by chunk, each its own statement."""
    removed = 0
    for _ in range(CHUNKS_MAX):
        keys = list(rows.order_by("pk").values_list("pk", flat=True)[:CHUNK])
        if keys:
            # Judged again where it is deleted: a session used in between was prolonged.
            removed += rows.filter(Q(pk__in=keys)).delete()[0]
        if len(keys) < CHUNK:
            break
    return removed
