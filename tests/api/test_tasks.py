"""The progress of background tasks over the API."""

import uuid

from accounts.models import User
from tasks.models import TaskStatus
from tasks.progress import advance_run, create_run, finish_run, start_run
from tests.api.callers import Caller, json_of, problem_of


def test_progress(caller: Caller) -> None:
    run = create_run(name="Check the ledger", owner=caller.user, total=80)
    start_run(run.pk)
    advance_run(run.pk, 17, message="account 17")
    told = json_of(caller.get(f"tasks/{run.pk}"))
    assert (
        told.items()
        >= {
            "id": str(run.pk),
            "name": "Check the ledger",
            "status": "In Progress",
            "processed": 17,
            "total": 80,
            "percent": 21,
            "message": "account 17",
            "error": "",
            "finished_at": None,
        }.items()
    )
    finish_run(run.pk, message="done")
    told = json_of(caller.get(f"tasks/{run.pk}"))
    assert (told["status"], told["percent"]) == (TaskStatus.SUCCESSFUL, 100)
    assert told["finished_at"].endswith("Z")


def test_a_run_is_for_its_owner_and_for_staff(caller: Caller, stranger: Caller) -> None:
    run = create_run(name="Check the ledger", owner=caller.user)
    another = stranger.get(f"tasks/{run.pk}")
    assert problem_of(another, 404)["code"] == "task_run_not_found"
    assert another.content == stranger.get(f"tasks/{uuid.uuid4()}").content
    User.objects.filter(pk=stranger.user.pk).update(is_staff=True)
    assert json_of(stranger.get(f"tasks/{run.pk}"))["id"] == str(run.pk)
    assert json_of(stranger.get(f"tasks/{create_run(name='nightly').pk}"))["total"] is None


def test_what_is_no_id_is_no_address(caller: Caller) -> None:
    assert problem_of(caller.get("tasks/17"), 404)["code"] == "not_found"
