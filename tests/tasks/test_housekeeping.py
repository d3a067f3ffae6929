"""Housekeeping: the books are checked one at a time and loudly, old things go, dead runs are closed."""

import datetime as dt
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import time_machine
from django.db import connection, connections
from django.utils import timezone
from pytest_django import Settings

from accounts.locks import advisory_lock
from accounts.models import Account, Alert, AlertKind
from accounts.services.alerts import raise_alert
from tasks import books
from tasks.housekeeping import check_ledger, clean_up, close_dead_runs, mail_alerts
from tasks.models import TaskRun
from tasks.progress import HARD_TIME_LIMIT_SECONDS_MAX, create_run, finish_run, start_run
from tests.conftest import StartWorker
from tests.desk import ETHER, Desk
from tests.mail_server import REFUSAL, mail_server
from txnsite.stack.process import wait_for


def tamper(account: Account) -> None:
    """Give an account 5 wei that no journal knows of."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE accounts_account SET current_balance_in_wei = current_balance_in_wei + 5,"
            " available_balance_in_wei = available_balance_in_wei + 5 WHERE id = %s",
            [account.pk],
        )


@pytest.mark.django_db(transaction=True)
def test_the_nightly_check_says_what_it_went_through(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.accept(ETHER)
    with caplog.at_level(logging.ERROR):
        check_ledger()
    run = TaskRun.objects.get()
    assert (run.name, run.owner, run.status, run.error) == ("Check the ledger", None, "Successful", "")
    assert run.message == "Everything adds up. Checked accounts: 3, entries: 4, journals: 2, payments: 1."
    assert run.total is not None
    assert run.processed == run.total > 0
    assert caplog.text == ""


@pytest.mark.django_db(transaction=True)
def test_a_difference_is_an_error_in_log_and_run(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    tamper(desk.account)
    run = create_run(name="Check the ledger")
    with caplog.at_level(logging.ERROR):
        check_ledger(str(run.pk))
    run.refresh_from_db()
    assert run.status == "Failed"
    assert run.error.startswith("3 differences:\n")
    expected = (
        f"account #{desk.account.pk} (Main): current is the sum of its entries: "
        f"expected {100 * ETHER} wei, found {100 * ETHER + 5} wei"
    )
    assert expected in run.error
    assert [record.levelname for record in caplog.records] == ["ERROR"] * 4
    assert expected in caplog.text
    assert "3 differences. Checked accounts: 3" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_a_check_delivered_twice_is_done_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    run = create_run(name="Check the ledger")
    check_ledger(str(run.pk))
    run.refresh_from_db()
    monkeypatch.setattr(books, "check_books", lambda **_: pytest.fail("it was checked again"))
    check_ledger(str(run.pk))
    finished_at = run.finished_at
    run.refresh_from_db()
    assert run.finished_at == finished_at


@pytest.mark.django_db(transaction=True)
def test_a_check_that_breaks_off_fails_its_run(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_off(**_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(books, "check_books", break_off)
    with pytest.raises(MemoryError):
        check_ledger()
    assert TaskRun.objects.get().error == "It broke off (MemoryError); the worker's log says more."


@pytest.mark.django_db(transaction=True)
def test_a_real_worker_checks_the_books_alone(desk: Desk, celery_worker: StartWorker) -> None:
    """While another session holds the check's lock, a run that was asked for says so, and a nightly one goes by."""
    celery_worker("housekeeping")
    with advisory_lock("check_ledger"):
        refused = create_run(name="Check the ledger")
        check_ledger.delay()
        check_ledger.delay(str(refused.pk))
        wait_for(lambda: TaskRun.objects.get(pk=refused.pk).is_finished, what="an answer", timeout_seconds=20)
    assert TaskRun.objects.get().error == "Another check was under way."
    asked = create_run(name="Check the ledger")
    check_ledger.delay(str(asked.pk))
    wait_for(lambda: TaskRun.objects.get(pk=asked.pk).is_finished, what="the check", timeout_seconds=20)
    asked.refresh_from_db()
    assert asked.status == "Successful"


@pytest.mark.django_db
def test_clean_up_removes_what_is_old_and_closes_what_is_dead() -> None:
    old, dead = create_run(name="old"), create_run(name="dead")
    finish_run(old.pk)
    TaskRun.objects.filter(pk=old.pk).update(finished_at=timezone.now() - dt.timedelta(days=31))
    with time_machine.travel(timezone.now() - dt.timedelta(seconds=HARD_TIME_LIMIT_SECONDS_MAX + 1), tick=False):
        start_run(dead.pk)
    clean_up(added_by_a_later_release=1)
    run = TaskRun.objects.get()
    assert (run.name, run.status) == ("dead", "Failed")


@pytest.mark.django_db
def test_dead_runs_are_closed() -> None:
    dead = create_run(name="dead")
    with time_machine.travel(timezone.now() - dt.timedelta(seconds=HARD_TIME_LIMIT_SECONDS_MAX + 1), tick=False):
        start_run(dead.pk)
    close_dead_runs()
    dead.refresh_from_db()
    assert dead.status == "Failed"


@pytest.fixture
def told(settings: Settings) -> Settings:
    """Alerts go to somebody by a real mail server, whose port a test sets."""
    settings.ALERT_EMAILS = ["ops@desk.test"]
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_TIMEOUT = "127.0.0.1", 0.2
    raise_alert(kind=AlertKind.NODE, subject="s", message="m", now=timezone.now())
    return settings


@pytest.mark.django_db(transaction=True)
def test_alerts_are_mailed_by_one_at_a_time(told: Settings) -> None:
    def run(_: int) -> None:
        try:
            mail_alerts()
        finally:
            connections.close_all()

    with mail_server() as server, ThreadPoolExecutor(4) as threads:
        told.EMAIL_PORT = server.port
        list(threads.map(run, range(4)))
    assert len(server.mails) == 1
    assert Alert.objects.get().mailed_at is not None


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("greeting", [REFUSAL, b""], ids=["refuses", "hangs"])
def test_a_mail_server_that_takes_nothing_is_a_warning_and_no_more(
    told: Settings, greeting: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with mail_server(greeting) as server:
        told.EMAIL_PORT = server.port
        mail_alerts()
    assert [record.levelname for record in caplog.records if "mail server" in record.message] == ["WARNING"]
    assert Alert.objects.get().mailed_at is None
