"""Old runs and expired sessions go, in chunks; everything else stays."""

import datetime as dt
from typing import Any

import pytest
from django.conf import settings
from django.contrib.sessions.models import Session
from django.utils import timezone

from tasks import retention
from tasks.models import TaskRun
from tasks.progress import create_run, finish_run
from tasks.retention import remove_expired_sessions, remove_old_runs

pytestmark = pytest.mark.django_db


def make_run(name: str, *, ended_before: dt.timedelta | None) -> TaskRun:
    run = create_run(name=name)
    if ended_before is not None:
        finish_run(run.pk)
        TaskRun.objects.filter(pk=run.pk).update(finished_at=timezone.now() - ended_before)
    return run


def make_sessions(count: int, *, expires_in: dt.timedelta) -> None:
    expiry = timezone.now() + expires_in
    Session.objects.bulk_create(
        [Session(session_key=f"{expires_in}-{number}"[:40], expire_date=expiry) for number in range(count)]
    )


def test_runs_are_kept_as_long_as_the_setting_says() -> None:
    kept: dt.timedelta = settings.TASK_RUN_KEPT
    make_run("old", ended_before=kept + dt.timedelta(minutes=1))
    make_run("young", ended_before=kept - dt.timedelta(minutes=1))
    never_ended = make_run("never ended", ended_before=None)
    TaskRun.objects.filter(pk=never_ended.pk).update(created_at=timezone.now() - 3 * kept)
    assert remove_old_runs(timezone.now()) == 1
    assert set(TaskRun.objects.values_list("name", flat=True)) == {"young", "never ended"}
    assert remove_old_runs(timezone.now()) == 0


def test_sessions_go_when_they_have_expired() -> None:
    make_sessions(3, expires_in=-dt.timedelta(seconds=1))
    make_sessions(2, expires_in=dt.timedelta(hours=1))
    assert remove_expired_sessions(timezone.now()) == 3
    assert Session.objects.count() == 2


def test_they_go_in_chunks(monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any) -> None:
    monkeypatch.setattr(retention, "CHUNK", 10)
    make_sessions(25, expires_in=-dt.timedelta(seconds=1))
    # Three chunks of a select and a delete.
    with django_assert_num_queries(6):
        assert remove_expired_sessions(timezone.now()) == 25


def test_one_run_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "CHUNK", 10)
    monkeypatch.setattr(retention, "CHUNKS_MAX", 2)
    make_sessions(25, expires_in=-dt.timedelta(seconds=1))
    assert remove_expired_sessions(timezone.now()) == 20
    assert Session.objects.count() == 5
