"""The default schedules: made where absent, then the operators'; and each starts a task that exists."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from celery import current_app
from celery.schedules import crontab
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from accounts.models import Account
from tasks.progress import HARD_TIME_LIMIT_SECONDS_MAX
from tasks.schedules import create_default_schedules

NAMES = list(settings.DEFAULT_SCHEDULES)


@pytest.mark.django_db
def test_each_default_is_made_once() -> None:
    assert create_default_schedules() == NAMES
    assert create_default_schedules() == []
    assert set(PeriodicTask.objects.values_list("name", flat=True)) == set(NAMES)
    assert all(PeriodicTask.objects.values_list("enabled", flat=True))


@pytest.mark.django_db
def test_their_times_are_those_of_the_settings() -> None:
    create_default_schedules()
    follow = PeriodicTask.objects.get(name="Follow the chain")
    assert follow.interval is not None
    assert (follow.task, follow.interval.every, follow.interval.period) == ("tasks.money.follow", 1, "seconds")
    check = PeriodicTask.objects.get(name="Check the ledger")
    assert check.crontab is not None
    assert (check.task, check.crontab.minute, check.crontab.hour) == ("tasks.housekeeping.check_ledger", "30", "2")
    assert str(check.crontab.timezone) == "UTC"


@pytest.mark.django_db
def test_ticks_expire_so_that_an_outage_leaves_no_pile() -> None:
    create_default_schedules()
    for row in PeriodicTask.objects.select_related("interval"):
        assert row.expire_seconds is not None, row.name
        if row.interval is not None:
            assert row.expire_seconds == max(row.interval.every, 10), row.name
        else:
            assert row.expire_seconds == 12 * 3600, row.name


@pytest.mark.django_db
def test_an_operators_changes_survive() -> None:
    create_default_schedules()
    row = PeriodicTask.objects.get(name="Check the ledger")
    row.enabled = False
    row.crontab = CrontabSchedule.objects.create(minute="0", hour="5")
    row.expire_seconds = 60
    row.save()
    assert create_default_schedules() == []
    row.refresh_from_db()
    assert row.crontab is not None
    assert (row.enabled, row.crontab.hour, row.expire_seconds) == (False, "5", 60)
    assert PeriodicTask.objects.count() == len(NAMES)


@pytest.mark.django_db
def test_one_deleted_in_the_database_comes_back() -> None:
    create_default_schedules()
    PeriodicTask.objects.filter(name="Follow the chain").delete()
    assert create_default_schedules() == ["Follow the chain"]


@pytest.mark.django_db
def test_schedules_of_the_same_time_share_it(settings: Any) -> None:
    every_second = {"task": "tasks.money.follow", "every_seconds": 1}
    nightly = {"task": "tasks.housekeeping.clean_up", "crontab": crontab(minute="1", hour="1")}
    settings.DEFAULT_SCHEDULES = {"a": every_second, "b": every_second, "c": nightly, "d": nightly}
    create_default_schedules()
    assert IntervalSchedule.objects.count() == 1
    assert CrontabSchedule.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_set_ups_at_once_are_one() -> None:
    def run(_: int) -> list[str]:
        try:
            return create_default_schedules()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as threads:
        created = list(threads.map(run, range(6)))
    assert sorted(created) == [[], [], [], [], [], NAMES]
    assert PeriodicTask.objects.count() == len(NAMES)
    intervals = [terms["every_seconds"] for terms in settings.DEFAULT_SCHEDULES.values() if "every_seconds" in terms]
    assert IntervalSchedule.objects.count() == len(set(intervals))


@pytest.mark.django_db
def test_the_command_sets_everything_up_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("setup_desk")
    first = capsys.readouterr().out
    assert "Schedule created: Follow the chain." in first
    assert "Group operators:" in first
    assert set(Account.objects.values_list("kind", flat=True)) == {
        "fee_income",
        "network_fees",
        "external_funding",
        "losses",
    }
    call_command("setup_desk")
    assert capsys.readouterr().out == "Everything is there already.\n"


def test_each_schedule_starts_a_task_that_exists() -> None:
    current_app.loader.import_default_modules()
    for name, terms in settings.DEFAULT_SCHEDULES.items():
        assert terms["task"] in current_app.tasks, name


def our_tasks() -> list[str]:
    current_app.loader.import_default_modules()
    return sorted(name for name in current_app.tasks if name.startswith("tasks."))


@pytest.mark.parametrize("name", our_tasks())
def test_each_task_goes_to_a_queue_that_somebody_reads(name: str) -> None:
    task = current_app.tasks[name]
    queue = getattr(task, "queue", None)
    chosen = {"queue": queue} if queue else {}
    route = current_app.amqp.router.route(chosen, name)
    assert route["queue"].name in {queue.name for queue in settings.CELERY_TASK_QUEUES}
    if name.startswith("tasks.money.") or name == "tasks.housekeeping.reconcile_selected":
        assert route["queue"].name == "money"


@pytest.mark.parametrize("name", our_tasks())
def test_each_task_ends_in_time(name: str) -> None:
    """A run that was silent for longer than the longest task may run is taken for dead (`fail_dead_runs`)."""
    task: Any = current_app.tasks[name]
    hard: int = task.time_limit or settings.CELERY_TASK_TIME_LIMIT
    soft: int = task.soft_time_limit or settings.CELERY_TASK_SOFT_TIME_LIMIT
    assert soft < hard <= HARD_TIME_LIMIT_SECONDS_MAX
    transport: dict[str, Any] = settings.CELERY_BROKER_TRANSPORT_OPTIONS
    assert hard < transport["visibility_timeout"]
