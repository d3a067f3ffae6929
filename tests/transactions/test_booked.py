"""Wallets whose opening a reorg has undone: what is in their books comes into them once, and what is new comes too."""

import zlib

import pytest
from django.db import connections
from pytest_django.fixtures import Settings

from accounts.models import Account, Alert
from tests.chain.harness import fresh_signer
from tests.desk import ETHER, NOW, Desk, make_officer
from transactions.chain.bodies import read_transfers
from transactions.chain.types import BlockTransfer
from transactions.models import BlockContent, BookedTransfer, Deposit, Wallet
from transactions.services import booked
from transactions.services.found import book_found
from transactions.services.reserves import prove_reserves
from transactions.services.sweep import order_move
from transactions.services.wallet_care import drain
from transactions.services.wallets import register_wallet

# The reserves are proved on a connection of their own, which sees only what is committed.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def four_confirmations(settings: Settings) -> None:
    settings.CONFIRMATIONS = 4


@pytest.fixture
def opened(desk: Desk) -> Wallet:
    """A wallet opened at block 11, by 3 ether that came in that block; the head is block 15."""
    address = fresh_signer().address
    desk.mine(10)
    desk.pay_in(address, 3 * ETHER)
    desk.mine(5)
    desk.take_in()
    wallet = register_wallet(address, chain=desk.chain)
    assert (wallet.opened_at_block, held(wallet)) == (11, 3 * ETHER)
    desk.take_in()
    return wallet


def held(wallet: Wallet) -> int:
    wallet.account.refresh_from_db()
    return -wallet.account.current_balance_in_wei


def held_on_chain(desk: Desk, wallet: Wallet) -> int:
    return desk.chain.balances([wallet.address], block_number=None)[wallet.address]


def go_on(desk: Desk, blocks: int = 6) -> None:
    for _ in range(blocks):
        desk.mine()
        desk.take_in()


def hashes() -> list[str]:
    return list(BookedTransfer.objects.values_list("transaction_hash", flat=True))


class TestWhatComesAgain:
    def test_is_booked_once(self, desk: Desk, opened: Wallet) -> None:
        desk.chain.reorg(6, back_to_pool=True)
        desk.follow()
        opened.refresh_from_db()
        assert opened.opened_at_block == 9
        assert len(hashes()) == 1
        go_on(desk)
        assert held(opened) == held_on_chain(desk, opened) == 3 * ETHER
        assert not Deposit.objects.exists()
        assert prove_reserves(chain=desk.chain).is_clean

    def test_is_booked_once_after_a_second_reorg(self, desk: Desk, opened: Wallet) -> None:
        desk.chain.reorg(6, back_to_pool=True)
        go_on(desk)
        desk.chain.reorg(6 + 7, back_to_pool=True)
        desk.follow()
        opened.refresh_from_db()
        assert opened.opened_at_block == 8
        go_on(desk)
        assert held(opened) == held_on_chain(desk, opened) == 3 * ETHER
        assert prove_reserves(chain=desk.chain).is_clean

    def test_is_booked_once_if_it_was_a_payment_of_the_desks_own(self, desk: Desk) -> None:
        address = fresh_signer().address
        desk.mine(10)
        payment = desk.accept(2 * ETHER, to=address)
        desk.broadcast()
        desk.mine(5)
        desk.take_in()
        wallet = register_wallet(address, chain=desk.chain)
        assert held(wallet) == 2 * ETHER
        desk.chain.reorg(6, back_to_pool=True)
        go_on(desk)
        payment.refresh_from_db()
        assert payment.status == "SUCCESSFUL"
        assert held(wallet) == held_on_chain(desk, wallet) == 2 * ETHER
        assert prove_reserves(chain=desk.chain).is_clean

    def test_that_never_does_is_what_the_wallet_has_less_than_its_books(self, desk: Desk, opened: Wallet) -> None:
        desk.chain.reorg(6)
        go_on(desk)
        assert (held(opened), held_on_chain(desk, opened)) == (3 * ETHER, 0)
        [difference] = prove_reserves(chain=desk.chain).report.differences
        assert difference.subject == f"wallet {opened.address}"


class TestWhatIsNew:
    def test_a_deposit_is_booked_however_low_its_block(self, desk: Desk, opened: Wallet) -> None:
        del desk.chain.blocks[10:]
        hash_ = desk.pay_in(opened.address, 7 * ETHER)
        go_on(desk, 8)
        deposit = Deposit.objects.get()
        assert (deposit.transaction_hash, deposit.block_number, deposit.status) == (hash_, 10, "credited")
        assert (held(opened), held_on_chain(desk, opened)) == (10 * ETHER, 7 * ETHER), "the first 3 never came again"

    def test_what_moves_between_wallets_is_booked(self, desk: Desk, opened: Wallet) -> None:
        desk.chain.reorg(6, back_to_pool=True)
        desk.follow()
        drain(actor=make_officer(), wallet_id=desk.wallet.pk, reason="x", now=NOW)
        assert order_move(desk.wallet, opened, 5 * ETHER, 10**15, NOW)
        desk.run_to_the_end()
        assert held(opened) == held_on_chain(desk, opened) == 8 * ETHER
        desk.assert_books_balance()

    def test_a_deposit_to_an_address_where_ether_was_found_is_credited(self, desk: Desk) -> None:
        wallet = desk.add_deposit_address()
        desk.mine(10)
        desk.chain.set_balance(wallet.address, 2 * ETHER)
        desk.mine(5)
        desk.take_in()
        book_found(
            actor=make_officer(), wallet_id=wallet.pk, amount_in_wei=2 * ETHER, reason="x", request_id="f", now=NOW,
            chain=desk.chain,
        )  # fmt: skip
        wallet.refresh_from_db()
        assert wallet.opened_at_block == 12
        desk.chain.reorg(6)
        desk.pay_in(wallet.address, 5 * ETHER)
        go_on(desk)
        desk.account.refresh_from_db()
        assert desk.account.current_balance_in_wei == (100 + 2 + 5) * ETHER


class TestWhatNobodyKnows:
    def test_staff_are_told_when_a_block_was_not_stored(self, desk: Desk, opened: Wallet) -> None:
        BlockContent.objects.filter(number=11).delete()
        desk.chain.reorg(6, back_to_pool=True)
        desk.follow()
        alert = Alert.objects.get()
        assert (alert.kind, alert.subject) == ("deep_reorg", f"opening of {opened.address}")
        assert "undone blocks from 11 on" in alert.message

    def test_or_when_it_can_not_be_read(self, desk: Desk, opened: Wallet) -> None:
        BlockContent.objects.filter(number=11).update(body=zlib.compress(b"{}"))
        desk.chain.reorg(6, back_to_pool=True)
        desk.follow()
        assert Alert.objects.get().subject == f"opening of {opened.address}"

    def test_nobody_is_told_when_all_is_known(self, desk: Desk, opened: Wallet) -> None:
        desk.chain.reorg(6, back_to_pool=True)
        desk.follow()
        assert not Alert.objects.exists()

    def test_wallets_opened_below_are_left_as_they_are(self, desk: Desk, opened: Wallet) -> None:
        BlockContent.objects.all().delete()
        desk.chain.reorg(4, back_to_pool=True)
        desk.follow()
        opened.refresh_from_db()
        assert (opened.opened_at_block, hashes(), Alert.objects.count()) == (11, [], 0)


def test_blocks_are_unpacked_while_no_account_is_locked(
    desk: Desk, opened: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = desk.accept()
    desk.broadcast()
    go_on(desk)
    accounts = Account.objects.count()
    other = connections.create_connection("default")

    def read_and_lock(body: bytes) -> list[BlockTransfer]:
        with other.cursor() as cursor:
            cursor.execute("SELECT id FROM accounts_account FOR UPDATE NOWAIT")
            locked.append(len(cursor.fetchall()))
        return read_transfers(body)

    locked: list[int] = []
    monkeypatch.setattr(booked, "read_transfers", read_and_lock)
    desk.chain.reorg(len(desk.chain.blocks) - 10, back_to_pool=True)
    desk.follow()
    other.close()
    payment.refresh_from_db()
    assert payment.reversals == 1
    assert len(locked) > 6
    assert set(locked) == {accounts}
