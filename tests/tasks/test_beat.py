"""A real beat process on real servers: edits count without a restart and stay, and two beats are one."""

import datetime as dt
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings
from django.db import OperationalError, connection
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask, PeriodicTasks

from tasks.beat import STAND_BY_SECONDS, DeskEntry, DeskScheduler
from tests.plugin_servers import TestServers
from tests.processes import subprocess_environment
from tests.staff import make_staff
from txnsite.celery import app
from txnsite.stack.process import ChildProcess, wait_for

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]
StartBeat = Callable[[], ChildProcess]


@pytest.fixture
def start_beat(transactional_db: None, servers: TestServers, tmp_path: Path) -> Iterator[StartBeat]:
    """Start real beats; the fixture stops them after the test."""
    with ExitStack() as running:
        numbers = iter(range(10))

        def start() -> ChildProcess:
            name = f"beat{next(numbers)}"
            argv = [sys.executable, "-m", "celery", "-A", "txnsite", "beat", "-l", "INFO"]
            argv += ["--pidfile", ""]
            env = subprocess_environment({})
            beat = ChildProcess(name, argv, env=env, cwd=settings.BASE_DIR, log_path=tmp_path / f"{name}.log")
            running.callback(beat.kill)
            beat.start()
            return beat

        yield start


@pytest.fixture
def sent() -> Callable[[], list[str]]:
    """Return the names of the schedules whose messages wait in the broker, oldest first."""
    broker = redis.Redis.from_url(settings.CELERY_BROKER_URL)

    def read() -> list[str]:
        messages: Any = broker.lrange("txnsite:housekeeping", 0, -1)
        return [json.loads(message)["headers"]["periodic_task_name"] for message in reversed(messages)]

    return read


def leads(beat: ChildProcess) -> bool:
    return "This beat leads." in beat.logs


def wait_until_leading(beat: ChildProcess) -> None:
    wait_for(lambda: leads(beat), what="a beat that leads", timeout_seconds=60)


def far_off() -> CrontabSchedule:
    """Return a crontab that isn't due for hours."""
    hour = (timezone.now() + dt.timedelta(hours=6)).hour
    row: CrontabSchedule = CrontabSchedule.objects.create(minute="0", hour=str(hour))
    return row


def make_schedule(name: str, **timing: Any) -> PeriodicTask:
    """Return a schedule that ran an hour ago."""
    ran = timezone.now() - dt.timedelta(hours=1)
    row: PeriodicTask = PeriodicTask.objects.create(
        name=name, task="tasks.housekeeping.clean_up", last_run_at=ran, **timing
    )
    return row


def every_second() -> IntervalSchedule:
    row: IntervalSchedule = IntervalSchedule.objects.create(every=1, period=IntervalSchedule.SECONDS)
    return row


def edit_crontab(row: CrontabSchedule, **changes: str) -> None:
    """Edit a crontab in the admin, as a scheduler does in a browser."""
    terms = {"minute": "0", "hour": "0", "day_of_month": "*", "month_of_year": "*", "day_of_week": "*"}
    inline = {f"periodictask_set-{name}": 0 for name in ("TOTAL_FORMS", "INITIAL_FORMS")}
    page = reverse("admin:django_celery_beat_crontabschedule_change", args=[row.pk])
    answer = make_staff("schedulers").client.post(page, {**terms, "timezone": "UTC", **inline, **changes})
    assert answer.status_code == 302


def test_an_edited_crontab_counts_without_a_restart_and_survives_one(
    start_beat: StartBeat, sent: Callable[[], list[str]]
) -> None:
    crontab = far_off()
    make_schedule("Nightly", crontab=crontab)
    beat = start_beat()
    wait_until_leading(beat)
    # Schedules that are due are sent in the first turn, which this one shows to be over.
    make_schedule("Ticking", interval=every_second())
    wait_for(lambda: "Ticking" in sent(), what="a tick", timeout_seconds=30)
    assert "Nightly" not in sent()

    edit_crontab(crontab, minute="*", hour="*")
    wait_for(lambda: "Nightly" in sent(), what="the edited schedule", timeout_seconds=30)
    beat.stop()

    again = start_beat()
    wait_until_leading(again)
    crontab.refresh_from_db()
    assert (crontab.minute, crontab.hour) == ("*", "*")
    assert set(PeriodicTask.objects.values_list("name", flat=True)) == {"Nightly", "Ticking"}, "it adds none itself"


@pytest.mark.parametrize("is_first", [True, False])
def test_what_is_edited_right_after_the_first_reading_counts(db: None, is_first: bool) -> None:
    if not is_first:
        make_schedule("Earlier", interval=every_second())
    scheduler = DeskScheduler(app=app, lazy=True)
    scheduler._begin()
    assert "Ticking" not in scheduler.schedule
    make_schedule("Ticking", interval=every_second())
    assert "Ticking" in scheduler.schedule


def test_a_schedule_switched_off_falls_silent(start_beat: StartBeat, sent: Callable[[], list[str]]) -> None:
    row = make_schedule("Ticking", interval=every_second())
    wait_until_leading(start_beat())
    wait_for(lambda: len(sent()) >= 2, what="two ticks", timeout_seconds=30)
    fields = {"action": "disable_tasks", "_selected_action": [row.pk], "index": 0}
    make_staff("schedulers").client.post(reverse("admin:django_celery_beat_periodictask_changelist"), fields)
    marker = make_schedule("Marker", crontab=CrontabSchedule.objects.create(minute="*", hour="*"))
    wait_for(lambda: "Marker" in sent(), what="a turn after the change was read", timeout_seconds=30)
    ticks = sent().count("Ticking")
    PeriodicTask.objects.filter(pk=marker.pk).update(interval=every_second(), crontab=None)
    PeriodicTasks.update_changed()
    wait_for(lambda: sent().count("Marker") >= 4, what="more turns", timeout_seconds=30)
    assert sent().count("Ticking") == ticks
    row.refresh_from_db()
    assert not row.enabled


def test_a_second_beat_stands_by_until_the_first_is_killed(
    start_beat: StartBeat, sent: Callable[[], list[str]]
) -> None:
    row = make_schedule("Ticking", interval=every_second())
    due = timezone.now() - dt.timedelta(minutes=30)
    make_schedule("Daily", crontab=CrontabSchedule.objects.create(minute=str(due.minute), hour=str(due.hour)))
    first = start_beat()
    wait_until_leading(first)
    wait_for(lambda: "Daily" in sent(), what="what was overdue", timeout_seconds=30)
    second = start_beat()
    wait_for(lambda: "this one stands by" in second.logs, what="the second beat", timeout_seconds=60)
    before = len(sent())
    wait_for(lambda: len(sent()) >= before + 3, what="ticks", timeout_seconds=30)
    assert not leads(second)
    first.kill()
    wait_until_leading(second)
    ticks = sent().count("Ticking")
    wait_for(lambda: sent().count("Ticking") >= ticks + 2, what="ticks of the second", timeout_seconds=30)
    # What the first had sent is not sent again: it had written that down at once.
    assert sent().count("Daily") == 1
    row.refresh_from_db()
    assert row.total_run_count >= sent().count("Ticking") - 1


def test_a_database_that_ends_every_session_does_not_end_beat(
    start_beat: StartBeat, sent: Callable[[], list[str]]
) -> None:

    def more_than(ticks: int) -> Callable[[], bool]:
        return lambda: len(sent()) > ticks

    make_schedule("Ticking", interval=every_second())
    beat = start_beat()
    wait_until_leading(beat)
    wait_for(more_than(0), what="a tick", timeout_seconds=30)
    for _ in range(3):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        wait_for(more_than(len(sent()) + 1), what="ticks afterwards", timeout_seconds=30)
    assert beat.logs.count("This beat leads.") >= 2


def test_schedules_that_could_not_be_read_are_read_again(
    sent: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_schedule("Ticking", interval=every_second())
    scheduler = DeskScheduler(app=app)
    read = scheduler.all_as_schedule

    def fail() -> None:
        monkeypatch.setattr(scheduler, "all_as_schedule", read)
        raise OperationalError

    monkeypatch.setattr(scheduler, "all_as_schedule", fail)
    try:
        assert scheduler.tick() == STAND_BY_SECONDS
        assert sent() == []
        scheduler.tick()
        assert sent() == ["Ticking"]
    finally:
        scheduler.close()


def test_what_an_operator_saves_between_two_runs_is_not_written_back() -> None:
    """Beat holds a row as it was when it read it; of that it writes only when and how often it ran."""
    row = make_schedule("Nightly", crontab=far_off(), expire_seconds=60)
    held = next(DeskEntry(PeriodicTask.objects.get(pk=row.pk)))
    other = far_off()
    PeriodicTask.objects.filter(pk=row.pk).update(crontab=other, expire_seconds=5, args="[1]")
    held.save()
    row.refresh_from_db()
    assert (row.crontab, row.expire_seconds, row.args, row.total_run_count) == (other, 5, "[1]", 1)
    assert timezone.now() - row.last_run_at < dt.timedelta(minutes=1)


def test_a_schedule_that_was_switched_off_stays_without_a_last_run() -> None:
    row = make_schedule("Nightly", crontab=far_off())
    held = next(DeskEntry(PeriodicTask.objects.get(pk=row.pk)))
    PeriodicTask.objects.filter(pk=row.pk).update(enabled=False, last_run_at=None)
    held.save()
    row.refresh_from_db()
    assert (row.enabled, row.last_run_at) == (False, None)
