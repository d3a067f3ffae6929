"""Each rule that the database keeps for task runs, seen to refuse a row that breaks it."""

from collections.abc import Callable

import pytest

from tasks.models import TaskRun
from tests.desk import NOW
from tests.rules import refused_by, rules_of

pytestmark = pytest.mark.django_db

BREAKS: dict[str, list[Callable[[], object]]] = {
    "tasks_taskrun_processed_within_total": [
        lambda: TaskRun.objects.create(name="x", processed=81, total=80),
        lambda: TaskRun.objects.create(name="x", processed=1, total=0),
    ],
    "tasks_taskrun_finished_at_when_finished": [
        lambda: TaskRun.objects.create(name="x", status="Queued", finished_at=NOW),
        lambda: TaskRun.objects.create(name="x", status="In Progress", finished_at=NOW),
        lambda: TaskRun.objects.create(name="x", status="Successful"),
        lambda: TaskRun.objects.create(name="x", status="Failed"),
        lambda: TaskRun.objects.create(name="x", status="Lost", finished_at=NOW),
    ],
    "tasks_taskrun_processed_check": [lambda: TaskRun.objects.create(name="x", processed=-1)],
}

FOLLOWS_FROM_THE_OTHERS = {"tasks_taskrun_total_check"}
"""Django's own "not below zero": a total below zero would be below what was processed."""


@pytest.mark.parametrize(
    ("name", "attempt"), [(name, attempt) for name, attempts in BREAKS.items() for attempt in range(len(attempts))]
)
def test_refused(name: str, attempt: int) -> None:
    with refused_by(name):
        BREAKS[name][attempt]()


def test_every_rule_has_such_a_test() -> None:
    assert rules_of("tasks") - FOLLOWS_FROM_THE_OTHERS == set(BREAKS)


def test_what_the_rules_leave_free() -> None:
    TaskRun.objects.create(name="x", processed=80, total=80, status="Successful", finished_at=NOW)
    TaskRun.objects.create(name="x", processed=10**12, total=None, status="In Progress")
