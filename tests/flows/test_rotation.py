"""A hot wallet's key is rotated on a real chain while payments come in, and the command is killed on the way."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from accounts.keys import list_keystores
from tests.books import assert_books_balance
from tests.conftest import StartWorker
from tests.desk import make_address
from tests.flows.conftest import LiveDesk
from tests.processes import subprocess_environment
from transactions.models import Deposit, Transaction, Wallet
from transactions.states import Kind, Stage, Status
from txnsite.stack.anvil import Anvil
from txnsite.stack.layout import REPOSITORY
from txnsite.stack.process import wait_for


@pytest.fixture
def desk(
    transactional_db: None, anvil: Anvil, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> LiveDesk:
    """A desk with a keystore directory of its own."""
    settings.KEYSTORE_DIR = tmp_path / "keystore"
    monkeypatch.setenv("KEYSTORE_DIR", str(settings.KEYSTORE_DIR))
    # Blocks come as fast as the test can mine them: nothing is stuck for being in none of them yet.
    monkeypatch.setenv("REPLACE_AFTER_BLOCKS", "100000")
    return LiveDesk(anvil)


@pytest.fixture
def rotations(tmp_path: Path) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """The commands that a test started, killed when it ends."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def test_a_key_is_rotated_while_payments_come_in(
    desk: LiveDesk,
    celery_worker: StartWorker,
    tmp_path: Path,
    settings: Settings,
    rotations: list["subprocess.Popen[bytes]"],
) -> None:
    log = tmp_path / "rotate_key.log"

    def rotate(*options: str) -> "subprocess.Popen[bytes]":
        argv = [sys.executable, "manage.py", "rotate_key", desk.wallet.address, "--wait", *options]
        with log.open("ab") as output:
            process = subprocess.Popen(argv, cwd=REPOSITORY, env=subprocess_environment(), stdout=output, stderr=output)
        rotations.append(process)
        return process

    old_key = next(settings.KEYSTORE_DIR.iterdir()).name
    celery_worker("money", "deposits")
    before = desk.accept(3, [make_address() for _ in range(3)])
    desk.tick_until(lambda: Transaction.objects.filter(stage=Stage.BROADCAST).count() == 3, "payments under way")

    first = rotate("--reason", "a test wants it")
    wait_for(lambda: "not final yet" in log.read_text(), what="the rotation to wait", timeout_seconds=60)
    first.kill()
    first.wait()
    meanwhile = desk.accept(2, [make_address() for _ in range(2)])
    second = rotate()
    desk.tick_until(lambda: second.poll() is not None, "the end of the rotation", mine=True)
    desk.run_to_the_end()
    desk.tick_until(Deposit.objects.filter(status="credited").exists, "what was moved to arrive", mine=True)

    assert second.returncode == 0, log.read_text()
    assert log.read_text().endswith("The rotation is over.\n")
    old = Wallet.objects.select_related("replaced_by").get(pk=desk.wallet.pk)
    new = old.replaced_by
    assert new is not None
    assert old.retired_at is not None
    assert os.listdir(settings.KEYSTORE_DIR / "retired") == [old_key]
    assert list_keystores(settings.KEYSTORE_DIR) == [new.address]
    assert Transaction.objects.filter(kind=Kind.SWEEP, status=Status.SUCCESSFUL).count() == 1
    for payments, wallet in ((before, old), (meanwhile, new)):
        rows = Transaction.objects.filter(pk__in=[row.pk for row in payments])
        assert {(row.status, row.wallet_id) for row in rows} == {(Status.SUCCESSFUL, wallet.pk)}
        assert all(desk.anvil.balance(row.to_public_address) == row.transaction_amount_in_wei for row in rows)
    assert_books_balance()
    for wallet in (old, new):
        wallet.account.refresh_from_db()
        assert -wallet.account.current_balance_in_wei == desk.anvil.balance(wallet.address)
