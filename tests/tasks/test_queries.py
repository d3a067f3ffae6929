"""Reads of task runs: for whoever started them, and for staff."""

import uuid

import pytest

from accounts.models import User
from tasks.exceptions import TaskRunNotFoundError
from tasks.progress import create_run, finish_run, start_run
from tasks.queries import describe_run, task_run_for, task_runs_for
from tests.desk import make_user


@pytest.fixture
def staff(db: None) -> User:
    user = make_user()
    user.is_staff = True
    return user


def test_owner_and_staff_see_a_run_and_nobody_else(staff: User) -> None:
    owner, stranger = make_user(), make_user()
    run = create_run(name="Check the ledger", owner=owner)
    nightly = create_run(name="nightly")
    assert task_run_for(owner, run.pk) == task_run_for(staff, str(run.pk)) == run
    assert task_run_for(staff, nightly.pk) == nightly
    for user, key in ((stranger, run.pk), (owner, nightly.pk), (staff, uuid.uuid4()), (staff, "17"), (staff, "")):
        with pytest.raises(TaskRunNotFoundError):
            task_run_for(user, key)
    assert task_runs_for(owner) == [run]
    assert task_runs_for(stranger) == []
    assert task_runs_for(staff) == [nightly, run]
    assert task_runs_for(staff, limit=1) == [nightly]


def test_a_run_as_programs_see_it(staff: User) -> None:
    run = create_run(name="Check the ledger", owner=staff, total=0)
    start_run(run.pk)
    finish_run(run.pk, message="all is well")
    told = describe_run(task_run_for(staff, run.pk))
    assert (told["status"], told["processed"], told["total"], told["percent"]) == ("Successful", 0, 0, 100)
    assert (told["id"], told["message"], told["error"]) == (str(run.pk), "all is well", "")
    for name in ("created_at", "started_at", "updated_at", "finished_at"):
        assert str(told[name]).endswith("Z")
