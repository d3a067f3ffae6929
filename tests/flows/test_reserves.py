"""The proof of reserves by real workers on a real chain: money in and out, compared to the wei and signed."""

import pytest
from pytest_django.fixtures import Settings

from accounts.models import Alert, AlertKind
from tasks.housekeeping import check_ledger
from tasks.models import TaskRun, TaskStatus
from tasks.progress import create_run
from tests.conftest import StartWorker
from tests.desk import ETHER, make_address, write_deposit_seed
from tests.flows.conftest import LiveDesk
from tests.flows.test_deposits import CONFIRMATIONS, pay_in
from transactions.models import Deposit, ReservesReport, Transaction, Wallet
from transactions.services.deposit_addresses import deposit_address_of
from txnsite.stack.process import wait_for


def check() -> TaskRun:
    """Have the books checked by a worker, and wait for it."""
    run = create_run(name="Check the ledger")
    check_ledger.delay(str(run.pk))
    wait_for(lambda: TaskRun.objects.get(pk=run.pk).is_finished, what="the check", timeout_seconds=60)
    run.refresh_from_db()
    return run


def test_proved_and_signed(
    live_desk: LiveDesk, celery_worker: StartWorker, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CONFIRMATIONS = int(CONFIRMATIONS)
    monkeypatch.setenv("CONFIRMATIONS", CONFIRMATIONS)
    write_deposit_seed()
    address = deposit_address_of(live_desk.account.pk).address
    celery_worker("money")
    celery_worker("deposits", "housekeeping")
    live_desk.accept(3, [make_address()])
    live_desk.run_to_the_end()
    pay_in(live_desk, address, 5 * ETHER)
    live_desk.tick_until(Deposit.objects.filter(status="credited").exists, "the deposit credited", mine=True)
    live_desk.accept(2, [make_address()])
    live_desk.tick_until(lambda: Transaction.objects.filter(stage="BROADCAST").count() == 2, "two more sent")
    live_desk.anvil.mine()

    run = check()
    assert run.status == TaskStatus.SUCCESSFUL, run.error
    report = ReservesReport.objects.get()
    assert report.is_clean
    assert report.block_number is not None
    held = [
        live_desk.anvil.rpc("eth_getBalance", wallet.address, hex(report.block_number))
        for wallet in Wallet.objects.all()
    ]
    assert report.held_in_wei == sum(int(wei, 16) for wei in held)
    wait_for(lambda: ReservesReport.objects.get().is_signed, what="the signature", timeout_seconds=30)
    report.refresh_from_db()
    assert [given["address"] for given in report.signatures] == [live_desk.wallet.address]

    live_desk.anvil.set_balance(address, 4 * ETHER)
    live_desk.run_to_the_end()

    def differs() -> bool:
        check()
        return ReservesReport.objects.order_by("-pk")[0].differences_total > 0

    live_desk.tick_until(differs, "the difference found", mine=True)
    [difference] = ReservesReport.objects.order_by("-pk")[0].document["differences"]
    assert (difference["subject"], difference["found"]) == (f"wallet {address}", f"{4 * ETHER} wei")
    assert Alert.objects.get(kind=AlertKind.BOOKS_DIFFER).is_open
