"""Housekeeping: the books are checked one at a time and loudly, old things go, dead runs are closed."""

import datetime as dt
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import time_machine
from django.db import connection, connections
from django.urls import reverse
from django.utils import timezone
from kombu.exceptions import OperationalError
from pytest_django import Settings

from accounts.locks import advisory_lock
from accounts.models import Account, Alert, AlertKind
from accounts.services.alerts import raise_alert
from tasks import books
from tasks.housekeeping import check_ledger, clean_up, close_dead_runs, mail_alerts
from tasks.models import TaskRun
from tasks.money import sign_reserves_reports
from tasks.progress import HARD_TIME_LIMIT_SECONDS_MAX, create_run, finish_run, start_run
from tasks.results import link_to_results
from tests.conftest import StartWorker
from tests.desk import ETHER, Desk, make_user
from tests.mail_server import REFUSAL, mail_server
from tests.staff import make_staff
from transactions.chain import use_chain
from transactions.models import ReservesReport
from transactions.services import holdings
from txnsite.stack.process import wait_for


def tamper(account: Account) -> None:
    """Give an account 5 wei that no journal knows of."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE accounts_account SET current_balance_in_wei = current_balance_in_wei + 5,"
            " available_balance_in_wei = available_balance_in_wei + 5 WHERE id = %s",
            [account.pk],
        )


@pytest.fixture
def walked(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """A desk with a payment accepted and a chain that it has walked: its block 3 is final."""
    desk.accept(ETHER)
    desk.mine(12)
    desk.take_in()
    monkeypatch.setattr(holdings, "PATIENCE_SECONDS", 0.0)
    use_chain(desk.chain)
    yield desk
    use_chain(None)


@pytest.mark.django_db(transaction=True)
def test_the_nightly_check_says_what_it_went_through(walked: Desk, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        check_ledger()
    run, report = TaskRun.objects.get(), ReservesReport.objects.get()
    assert (run.name, run.owner, run.status, run.error) == ("Check the ledger", None, "Successful", "")
    assert run.message == (
        f"Everything adds up, and with the chain at block 3. Reserves report #{report.pk}. "
        "Checked wallets: 1, accounts: 5, entries: 4, journals: 2, payments: 1."
    )
    assert run.total is not None
    assert run.processed == run.total > 0
    assert caplog.text == ""
    assert not Alert.objects.exists()
    page = reverse("admin:transactions_reservesreport_change", args=[report.pk])
    assert link_to_results(run, make_staff("viewers").user) == (f"Reserves report #{report.pk}", page)
    assert link_to_results(run, make_user()) is None


@pytest.mark.django_db(transaction=True)
def test_a_difference_is_an_error_in_log_and_run_and_an_alert(walked: Desk, caplog: pytest.LogCaptureFixture) -> None:
    tamper(walked.account)
    run = create_run(name="Check the ledger")
    with caplog.at_level(logging.ERROR):
        check_ledger(str(run.pk))
    run.refresh_from_db()
    assert run.status == "Failed"
    assert run.error.startswith("3 differences:\n")
    expected = (
        f"account #{walked.account.pk} (Main): current is the sum of its entries: "
        f"expected {100 * ETHER} wei, found {100 * ETHER + 5} wei"
    )
    assert expected in run.error
    report = ReservesReport.objects.get()
    assert run.message.startswith(f"Reserves report #{report.pk} lists all with their rows. Checked wallets: 1")
    assert [record.levelname for record in caplog.records] == ["ERROR"] * 5
    assert expected in caplog.text
    assert f"3 differences. Reserves report #{report.pk} lists them. Checked wallets: 1" in caplog.text
    assert Alert.objects.get().kind == AlertKind.BOOKS_DIFFER


@pytest.mark.django_db(transaction=True)
def test_a_wallet_that_differs_from_the_chain_fails_the_run(walked: Desk) -> None:
    walked.chain.blocks[3].balances[walked.wallet.address] -= 1
    check_ledger()
    error = TaskRun.objects.get().error
    assert error.startswith(f"1 difference:\nwallet {walked.wallet.address}: its balance at block 3 is")


@pytest.mark.django_db(transaction=True)
def test_a_chain_that_can_not_be_compared_is_neither_success_nor_alert(walked: Desk) -> None:
    with walked.chain.outage():
        check_ledger()
    run = TaskRun.objects.get()
    assert (run.status, run.error) == ("Failed", "The chain was not compared: The fake node is down.")
    assert run.message.startswith("The books by themselves add up. Reserves report #")
    assert not Alert.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_difference_in_the_books_says_so_when_the_chain_was_not_compared(walked: Desk) -> None:
    tamper(walked.account)
    with walked.chain.outage():
        check_ledger()
    run = TaskRun.objects.get()
    assert run.error.startswith("3 differences:")
    assert "The chain was not compared: The fake node is down. Checked" in run.message


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("broker_is_up", [True, False])
def test_the_report_is_signed_by_whoever_has_the_keys(
    walked: Desk, monkeypatch: pytest.MonkeyPatch, broker_is_up: bool
) -> None:
    """A message to them that is lost is no harm: they look by themselves as well."""
    sent: list[int] = []

    def send(**options: int) -> None:
        if not broker_is_up:
            raise OperationalError
        sent.append(options["expires"])

    monkeypatch.setattr(sign_reserves_reports, "apply_async", send)
    check_ledger()
    assert TaskRun.objects.get().status == "Successful"
    assert sent == ([60] if broker_is_up else [])
    assert not ReservesReport.objects.get().is_signed
    sign_reserves_reports()
    assert ReservesReport.objects.get().is_signed


@pytest.mark.django_db(transaction=True)
def test_a_check_delivered_twice_is_done_once(walked: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    run = create_run(name="Check the ledger")
    check_ledger(str(run.pk))
    run.refresh_from_db()
    monkeypatch.setattr(books, "prove_reserves", lambda **_: pytest.fail("it was checked again"))
    check_ledger(str(run.pk))
    finished_at = run.finished_at
    run.refresh_from_db()
    assert run.finished_at == finished_at
    assert ReservesReport.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_check_that_breaks_off_fails_its_run(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_off(**_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(books, "prove_reserves", break_off)
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
    # Nobody has walked the real chain.
    assert asked.error.startswith("The chain was not compared: No block can be compared")
    assert asked.message.startswith("The books by themselves add up.")


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
