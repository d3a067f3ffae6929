"""Staff have payments reconciled: a few at a time, with progress, stopped by a node that is silent."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone
from kombu.exceptions import OperationalError

from accounts.models import AuditEvent, User
from tasks import housekeeping, reconciling, staff
from tasks.exceptions import BrokerUnavailableError, NothingChosenError
from tasks.housekeeping import reconcile_selected
from tasks.models import TaskRun
from tasks.progress import create_run, fail_run, start_run
from tasks.reconciling import reconcile_some
from tasks.staff import start_ledger_check, start_reconciliation
from tests.conftest import StartWorker
from tests.desk import Desk, make_user
from tests.staff import events
from transactions.models import Transaction
from transactions.services import reconcile as service
from txnsite.stack.process import wait_for

Messages = list[tuple[str, list[Any]]]


@pytest.fixture
def on_chain(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Let the service ask the desk's own chain."""
    monkeypatch.setattr(service, "get_chain", lambda: desk.chain)
    return desk


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> Messages:
    """What would go to the workers."""
    sent: Messages = []
    for module, name in (
        (staff, "reconcile_selected"),
        (staff, "check_ledger"),
        (housekeeping, "reconcile_selected"),
    ):
        task = getattr(module, name)
        monkeypatch.setattr(
            task, "apply_async", lambda args, name=name, **_options: sent.append((name, list(args))), raising=True
        )
    return sent


def officer() -> User:
    return make_user("officer")


def test_chosen_payments_come_as_far_as_the_chain_allows(on_chain: Desk) -> None:
    rows = on_chain.accept_many(3)
    on_chain.broadcast()
    on_chain.chain.mine(10)
    run = create_run(name="Reconcile", total=3)
    assert reconcile_some(run.pk, [row.pk for row in rows], 0) == 3
    run.refresh_from_db()
    assert (run.status, run.processed, run.total, run.message) == ("Successful", 3, 3, "3 settled")
    on_chain.assert_paid_once(rows)
    on_chain.assert_books_balance()


def test_many_go_a_few_at_a_time(on_chain: Desk, messages: Messages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciling, "ROWS_AT_ONCE", 2)
    ids = [row.pk for row in on_chain.accept_many(5)]
    run = create_run(name="Reconcile", total=5)
    seen = []
    todo: Messages = [("reconcile_selected", [str(run.pk), ids])]
    while todo:
        reconcile_selected(*todo.pop()[1])
        seen.append(TaskRun.objects.get().processed)
        todo += messages
        messages.clear()
    assert seen == [2, 4, 5]
    run.refresh_from_db()
    assert (run.status, run.message) == ("Successful", "5 broadcast")


def test_a_chunk_delivered_twice_counts_once(
    on_chain: Desk, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciling, "ROWS_AT_ONCE", 2)
    rows = on_chain.accept_many(5)
    ids = [row.pk for row in rows]
    run = create_run(name="Reconcile", total=5)
    for position in (0, 2, 2, 4, 4):
        reconcile_selected(str(run.pk), ids, position)
    run.refresh_from_db()
    assert (run.status, run.processed) == ("Successful", 5)
    on_chain.mine()
    on_chain.assert_paid_once(rows)


def test_a_silent_node_ends_it(on_chain: Desk) -> None:
    rows = on_chain.accept_many(3)
    on_chain.broadcast()
    on_chain.chain.down = True
    run = create_run(name="Reconcile", total=3)
    assert reconcile_some(run.pk, [row.pk for row in rows], 0) == 3
    run.refresh_from_db()
    assert (run.status, run.processed, run.message) == ("Failed", 0, "0 of 3 were looked at.")
    assert run.error == "The fake node is down."
    assert set(Transaction.objects.values_list("stage", flat=True)) == {"BROADCAST"}


def test_a_run_that_was_closed_is_not_gone_on_with(on_chain: Desk) -> None:
    rows = on_chain.accept_many(2)
    run = create_run(name="Reconcile", total=2)
    fail_run(run.pk, error="Closed.")
    ids = [row.pk for row in rows]
    assert reconcile_some(run.pk, ids, 0) == 2
    assert reconcile_some(run.pk, ids, 1) == 2
    assert set(Transaction.objects.values_list("stage", flat=True)) == {"ACCEPTED"}


def test_starting_leaves_a_run_an_event_for_each_and_a_message(on_chain: Desk, messages: Messages) -> None:
    rows = on_chain.accept_many(3)
    actor = officer()
    run = start_reconciliation(actor=actor, transaction_ids=[rows[2].pk, rows[0].pk, rows[1].pk, 10**9])
    assert (run.name, run.owner, run.total, run.status) == ("Reconcile 3 payments", actor, 3, "Queued")
    ids = [row.pk for row in rows]
    assert messages == [("reconcile_selected", [str(run.pk), ids])]
    recorded = events("transaction.reconcile_started")
    assert {event.target_id for event in recorded} == {str(row.pk) for row in rows}
    assert {(event.actor, event.details["task_run"]) for event in recorded} == {(actor, str(run.pk))}


def test_a_run_of_one_bears_its_number(on_chain: Desk, messages: Messages) -> None:
    row = on_chain.accept()
    assert start_reconciliation(actor=officer(), transaction_ids=[row.pk]).name == f"Reconcile payment #{row.pk}"


@pytest.mark.parametrize("ids", [[], [10**9], list(range(1001))])
def test_none_or_too_many_are_refused(on_chain: Desk, messages: Messages, ids: list[int]) -> None:
    with pytest.raises(NothingChosenError):
        start_reconciliation(actor=officer(), transaction_ids=ids)
    assert not TaskRun.objects.exists()
    assert messages == []


def test_one_check_of_the_ledger_at_a_time(db: None, messages: Messages) -> None:
    actor = officer()
    run = start_ledger_check(actor=actor)
    assert (run.name, run.owner) == ("Check the ledger", actor)
    assert start_ledger_check(actor=make_user()) == run
    assert messages == [("check_ledger", [str(run.pk)])]
    (event,) = events("ledger.check_started")
    assert (event.actor, event.target_id) == (actor, str(run.pk))
    fail_run(run.pk, error="Closed.")
    assert start_ledger_check(actor=actor) != run


def test_a_check_that_nobody_took_is_asked_for_again(db: None, messages: Messages) -> None:
    run = start_ledger_check(actor=officer())
    TaskRun.objects.filter(pk=run.pk).update(created_at=timezone.now() - dt.timedelta(seconds=61))
    assert start_ledger_check(actor=make_user()) == run
    assert messages == [("check_ledger", [str(run.pk)])] * 2
    start_run(run.pk)
    start_ledger_check(actor=make_user())
    assert len(messages) == 2, "it is under way"


def test_a_silent_broker_is_said_and_leaves_no_run_waiting(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    row = desk.accept()
    monkeypatch.setattr("kombu.messaging.Producer.publish", refuse)
    starts: list[Callable[[], TaskRun]] = [
        lambda: start_ledger_check(actor=make_user()),
        lambda: start_reconciliation(actor=make_user(), transaction_ids=[row.pk]),
    ]
    for start in starts:
        with pytest.raises(BrokerUnavailableError):
            start()
    assert set(TaskRun.objects.values_list("status", "error")) == {("Failed", str(BrokerUnavailableError()))}
    assert AuditEvent.objects.filter(action__endswith="started").count() == 2


def refuse(*_args: object, **_options: object) -> None:
    raise OperationalError("connection refused")


@pytest.mark.django_db(transaction=True)
def test_a_worker_without_a_node_says_so(desk: Desk, celery_worker: StartWorker) -> None:
    """A real worker takes the message from the money queue."""
    row = desk.accept()
    desk.broadcast()
    celery_worker("money", env={"CHAIN_RPC_URLS": "http://127.0.0.1:1"})
    run = start_reconciliation(actor=officer(), transaction_ids=[row.pk])
    wait_for(lambda: TaskRun.objects.get().is_finished, what="the run's end", timeout_seconds=30)
    run.refresh_from_db()
    assert run.status == "Failed"
    assert "does not answer" in run.error
    row.refresh_from_db()
    assert row.status == "PENDING"
    desk.assert_books_balance()
