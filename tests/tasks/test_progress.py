"""A run's progress is written seldom, never beyond its end, and never stands still for ever."""

import datetime as dt
import uuid
from typing import Any

import pytest
import time_machine
from celery.exceptions import SoftTimeLimitExceeded
from django.utils import timezone

from accounts.exceptions import InsufficientFundsError
from tasks import progress
from tasks.models import TaskRun, TaskStatus
from tasks.progress import (
    Progress,
    advance_run,
    create_run,
    describe_failure,
    fail_dead_runs,
    fail_run,
    finish_run,
    reach,
    refuse_run,
    set_total,
    start_run,
    track_run,
)
from tests.desk import make_user
from transactions.chain.exceptions import ChainUnavailableError

pytestmark = pytest.mark.django_db


def state(run: TaskRun) -> tuple[str, int, int | None]:
    run.refresh_from_db()
    return run.status, run.processed, run.total


def test_a_run_from_queue_to_end() -> None:
    owner = make_user()
    run = create_run(name="Count sheep", owner=owner, total=80)
    assert (run.owner, run.is_finished) == (owner, False)
    assert state(run) == ("Queued", 0, 80)
    assert start_run(run.pk)
    advance_run(run.pk, 17)
    assert state(run) == ("In Progress", 17, 80)
    assert run.percent == 21
    assert finish_run(run.pk, message="All asleep.")
    assert state(run) == ("Successful", 17, 80)
    assert (run.percent, run.message, run.is_finished) == (100, "All asleep.", True)


def test_what_has_ended_stays_as_it_ended() -> None:
    run = create_run(name="Count sheep", total=80)
    start_run(run.pk)
    assert fail_run(run.pk, error="A wolf came.")
    assert not finish_run(run.pk)
    assert not fail_run(run.pk, error="Another wolf came.")
    assert not start_run(run.pk)
    advance_run(run.pk, 5)
    set_total(run.pk, 3)
    reach(run.pk, 40)
    assert state(run) == ("Failed", 0, 80)
    assert run.error == "A wolf came."


def test_a_run_whose_worker_died_starts_over() -> None:
    run = create_run(name="Count sheep", total=80)
    start_run(run.pk)
    advance_run(run.pk, 30)
    assert start_run(run.pk, total=90)
    assert state(run) == ("In Progress", 0, 90)


def test_only_a_run_that_nobody_has_begun_is_refused() -> None:
    waiting, begun = create_run(name="Count sheep"), create_run(name="Count sheep")
    start_run(begun.pk)
    assert refuse_run(waiting.pk, error="Another count is under way.")
    assert not refuse_run(begun.pk, error="Another count is under way.")
    assert (state(waiting)[0], state(begun)[0]) == ("Failed", "In Progress")


def test_progress_never_goes_beyond_its_total() -> None:
    run = create_run(name="Count sheep", total=10)
    start_run(run.pk)
    advance_run(run.pk, 8)
    advance_run(run.pk, 8)
    assert state(run) == ("In Progress", 10, 10)
    set_total(run.pk, 4)
    assert state(run) == ("In Progress", 4, 4)


def test_progress_without_a_total_only_counts() -> None:
    run = create_run(name="Count sheep")
    start_run(run.pk)
    advance_run(run.pk, 8)
    assert state(run) == ("In Progress", 8, None)
    assert run.percent is None


def test_a_position_reached_twice_counts_once() -> None:
    run = create_run(name="Count sheep", total=10)
    start_run(run.pk)
    for position in (3, 4, 3, 4, 5):
        reach(run.pk, position)
    assert state(run) == ("In Progress", 5, 10)


def test_a_million_steps_are_few_writes(django_assert_max_num_queries: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = create_run(name="Count sheep", total=1_000_000)
    start_run(run.pk)
    clock = iter(range(10**9))
    # A clock by which a hundred thousand steps take half a second.
    monkeypatch.setattr("tasks.progress.monotonic", lambda: next(clock) / 200_000)
    steps = Progress(run.pk)
    with django_assert_max_num_queries(11):
        for _ in range(1_000_000):
            steps.advance()
        steps.write()
    assert state(run) == ("In Progress", 1_000_000, 1_000_000)


def test_what_is_counted_is_seen_after_half_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    run = create_run(name="Count sheep", total=10)
    start_run(run.pk)
    now = 100.0
    monkeypatch.setattr("tasks.progress.monotonic", lambda: now)
    steps = Progress(run.pk)
    steps.advance(3)
    assert state(run)[1] == 0
    now += 0.5
    steps.advance()
    assert state(run)[1] == 4


def test_a_block_that_ends_well_finishes_its_run() -> None:
    run = create_run(name="Count sheep", total=3)
    with track_run(run.pk, name="Count sheep") as steps:
        assert steps is not None
        steps.advance(3)
    assert state(run) == ("Successful", 3, 3)


def test_a_block_without_a_run_has_one_made() -> None:
    with track_run(None, name="Count sheep") as steps:
        assert steps is not None
        steps.set_total(2)
        steps.finish("Two sheep.")
    run = TaskRun.objects.get()
    assert (run.name, run.owner, run.status, run.message) == ("Count sheep", None, "Successful", "Two sheep.")


def test_a_finished_run_is_not_run_again() -> None:
    run = create_run(name="Count sheep")
    start_run(run.pk)
    finish_run(run.pk, message="Done.")
    with track_run(str(run.pk), name="Count sheep") as steps:
        assert steps is None
    assert state(run)[0] == "Successful"
    with track_run(uuid.uuid4(), name="Count sheep") as steps:
        assert steps is None


def test_an_exception_fails_the_run_and_goes_on() -> None:
    run = create_run(name="Count sheep", total=3)

    def count_two_and_stop() -> None:
        with track_run(run.pk, name="Count sheep") as steps:
            assert steps is not None
            steps.advance(2)
            raise InsufficientFundsError

    with pytest.raises(InsufficientFundsError):
        count_two_and_stop()
    assert state(run) == ("Failed", 2, 3)
    assert run.error == "The available balance does not cover this amount."


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ChainUnavailableError(), "No Ethereum node answers at the moment. Ask again later."),
        (SoftTimeLimitExceeded(), "It took longer than it may."),
        (OSError("postgresql://desk:secret@db"), "It broke off (OSError); the worker's log says more."),
    ],
)
def test_only_our_own_words_are_shown(error: Exception, words: str) -> None:
    assert describe_failure(error) == words


def test_long_words_are_cut_to_their_columns() -> None:
    run = create_run(name="Count sheep")
    start_run(run.pk)
    fail_run(run.pk, error="e" * 2000, message="m" * 2000)
    run.refresh_from_db()
    assert (len(run.error), len(run.message)) == (1000, 500)
    assert run.error.endswith("…")


def test_runs_whose_worker_died_are_closed_and_others_are_not() -> None:
    now = timezone.now()
    with time_machine.travel(now - dt.timedelta(seconds=progress.HARD_TIME_LIMIT_SECONDS_MAX + 1), tick=False):
        dead, moving, queued = (create_run(name=name) for name in ("dead", "moving", "queued"))
        start_run(dead.pk)
        start_run(moving.pk)
    with time_machine.travel(now - dt.timedelta(days=1, seconds=1), tick=False):
        lost = create_run(name="lost")
    advance_run(moving.pk, 1)
    assert fail_dead_runs(now) == 2
    assert fail_dead_runs(now) == 0
    for run in (dead, moving, queued, lost):
        run.refresh_from_db()
    assert (dead.status, dead.error) == (TaskStatus.FAILED, "It stopped without a word: its worker died.")
    assert (lost.status, lost.error) == (TaskStatus.FAILED, "No worker took it within a day.")
    assert (moving.status, queued.status) == (TaskStatus.IN_PROGRESS, TaskStatus.QUEUED)
    assert dead.finished_at == now
