"""A resumption is looked at again when a worker comes to it: who asked may have left, and it may have been done."""

import sys
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from tasks.models import TaskRun
from tasks.money import resume_retired
from tasks.progress import create_run
from tasks.resuming import RESUME
from tests.desk import Desk
from tests.staff import Staff, events, make_staff
from transactions.models import Wallet


@pytest.fixture
def operator(desk: Desk) -> Staff:
    return make_staff("operators")


@pytest.fixture
def run(operator: Staff, desk: Desk) -> TaskRun:
    """What was ordered for a retired wallet, and no worker has come to yet."""
    now = timezone.now()
    Wallet.objects.filter(pk=desk.wallet.pk).update(
        replaced_by=desk.add_wallet(), draining_at=now, paused_at=now, paused_reason="Replaced.", retired_at=now
    )
    return create_run(name=RESUME, owner=operator.user)


def work(run: TaskRun, operator: Staff, desk: Desk) -> None:
    """Do what a worker does, and read what has become of run and wallet."""
    try:
        resume_retired(str(run.pk), operator.user.pk, desk.wallet.pk, "somebody paid to it")
    finally:
        run.refresh_from_db()
        desk.wallet.refresh_from_db()


@pytest.mark.parametrize(
    "changes",
    [{"is_active": False}, {"is_staff": False}, {}, None],
    ids=["inactive", "no staff", "no group", "gone"],
)
def test_who_may_not_any_more_resumes_nothing(
    run: TaskRun, operator: Staff, desk: Desk, changes: dict[str, Any] | None
) -> None:
    if changes is None:
        operator.user.pk = 10**6
    elif changes:
        User.objects.filter(pk=operator.user.pk).update(**changes)
    else:
        operator.user.groups.clear()
    work(run, operator, desk)
    assert (run.status, run.error) == (
        "Failed",
        "Who asked for this may not do so any more, so nothing was done. Somebody who may has to ask again.",
    )
    assert desk.wallet.retired_at is not None
    assert events("wallet.resumed") == []


def test_a_worker_that_died_once_it_was_done_has_done_it(
    run: TaskRun, operator: Staff, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("tasks.progress.finish_run", lambda *_, **__: sys.exit("It dies."))
        with pytest.raises(SystemExit):
            work(run, operator, desk)
    assert (run.status, desk.wallet.retired_at) == ("In Progress", None)
    work(run, operator, desk)
    assert (run.status, run.error) == ("Successful", "")
    assert run.message == f"Resumed: {desk.wallet}. Run rotate_key for it to have it emptied and retired again."
    assert len(events("wallet.resumed")) == 1


def test_what_was_paused_for_something_else_since_stays_so(run: TaskRun, operator: Staff, desk: Desk) -> None:
    Wallet.objects.filter(pk=desk.wallet.pk).update(retired_at=None, paused_reason="Something else.")
    work(run, operator, desk)
    assert (run.status, run.error) == (
        "Failed",
        "This wallet isn't retired any more, and was paused since: Something else.",
    )
    assert desk.wallet.paused_at is not None
