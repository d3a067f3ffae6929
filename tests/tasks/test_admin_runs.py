"""Task runs in the admin, and the button that checks the ledger."""

from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.urls import reverse
from kombu.exceptions import OperationalError

from tasks.models import TaskRun
from tasks.progress import advance_run, create_run, fail_run, start_run
from tests.desk import make_user
from tests.staff import events, make_staff

pytestmark = pytest.mark.django_db
CHECK = "admin:accounts_journal_check"


def test_a_run_shows_its_progress_and_how_it_ended() -> None:
    viewer = make_staff("viewers")
    going, failed = create_run(name="Count sheep", owner=make_user("bob"), total=80), create_run(name="Shear sheep")
    start_run(going.pk)
    advance_run(going.pk, 17)
    start_run(failed.pk)
    fail_run(failed.pk, error="2 differences:\nfirst <b>\nsecond")
    shown = viewer.client.get(reverse("admin:tasks_taskrun_changelist")).content.decode()
    assert '<progress max="100" value="21" title="17 of 80">' in shown
    assert "in progress" in shown
    page = viewer.client.get(reverse("admin:tasks_taskrun_change", args=[failed.pk])).content.decode()
    assert "2 differences:\nfirst &lt;b&gt;\nsecond" in page
    assert reverse("task-detail", args=[failed.pk]) in page


def test_operators_check_the_ledger_by_a_button(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[Any, ...]] = []
    monkeypatch.setattr("celery.app.task.Task.apply_async", lambda task, args, **_: sent.append((task.name, *args)))
    operator = make_staff("operators")
    for page in ("admin:index", "admin:accounts_journal_changelist"):
        assert reverse(CHECK) in operator.client.get(reverse(page)).content.decode()
    answer = operator.client.post(reverse(CHECK))
    run = TaskRun.objects.get()
    assert answer["Location"] == reverse("task-detail", args=[run.pk])
    assert sent == [("tasks.housekeeping.check_ledger", str(run.pk))]
    (event,) = events("ledger.check_started")
    assert event.actor == operator.user


def test_others_have_no_button() -> None:
    for staff in (make_staff("viewers"), make_staff("schedulers"), make_staff()):
        assert reverse(CHECK) not in staff.client.get(reverse("admin:index")).content.decode()


def test_a_silent_broker_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr("celery.app.task.Task.apply_async", refuse)
    answer = make_staff("operators").client.post(reverse(CHECK))
    assert "The broker does not answer" in str(list(get_messages(answer.wsgi_request))[0])
    assert answer["Location"] == reverse("admin:accounts_journal_changelist")
