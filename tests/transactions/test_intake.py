"""Taking in blocks: each is stored whole, checked, and searched for what it brings to the desk's addresses, once."""

import datetime as dt
from typing import Any

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from accounts.models import Alert
from tests.desk import ETHER, FEE, Desk, make_address, write_keystore
from transactions.chain import BlockBody, ChainReplyError, ChainUnavailableError
from transactions.models import Block, BlockContent, Deposit
from transactions.services import intake
from transactions.services.intake import claim_blocks, fetch_block, record_block, record_transfers
from transactions.services.wallets import register_wallet

LATER = dt.timedelta(seconds=21)


@pytest.fixture(autouse=True)
def two_confirmations(settings: Settings) -> None:
    settings.CONFIRMATIONS = 2


def newest() -> tuple[int, str]:
    block = Block.objects.latest("number")
    return block.number, block.hash


def found() -> list[tuple[str, int, str]]:
    return list(Deposit.objects.order_by("id").values_list("wallet__address", "amount_in_wei", "status"))


class TestClaims:
    def test_the_oldest_come_first_and_nobody_else_gets_them(self, desk: Desk) -> None:
        desk.mine(5)
        now = timezone.now()
        assert [block.number for block in claim_blocks(2, now)] == [0, 1]
        assert [block.number for block in claim_blocks(6, now)] == [2, 3, 4, 5]

    def test_no_more_at_once_than_was_said_however_long_they_take(self, desk: Desk) -> None:
        desk.mine(5)
        now = timezone.now()
        assert len(claim_blocks(3, now)) == 3
        assert claim_blocks(3, now) == []

    def test_what_did_not_end_is_begun_anew_after_a_while(self, desk: Desk) -> None:
        desk.mine(2)
        now = timezone.now()
        claimed = claim_blocks(3, now)
        assert claim_blocks(3, now + dt.timedelta(seconds=19)) == []
        assert claim_blocks(3, now + LATER) == claimed

    def test_what_was_taken_in_is_done(self, desk: Desk) -> None:
        desk.mine(2)
        desk.take_in()
        assert claim_blocks(3, timezone.now() + LATER) == []
        assert intake.blocks_to_go() == 0


class TestSteps:
    def test_a_transfer_to_a_deposit_address_is_a_deposit_that_waits(self, desk: Desk) -> None:
        wallet = desk.add_deposit_address()
        transaction_hash = desk.pay_in(wallet.address, 3 * ETHER)
        desk.pay_in(make_address(), 5 * ETHER)
        desk.mine()
        assert desk.take_in() == 1
        deposit = Deposit.objects.get()
        assert (deposit.wallet, deposit.amount_in_wei, deposit.status) == (wallet, 3 * ETHER, "waiting")
        assert (deposit.transaction_hash, deposit.from_public_address) == (transaction_hash, desk.outsider.address)
        assert (deposit.block_number, deposit.block_hash) == newest()
        assert (deposit.credits, deposit.credited_at) == (0, None)

    def test_each_step_twice_is_once(self, desk: Desk) -> None:
        desk.pay_in(desk.add_deposit_address().address)
        desk.mine()
        number, block_hash = newest()
        for _ in range(2):
            fetch_block(number, block_hash, chain=desk.chain)
        assert desk.chain.asked["block_body"] == 1, "what is stored is not fetched again"
        for _ in range(2):
            assert record_block(number, block_hash)
        for _ in range(2):
            assert record_transfers(number, block_hash, chain=desk.chain) == 1
        assert Deposit.objects.count() == 1

    def test_the_raw_block_is_stored_before_anything_is_made_of_it(self, desk: Desk) -> None:
        desk.mine()
        number, block_hash = newest()
        with pytest.raises(BlockContent.DoesNotExist):
            record_transfers(number, block_hash, chain=desk.chain)
        assert Block.objects.get(number=number).taken_in_at is None
        fetch_block(number, block_hash, chain=desk.chain)
        assert BlockContent.objects.get().number == number
        assert not Deposit.objects.exists()

    def test_what_reverted_brought_nothing(self, desk: Desk) -> None:
        wallet = desk.add_deposit_address()
        desk.chain.reverting.add(wallet.address)
        desk.pay_in(wallet.address)
        desk.mine()
        assert desk.take_in() == 0
        assert intake.blocks_to_go() == 0

    def test_a_receipt_that_is_missing_concludes_nothing(self, desk: Desk) -> None:
        desk.pay_in(desk.add_deposit_address().address)
        desk.mine()
        number, block_hash = newest()
        fetch_block(number, block_hash, chain=desk.chain)
        desk.chain.receipts_lag_blocks = 1
        with pytest.raises(ChainUnavailableError):
            record_transfers(number, block_hash, chain=desk.chain)
        assert Block.objects.get(number=number).taken_in_at is None
        desk.chain.receipts_lag_blocks = 0
        assert record_transfers(number, block_hash, chain=desk.chain) == 1

    def test_a_node_that_is_down_concludes_nothing(self, desk: Desk) -> None:
        desk.mine()
        with desk.chain.outage(), pytest.raises(ChainUnavailableError):
            fetch_block(*newest(), chain=desk.chain)
        assert not BlockContent.objects.exists()

    def test_a_block_that_the_node_does_not_have_yet_is_fetched_later(self, desk: Desk) -> None:
        desk.mine()
        with pytest.raises(ChainUnavailableError):
            fetch_block(9, "0x" + "ab" * 32, chain=desk.chain)

    def test_a_payment_to_a_deposit_address_of_the_desk_is_a_deposit_too(self, desk: Desk) -> None:
        wallet = desk.add_deposit_address()
        desk.accept(ETHER, to=wallet.address)
        desk.broadcast()
        desk.mine()
        assert desk.take_in() == 1
        desk.mine(2)
        desk.account.refresh_from_db()
        assert desk.account.current_balance_in_wei == 100 * ETHER - FEE
        desk.assert_books_balance()


class TestOnceMore:
    def test_a_wallet_opened_while_a_block_was_searched_misses_nothing(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        address = write_keystore(77)
        desk.mine(5)
        desk.take_in()
        desk.pay_in(address, 50 * ETHER)
        desk.mine()
        save = intake._save

        def save_late(*arguments: Any) -> int:
            monkeypatch.setattr(intake, "_save", save)
            register_wallet(address, chain=desk.chain)
            return save(*arguments)

        monkeypatch.setattr(intake, "_save", save_late)
        assert desk.take_in() == 0
        assert intake.blocks_to_go() > 0, "that search does not count"
        assert desk.take_in() == 1

    @pytest.mark.parametrize("lacks", [b'"value"', b'"transactions"'])
    def test_what_a_node_gave_without_its_fields_is_asked_for_again(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch, lacks: bytes
    ) -> None:
        desk.pay_in(desk.add_deposit_address().address)
        desk.mine()
        ask = desk.chain.block_body

        def ask_in_vain(number: int) -> BlockBody:
            body = ask(number)
            assert body is not None
            return BlockBody(body.header, body.json.replace(lacks, b'"x"'))

        with monkeypatch.context() as patch:
            patch.setattr(desk.chain, "block_body", ask_in_vain)
            with pytest.raises(ChainReplyError):
                desk.take_in()
        assert desk.take_in(timezone.now() + LATER) == 1

    def test_what_fails_again_and_again_does_not_hold_up_the_rest(self, desk: Desk) -> None:
        desk.mine(3)
        now = timezone.now()
        assert [block.number for block in claim_blocks(2, now)] == [0, 1]
        assert [block.number for block in claim_blocks(2, now + LATER)] == [2, 3]
        assert [block.number for block in claim_blocks(2, now + 2 * LATER)] == [0, 1]


class TestReorg:
    def test_a_block_that_was_replaced_before_it_was_fetched_is_left(self, desk: Desk) -> None:
        desk.pay_in(desk.add_deposit_address().address)
        desk.mine()
        old = newest()
        desk.chain.reorg(1)
        with pytest.raises(ChainUnavailableError):
            fetch_block(*old, chain=desk.chain)
        desk.mine()
        assert not record_block(*old)
        assert desk.take_in() == 0
        assert intake.blocks_to_go() == 0

    def test_one_that_was_replaced_after_it_was_fetched_brings_nothing(self, desk: Desk) -> None:
        desk.pay_in(desk.add_deposit_address().address)
        desk.mine()
        old = newest()
        fetch_block(*old, chain=desk.chain)
        desk.chain.reorg(1)
        desk.mine()
        assert not record_block(*old)
        assert record_transfers(*old, chain=desk.chain) == 0
        assert desk.chain.asked["receipts"] == 0, "they are gone with it"
        assert not Deposit.objects.exists()

    def test_one_that_was_replaced_at_the_last_moment_brings_nothing(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        desk.pay_in(desk.add_deposit_address().address)
        desk.mine()
        old = newest()
        fetch_block(*old, chain=desk.chain)
        asked = desk.chain.receipts

        def receipts_and_a_reorg(hashes: list[str]) -> object:
            answer = asked(hashes)
            desk.chain.reorg(1)
            desk.mine()
            return answer

        monkeypatch.setattr(desk.chain, "receipts", receipts_and_a_reorg)
        assert record_transfers(*old, chain=desk.chain) == 0
        assert not Deposit.objects.exists()

    def test_a_node_whose_block_does_not_connect_is_not_believed(self, desk: Desk) -> None:
        desk.mine(2)
        number, block_hash = newest()
        fetch_block(number, block_hash, chain=desk.chain)
        Block.objects.filter(number=number).update(parent_hash="0x" + "ab" * 32)
        with pytest.raises(ChainReplyError):
            record_block(number, block_hash)

    def test_a_deposit_moves_to_the_block_that_has_it_now(self, desk: Desk) -> None:
        wallet = desk.add_deposit_address()
        desk.pay_in(wallet.address)
        desk.mine()
        desk.take_in()
        desk.chain.reorg(1, back_to_pool=True)
        desk.mine()
        assert found() == [(wallet.address, ETHER, "gone")]
        desk.take_in()
        deposit = Deposit.objects.get()
        assert (deposit.status, deposit.block_number, deposit.block_hash) == ("waiting", *newest())


class TestKeeping:
    def test_old_contents_are_forgotten_but_not_those_that_are_not_taken_in(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(intake, "CONTENT_KEPT_BLOCKS", 3)
        desk.mine(4)
        desk.take_in()
        desk.mine(6)
        waiting = Block.objects.get(number=5)
        fetch_block(waiting.number, waiting.hash, chain=desk.chain)
        intake.forget_old_contents(10)
        assert set(BlockContent.objects.values_list("number", flat=True)) == {5}

    def test_an_alert_when_blocks_wait_for_long_and_its_end(self, desk: Desk) -> None:
        desk.mine()
        block = Block.objects.order_by("number").first()
        assert block is not None
        made_at = dt.datetime.fromtimestamp(block.timestamp, dt.UTC)
        intake.watch_intake(made_at + dt.timedelta(minutes=14))
        assert not Alert.objects.exists()
        intake.watch_intake(made_at + dt.timedelta(minutes=16))
        assert Alert.objects.get(kind="intake_late").resolved_at is None
        desk.take_in()
        intake.watch_intake(made_at + dt.timedelta(minutes=17))
        assert Alert.objects.get(kind="intake_late").resolved_at is not None
