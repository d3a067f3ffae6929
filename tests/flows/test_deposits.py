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
    live_desk.tick_until(Block.objects.filter(taken_in_at__isnull=False).exists, "the first blocks taken in", mine=True)
    transaction_hash = pay_in(live_desk, deposit_wallet.address, 5 * ETHER)
    live_desk.tick_until(Deposit.objects.filter(status="credited").exists, "the deposit credited", mine=True)
    deposit = Deposit.objects.get()
    assert (deposit.transaction_hash, deposit.amount_in_wei, deposit.credits) == (transaction_hash, 5 * ETHER, 1)
    assert BlockContent.objects.filter(hash=deposit.block_hash).exists()
    assert balance(live_desk.account) == 105 * ETHER

    sweep_deposits.delay()
    live_desk.tick_until(
        Transaction.objects.filter(kind="sweep", stage="SETTLED").exists, "the sweep settled", mine=True
    )
    swept = Transaction.objects.get(kind="sweep")
    assert swept.status == "SUCCESSFUL"
    arrived = Deposit.objects.filter(transaction_hash=swept.transaction_hash, status="credited")
    live_desk.tick_until(arrived.exists, "what was swept credited to the hot wallet", mine=True)
    for wallet in (live_desk.wallet, deposit_wallet):
        assert -balance(wallet.account) == live_desk.anvil.balance(wallet.address)
    assert live_desk.anvil.balance(deposit_wallet.address) < ETHER // 100
    assert_books_balance()


def test_a_reorg_takes_it_back_and_it_comes_again(
    live_desk: LiveDesk, deposit_wallet: Wallet, celery_worker: StartWorker
) -> None:
    celery_worker("money", "deposits")
    live_desk.tick_until(Block.objects.filter(taken_in_at__isnull=False).exists, "the first blocks taken in", mine=True)
    pay_in(live_desk, deposit_wallet.address, 5 * ETHER)
    live_desk.tick_until(Deposit.objects.filter(status="credited").exists, "the deposit credited", mine=True)
    deposit = Deposit.objects.get()
    assert deposit.block_number is not None
    live_desk.anvil.reorg(live_desk.anvil.block_number() - deposit.block_number + 1)
    live_desk.tick_until(Deposit.objects.filter(status="gone").exists, "the deposit taken back", mine=True)
    assert balance(live_desk.account) == 100 * ETHER
    pay_in(live_desk, deposit_wallet.address, 5 * ETHER)
    live_desk.tick_until(Deposit.objects.filter(status="credited").exists, "a deposit credited", mine=True)
    assert balance(live_desk.account) == 105 * ETHER
    assert_books_balance()


def test_a_worker_that_dies_at_any_step_loses_nothing(
    live_desk: LiveDesk, deposit_wallet: Wallet, celery_worker: StartWorker
) -> None:
    worker = celery_worker("money", "deposits")
    live_desk.tick_until(Block.objects.filter(taken_in_at__isnull=False).exists, "the first blocks taken in", mine=True)
    for number in range(1, 6):
        pay_in(live_desk, deposit_wallet.address, number)
        live_desk.anvil.mine()
        take_in_blocks.delay()
        live_desk.tick()
        worker.kill()
        worker.restart()
    # What died with the worker is begun anew: here at once, else after a while.
    Block.objects.filter(taken_in_at__isnull=True).update(intake_from=None)
    live_desk.tick_until(
        lambda: Deposit.objects.filter(status="credited").count() == 5, "all deposits credited", mine=True
    )
    assert balance(live_desk.account) == 100 * ETHER + 15
    assert_books_balance()
