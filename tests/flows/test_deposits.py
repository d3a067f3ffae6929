"""The whole story of deposits, by real workers on a real chain: paid in, taken in, credited, swept, lost and found."""

import pytest
from pytest_django.fixtures import Settings

from accounts.models import Account
from tasks.deposits import take_in_blocks
from tasks.money import sweep_deposits
from tests.books import assert_books_balance
from tests.conftest import StartWorker
from tests.desk import ETHER, write_deposit_seed
from tests.flows.conftest import LiveDesk
from transactions.models import Block, BlockContent, Deposit, Transaction, Wallet
from transactions.services.deposit_addresses import deposit_address_of

CONFIRMATIONS = "3"


def pay_in(desk: LiveDesk, to: str, amount_in_wei: int) -> str:
    """Pay from one of the node's own accounts; return the hash."""
    sender = desk.anvil.accounts()[0]
    transaction = {"from": sender, "to": to, "value": hex(amount_in_wei)}
    return str(desk.anvil.rpc("eth_sendTransaction", transaction))


def tick_until(desk: LiveDesk, condition: object, what: str) -> None:
    """Tick as beat does, the intake's tick included, and mine, until the condition holds."""

    def look() -> bool:
        take_in_blocks.apply_async(expires=5)
        return bool(condition())  # type: ignore[operator]

    desk.tick_until(look, what, mine=True)


def balance(account: Account) -> int:
    account.refresh_from_db()
    return account.current_balance_in_wei


@pytest.fixture
def deposit_wallet(live_desk: LiveDesk, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Wallet:
    for name, value in (("CONFIRMATIONS", CONFIRMATIONS), ("SWEEP_MIN_IN_WEI", str(ETHER))):
        monkeypatch.setenv(name, value)
    settings.CONFIRMATIONS = int(CONFIRMATIONS)
    write_deposit_seed()
    return deposit_address_of(live_desk.account.pk)


def test_paid_in_credited_and_swept(live_desk: LiveDesk, deposit_wallet: Wallet, celery_worker: StartWorker) -> None:
    celery_worker("money")
    celery_worker("deposits")
    tick_until(live_desk, Block.objects.filter(taken_in_at__isnull=False).exists, "the first blocks taken in")
    transaction_hash = pay_in(live_desk, deposit_wallet.address, 5 * ETHER)
    tick_until(live_desk, Deposit.objects.filter(status="credited").exists, "the deposit credited")
    deposit = Deposit.objects.get()
    assert (deposit.transaction_hash, deposit.amount_in_wei, deposit.credits) == (transaction_hash, 5 * ETHER, 1)
    assert BlockContent.objects.filter(hash=deposit.block_hash).exists()
    assert balance(live_desk.account) == 105 * ETHER

    sweep_deposits.delay()
    tick_until(live_desk, Transaction.objects.filter(kind="sweep", stage="SETTLED").exists, "the sweep settled")
    assert Transaction.objects.get(kind="sweep").status == "SUCCESSFUL"
    for wallet in (live_desk.wallet, deposit_wallet):
        assert -balance(wallet.account) == live_desk.anvil.balance(wallet.address)
    assert live_desk.anvil.balance(deposit_wallet.address) < ETHER // 100
    assert_books_balance()


def test_a_reorg_takes_it_back_and_it_comes_again(
    live_desk: LiveDesk, deposit_wallet: Wallet, celery_worker: StartWorker
) -> None:
    celery_worker("money", "deposits")
    tick_until(live_desk, Block.objects.filter(taken_in_at__isnull=False).exists, "the first blocks taken in")
    pay_in(live_desk, deposit_wallet.address, 5 * ETHER)
    tick_until(live_desk, Deposit.objects.filter(status="credited").exists, "the deposit credited")
    deposit = Deposit.objects.get()
    assert deposit.block_number is not None
    live_desk.anvil.reorg(live_desk.anvil.block_number() - deposit.block_number + 1)
    tick_until(live_desk, Deposit.objects.filter(status="gone").exists, "the deposit taken back")
    assert balance(live_desk.account) == 100 * ETHER
    pay_in(live_desk, deposit_wallet.address, 5 * ETHER)
    tick_until(live_desk, Deposit.objects.filter(status="credited").exists, "a deposit credited")
    assert balance(live_desk.account) == 105 * ETHER
    assert_books_balance()


def test_a_worker_that_dies_at_any_step_loses_nothing(
    live_desk: LiveDesk, deposit_wallet: Wallet, celery_worker: StartWorker
) -> None:
    worker = celery_worker("money", "deposits")
    tick_until(live_desk, Block.objects.filter(taken_in_at__isnull=False).exists, "the first blocks taken in")
    for number in range(1, 6):
        pay_in(live_desk, deposit_wallet.address, number)
        live_desk.anvil.mine()
        take_in_blocks.delay()
        live_desk.tick()
        worker.kill()
        worker.restart()
    # What died with the worker is begun anew: here at once, else after a while.
    Block.objects.filter(taken_in_at__isnull=True).update(intake_from=None)
    tick_until(live_desk, lambda: Deposit.objects.filter(status="credited").count() == 5, "all deposits credited")
    assert balance(live_desk.account) == 100 * ETHER + 15
    assert_books_balance()
