"""Wallets against the chain: to the wei at every block, whatever is in flight; what differs comes with its rows."""

from collections.abc import Callable

import pytest
from django.db import connection
from pytest_django.fixtures import Settings

from accounts.keys import UnsignedTransfer, sign_transfers
from accounts.services.verify import Report
from tests.desk import ETHER, GWEI, NETWORK_FEE, NOW, Desk, make_address
from tests.transactions.test_nonces import send_elsewhere
from transactions.models import Block, Deposit, Transaction, Wallet
from transactions.services.cancel import cancel_transaction
from transactions.services.compare import compare_wallets
from transactions.services.holdings import Holdings
from transactions.services.sweep import sweep_deposits
from transactions.services.wallets import load_wallets_signer


@pytest.fixture(autouse=True)
def four_confirmations(settings: Settings) -> None:
    settings.CONFIRMATIONS = 4
    settings.SWEEP_MIN_IN_WEI = ETHER // 10


def holdings_at(desk: Desk, number: int) -> Holdings:
    """Return what the wallets have at a block, final or not."""
    addresses = list(Wallet.objects.order_by("pk").values_list("address", flat=True))
    return Holdings(
        block_number=number,
        block_hash=desk.chain.blocks[number].header.hash,
        balances=desk.chain.balances(addresses, block_number=number),
        nonces=desk.chain.nonces(addresses, block_number=number),
    )


def compare_at(desk: Desk, number: int) -> tuple[Report, dict[str, int]]:
    report = Report()
    with connection.cursor() as cursor:
        in_flight = compare_wallets(cursor, report, holdings_at(desk, number))
    return report, in_flight


def assert_equal_at_every_block(desk: Desk) -> None:
    newest = Block.newest_number()
    assert newest is not None
    for number in range(newest + 1):
        report, _ = compare_at(desk, number)
        assert report.is_clean, f"at block {number} of {newest}: {[str(row) for row in report.differences]}"


def go_on(desk: Desk, blocks: int = 6) -> None:
    """Mine blocks, and compare at each block up to each of them."""
    for _ in range(blocks):
        desk.broadcast()
        desk.mine()
        desk.take_in()
        assert_equal_at_every_block(desk)


def pay(desk: Desk) -> None:
    for row in desk.accept_many(2):
        assert row.pk
    desk.broadcast()
    desk.accept(3 * ETHER)


def pay_somebody_who_refuses(desk: Desk) -> None:
    refusing = make_address()
    desk.accept(to=refusing)
    desk.broadcast()
    desk.chain.reverting.add(refusing)


def cancel_what_was_sent(desk: Desk) -> None:
    row = desk.accept()
    desk.broadcast()
    assert desk.account.owner is not None
    cancel_transaction(actor=desk.account.owner, transaction_id=row.pk, reason="x", now=NOW)


def let_a_stranger_use_the_key(desk: Desk) -> None:
    send_elsewhere(desk, 0)
    find_stranger(desk)


def find_stranger(desk: Desk) -> None:
    """Mine what waits; until it is told apart, ledger and chain do differ."""
    for _ in range(2):
        desk.chain.mine()
        desk.follow()
        desk.broadcast()
    desk.follow()
    assert Transaction.objects.get().stage == "MINED"


def let_a_stranger_fail(desk: Desk) -> None:
    refusing = make_address()
    send_elsewhere(desk, 0, to=refusing)
    desk.chain.reverting.add(refusing)
    find_stranger(desk)


def pay_in(desk: Desk) -> None:
    desk.pay_in(desk.add_deposit_address().address, 5 * ETHER)
    desk.pay_in(desk.wallet.address, 7 * ETHER)


def pay_a_deposit_address_from_another_account(desk: Desk) -> None:
    desk.accept(to=desk.add_deposit_address().address)


def sweep(desk: Desk) -> None:
    pay_in(desk)
    go_on(desk)
    assert len(sweep_deposits(NOW, chain=desk.chain)) == 1


def sweep_in_vain(desk: Desk) -> None:
    sweep(desk)
    desk.broadcast()
    desk.chain.reverting.add(desk.wallet.address)


def let_a_stranger_take_the_nonce_of_a_sweep(desk: Desk) -> None:
    sweep(desk)
    desk.broadcast()
    [sent] = desk.chain.pool
    desk.chain.drop(sent)
    wallet = Wallet.objects.get(role="deposit")
    transfer = UnsignedTransfer(31337, 0, make_address(), ETHER, 21_000, 100 * GWEI, GWEI)
    [signed] = sign_transfers(load_wallets_signer(wallet), [transfer])
    desk.chain.put_back(signed.raw)
    # What took it is looked for when its own receipt has not turned up for long.
    desk.mine(6)
    desk.follow()
    desk.take_in()
    row = Transaction.objects.get(kind="sweep")
    assert (row.transaction_hash, row.stage) == (signed.hash, "SETTLED")


def undo_what_was_settled(desk: Desk) -> None:
    sweep(desk)
    pay(desk)
    go_on(desk, 7)
    assert Deposit.objects.filter(status="credited").count() == 3, "two from outside, and what was swept"
    desk.chain.reorg(len(desk.chain.blocks) - 2, back_to_pool=True)
    desk.follow()
    desk.take_in()


LIVES: list[Callable[[Desk], None]] = [
    pay,
    pay_somebody_who_refuses,
    cancel_what_was_sent,
    let_a_stranger_use_the_key,
    let_a_stranger_fail,
    pay_in,
    pay_a_deposit_address_from_another_account,
    sweep,
    sweep_in_vain,
    let_a_stranger_take_the_nonce_of_a_sweep,
    undo_what_was_settled,
]


@pytest.mark.parametrize("live", LIVES, ids=lambda live: live.__name__)
def test_ledger_and_chain_agree_at_every_block(desk: Desk, live: Callable[[Desk], None]) -> None:
    desk.mine(2)
    desk.take_in()
    live(desk)
    go_on(desk, 9)
    assert not Transaction.objects.exclude(stage="SETTLED").exists()
    assert not Deposit.objects.filter(status="waiting").exists()


def mined_payment(desk: Desk) -> Transaction:
    """Return a payment of an ether that is mined in block 1 and not settled."""
    row = desk.accept()
    desk.broadcast()
    desk.mine()
    row.refresh_from_db()
    assert (row.stage, row.block_number) == ("MINED", 1)
    return row


class TestInFlight:
    def test_what_is_mined_and_not_booked_yet(self, desk: Desk) -> None:
        mined_payment(desk)
        assert compare_at(desk, 0)[1] == {}
        assert compare_at(desk, 1)[1] == {desk.wallet.address: -(ETHER + NETWORK_FEE)}

    def test_what_is_booked_and_not_mined_at_the_block(self, desk: Desk) -> None:
        mined_payment(desk)
        desk.mine(3)
        assert compare_at(desk, 0)[1] == {desk.wallet.address: ETHER + NETWORK_FEE}
        assert compare_at(desk, 1)[1] == {}

    def test_what_is_mined_in_a_block_that_left_the_chain_is_not_mined(self, desk: Desk) -> None:
        mined_payment(desk)
        Transaction.objects.update(block_hash="0x" + "ab" * 32)
        assert compare_at(desk, 1)[1] == {}

    def test_deposits(self, desk: Desk) -> None:
        wallet = desk.add_deposit_address()
        desk.pay_in(wallet.address)
        desk.mine()
        desk.take_in()
        assert compare_at(desk, 1)[1] == {wallet.address: ETHER}
        assert compare_at(desk, 0)[1] == {}
        desk.mine(3)
        assert compare_at(desk, 1)[1] == {}
        assert compare_at(desk, 0)[1] == {wallet.address: -ETHER}


class TestDifferences:
    def test_ether_that_nobody_saw_come(self, desk: Desk) -> None:
        mined_payment(desk)
        desk.chain.set_balance(desk.wallet.address, 1_005 * ETHER)
        report, _ = compare_at(desk, 1)
        [difference] = report.differences
        assert difference.rule == "its balance at block 1 is the ledger's and what is in flight"
        assert difference.subject == f"wallet {desk.wallet.address}"
        assert difference.expected == f"{999 * ETHER - NETWORK_FEE} wei"
        assert difference.found == f"{1_005 * ETHER} wei"
        row = Transaction.objects.get()
        in_flight = -(ETHER + NETWORK_FEE)
        assert difference.rows[:2] == (
            f"ledger={1_000 * ETHER} in_flight={in_flight} difference={6 * ETHER + NETWORK_FEE}",
            f"kind=payment id={row.pk} stage=MINED block=1 wei={in_flight}",
        )
        assert difference.rows[2].startswith("entry=")

    def test_a_single_wei(self, desk: Desk) -> None:
        desk.mine()
        desk.chain.set_balance(desk.wallet.address, 1_000 * ETHER - 1)
        [difference] = compare_at(desk, 1)[0].differences
        assert difference.found == f"{1_000 * ETHER - 1} wei"

    def test_only_of_the_wallet_that_it_is_about(self, desk: Desk) -> None:
        other = desk.add_wallet()
        desk.mine()
        desk.chain.set_balance(other.address, 5)
        report, _ = compare_at(desk, 1)
        assert [row.subject for row in report.differences] == [f"wallet {other.address}"]
        assert report.checked == {"wallets": 2}

    def test_a_transaction_of_a_strangers(self, desk: Desk) -> None:
        desk.mine()
        send_elsewhere(desk, 0)
        desk.chain.mine()
        balance, nonces = compare_at(desk, 2)[0].differences
        assert balance.found == f"{993 * ETHER - 21_000 * 11 * GWEI} wei"
        assert nonces.rule == "its nonces used at block 2 are those of transactions in blocks up to it"
        assert (nonces.expected, nonces.found) == ("0 from nonce 0 on", "1")
        assert nonces.rows == ("nonce=0 transaction=None stage=None block=None",)

    def test_one_that_is_mined_and_not_found(self, desk: Desk) -> None:
        row = desk.accept()
        desk.broadcast()
        desk.chain.mine()
        balance, nonces = compare_at(desk, 1)[0].differences
        assert balance.found == f"{999 * ETHER - NETWORK_FEE} wei"
        assert nonces.rows == (f"nonce=0 transaction={row.pk} stage=BROADCAST block=None",)

    def test_one_that_is_said_to_be_mined_and_is_not(self, desk: Desk) -> None:
        row = mined_payment(desk)
        desk.chain.reorg(1)
        balance, nonces = compare_at(desk, 1)[0].differences
        assert balance.found == f"{1_000 * ETHER} wei"
        assert (nonces.expected, nonces.found) == ("1 from nonce 0 on", "0")
        assert nonces.rows == (f"nonce=0 transaction={row.pk} stage=MINED block=1",)

    def test_nonces_are_told_apart_and_not_only_counted(self, desk: Desk) -> None:
        """One too many and one too few are no match."""
        rows = [desk.accept(to=make_address()) for _ in range(3)]
        desk.broadcast()
        hashes = list(Transaction.objects.order_by("nonce").values_list("transaction_hash", flat=True))
        desk.chain.mine(only=[hash_ for hash_ in hashes[:2] if hash_])
        desk.mine()
        Transaction.objects.filter(pk=rows[1].pk).update(block_number=2)
        Transaction.objects.filter(pk=rows[2].pk).update(block_number=1)
        [difference] = [row for row in compare_at(desk, 1)[0].differences if "nonces" in row.rule]
        assert difference.rows == (
            f"nonce=1 transaction={rows[1].pk} stage=MINED block=2",
            f"nonce=2 transaction={rows[2].pk} stage=MINED block=1",
        )

    def test_a_row_too_few_up_to_the_last(self, desk: Desk) -> None:
        rows = [desk.accept(to=make_address()) for _ in range(2)]
        desk.broadcast()
        desk.mine()
        Transaction.objects.filter(pk=rows[0].pk).update(block_number=2)
        [difference] = [row for row in compare_at(desk, 1)[0].differences if "nonces" in row.rule]
        assert (difference.expected, difference.found) == ("1 from nonce 0 on", "2")
        assert difference.rows == (f"nonce=0 transaction={rows[0].pk} stage=MINED block=2",)
