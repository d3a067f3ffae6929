"""Reorgs: a payment whose block leaves the chain is followed anew, sent again, and settled once."""

import pytest
from django.db.models import Max
from pytest_django.fixtures import Settings

from accounts.models import Hold, Journal
from tests.desk import NOW, RECIPIENT, Desk, make_address, stages
from transactions.chain import BlockHeader, ChainUnavailableError
from transactions.chain.exceptions import ChainForkError
from transactions.models import Attempt, Block, Transaction
from transactions.services import blocks
from transactions.services.blocks import record_head, record_numbers
from transactions.services.settle import settle_final


def header(desk: Desk, number: int = -1) -> BlockHeader:
    return desk.chain.blocks[number].header


def recorded() -> dict[int, str]:
    return dict(Block.objects.values_list("number", "hash"))


def on_chain(desk: Desk, first: int = 0) -> dict[int, str]:
    return {block.header.number: block.header.hash for block in desk.chain.blocks[first:]}


class TestRecordHead:
    def test_with_the_first_head_some_blocks_below_are_recorded(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch, settings: Settings
    ) -> None:
        settings.CONFIRMATIONS = 2
        monkeypatch.setattr(blocks, "STEP", 3)
        desk.chain.mine(7)
        assert record_head(desk.chain, header(desk)) == []
        assert recorded() == on_chain(desk, 4)

    def test_the_next_block_and_the_same_one_ask_for_nothing(self, desk: Desk) -> None:
        record_head(desk.chain, header(desk))
        for _ in range(3):
            desk.chain.mine()
            record_head(desk.chain, header(desk))
            record_head(desk.chain, header(desk))
        assert recorded() == on_chain(desk)
        assert not desk.chain.asked

    def test_blocks_between_are_filled_in(self, desk: Desk) -> None:
        record_head(desk.chain, header(desk))
        desk.chain.mine(5)
        record_head(desk.chain, header(desk))
        assert recorded() == on_chain(desk)
        assert desk.chain.asked == {"headers": 1}

    def test_another_block_of_the_same_number_is_a_reorg(self, desk: Desk) -> None:
        for _ in range(3):
            desk.chain.mine()
            record_head(desk.chain, header(desk))
        desk.chain.reorg(2)
        assert header(desk).number == 3
        record_head(desk.chain, header(desk))
        assert recorded() == on_chain(desk)

    def test_a_longer_fork(self, desk: Desk) -> None:
        for _ in range(3):
            desk.chain.mine()
            record_head(desk.chain, header(desk))
        desk.chain.reorg(2)
        desk.chain.mine(2)
        record_head(desk.chain, header(desk))
        assert recorded() == on_chain(desk)

    def test_a_shorter_fork_forgets_what_was_above(self, desk: Desk) -> None:
        for _ in range(5):
            desk.chain.mine()
            record_head(desk.chain, header(desk))
        desk.chain.reorg(4)
        desk.chain.blocks = desk.chain.blocks[:4]
        record_head(desk.chain, header(desk))
        assert recorded() == on_chain(desk)
        assert set(recorded()) == {0, 1, 2, 3}

    def test_a_wide_gap_is_walked_in_stages_without_leaving_a_block_out(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(blocks, "WALK_MAX", 8)
        record_head(desk.chain, header(desk))
        desk.chain.mine(20)
        for walked in (8, 16, 20):
            record_head(desk.chain, header(desk))
            assert set(recorded()) == set(range(walked + 1))
        assert recorded() == on_chain(desk)

    def test_a_fork_below_all_that_is_recorded_is_no_chain_of_ours(self, desk: Desk) -> None:
        desk.chain.mine(9)
        record_head(desk.chain, header(desk))
        Block.objects.filter(number__lt=5).delete()
        desk.chain.reorg(6)
        before = recorded()
        with pytest.raises(ChainForkError):
            record_head(desk.chain, header(desk))
        assert recorded() == before

    def test_a_fork_is_found_however_far_down(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(blocks, "STEP", 3)
        record_head(desk.chain, header(desk))
        desk.chain.mine(20)
        record_head(desk.chain, header(desk))
        desk.chain.reorg(13)
        desk.chain.mine(2)
        record_head(desk.chain, header(desk))
        assert recorded() == on_chain(desk)

    def test_blocks_that_the_node_can_not_give_are_no_reason_to_take_anything_back(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        payment = desk.accept()
        desk.broadcast()
        desk.mine()
        desk.chain.mine(5)
        with monkeypatch.context() as patch:
            patch.setattr(desk.chain, "headers", lambda numbers: {})
            assert record_head(desk.chain, header(desk)) == []
        assert stages([payment]) == ["MINED"]
        desk.mine(10)
        assert stages([payment]) == ["SETTLED"]

    def test_a_node_that_dies_while_blocks_are_compared_changes_nothing(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        payment = desk.accept()
        desk.broadcast()
        desk.mine(3)
        before = recorded()
        desk.chain.reorg(3)

        def die(_numbers: object) -> dict[int, BlockHeader]:
            raise ChainUnavailableError

        with monkeypatch.context() as patch:
            patch.setattr(desk.chain, "headers", die)
            with pytest.raises(ChainUnavailableError):
                desk.follow()
        assert recorded() == before
        assert stages([payment]) == ["MINED"]
        desk.follow()
        assert stages([payment]) == ["BROADCAST"]

    def test_numbers_known_are_not_asked_for_again(self, desk: Desk) -> None:
        desk.chain.mine(3)
        desk.follow()
        Block.objects.filter(number__lt=3).delete()
        desk.chain.asked.clear()
        record_numbers(desk.chain, {1, 2, 99})
        assert set(recorded()) == {1, 2, 3}
        record_numbers(desk.chain, {1, 2})
        assert desk.chain.asked == {"headers": 1}


class TestReorg:
    def test_a_mined_payment_goes_back_and_lands_in_another_block(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        desk.mine(3)
        old = Transaction.objects.get()
        desk.chain.reorg(3, back_to_pool=True)

        desk.follow()

        payment.refresh_from_db()
        assert (payment.stage, payment.status) == ("BROADCAST", "PENDING")
        assert (payment.block_number, payment.block_hash, payment.succeeded_on_chain) == (None, "", None)
        assert (payment.transaction_fee_blockchain_in_wei, payment.mined_at) == (None, None)
        assert (payment.transaction_hash, payment.nonce) == (old.transaction_hash, old.nonce), "the same payment"
        assert Hold.objects.get().status == "held"
        desk.mine()
        payment.refresh_from_db()
        assert (payment.stage, payment.block_number) == ("MINED", 4)
        desk.run_to_the_end()
        desk.assert_paid_once([payment])
        assert Attempt.objects.count() == 1
        desk.assert_books_balance()

    def test_one_that_the_pool_has_lost_is_sent_again_at_once(self, desk: Desk) -> None:
        payments = desk.accept_many(3)
        desk.broadcast()
        desk.mine(3)
        desk.chain.reorg(3)
        assert not desk.chain.pool
        desk.follow()
        assert stages(payments) == ["BROADCAST"] * 3
        assert sorted(tx.nonce for tx in desk.chain.pool.values()) == [0, 1, 2]
        assert [attempt.sends for attempt in Attempt.objects.all()] == [2, 2, 2]
        desk.run_to_the_end()
        desk.assert_paid_once(payments)
        desk.assert_books_balance()

    def test_one_that_could_not_be_sent_again_is_found_by_the_watchdogs_tool(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        payment = desk.accept()
        desk.broadcast()
        desk.mine(3)
        desk.chain.reorg(3)
        desk.chain.refuse("not now")
        desk.follow()
        assert not desk.chain.pool
        payment.refresh_from_db()
        assert (payment.stage, payment.wait_reason) == ("BROADCAST", ""), "it waits for a block, as told before"
        desk.reconcile(payment)
        assert len(desk.chain.pool) == 1
        desk.run_to_the_end()
        desk.assert_paid_once([payment])
        desk.assert_books_balance()

    def test_a_success_that_becomes_a_revert_is_a_failure(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        desk.mine(5)
        assert Transaction.objects.get().succeeded_on_chain is True
        desk.chain.reorg(5)
        desk.chain.reverting.add(RECIPIENT)
        desk.run_to_the_end()
        payment.refresh_from_db()
        assert (payment.status, payment.failure_reason) == ("FAILED", "reverted")
        assert Hold.objects.get().status == "released"
        desk.account.refresh_from_db()
        assert desk.account.available_balance_in_wei == 100 * 10**18
        desk.assert_paid_once([])
        desk.assert_books_balance()

    def test_a_revert_that_becomes_a_success_is_paid(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        desk.chain.reverting.add(RECIPIENT)
        desk.mine(5)
        assert Transaction.objects.get().succeeded_on_chain is False
        desk.chain.reverting.clear()
        desk.chain.reorg(5)
        desk.run_to_the_end()
        payment.refresh_from_db()
        assert payment.status == "SUCCESSFUL"
        desk.assert_paid_once([payment])
        desk.assert_books_balance()

    def test_at_nine_confirmations_it_still_undoes_nothing_final(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        desk.mine(9)
        assert stages([payment]) == ["MINED"]
        desk.chain.reorg(9)
        desk.chain.mine()
        assert desk.follow() == 0, "the block of this height is another one now"
        assert not Journal.objects.filter(kind="settlement").exists()
        desk.run_to_the_end()
        desk.assert_paid_once([payment])
        desk.assert_books_balance()

    def test_the_blocks_below_are_left_alone(self, desk: Desk) -> None:
        early = desk.accept(to=make_address())
        desk.broadcast()
        desk.mine(2)
        late = desk.accept(to=make_address())
        desk.broadcast()
        desk.mine(2)
        desk.chain.reorg(2)
        desk.follow()
        assert stages([early, late]) == ["MINED", "BROADCAST"]
        desk.run_to_the_end()
        desk.assert_paid_once([early, late])
        desk.assert_books_balance()

    def test_what_was_settled_above_the_reorg_stays(self, desk: Desk) -> None:
        settled = desk.accept(to=make_address())
        desk.broadcast()
        desk.mine(10)
        assert stages([settled]) == ["SETTLED"]
        waiting = desk.accept(to=make_address())
        desk.broadcast()
        desk.mine(2)
        desk.chain.reorg(3)
        desk.run_to_the_end()
        desk.assert_paid_once([settled, waiting])
        desk.assert_books_balance()

    def test_a_chain_that_became_shorter_no_longer_holds_what_was_above(self, desk: Desk) -> None:
        desk.mine(4)
        payment = desk.accept()
        desk.broadcast()
        desk.mine(2)
        desk.chain.reorg(4)
        desk.chain.blocks = desk.chain.blocks[:5]
        desk.follow()
        assert stages([payment]) == ["BROADCAST"]
        desk.run_to_the_end()
        desk.assert_paid_once([payment])
        desk.assert_books_balance()

    def test_deeper_than_is_compared_at_a_time(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch, settings: Settings
    ) -> None:
        monkeypatch.setattr(blocks, "STEP", 3)
        settings.CONFIRMATIONS = 20
        payments = desk.accept_many(2)
        desk.broadcast()
        desk.mine(12)
        desk.chain.reorg(12, back_to_pool=True)
        desk.follow()
        assert stages(payments) == ["BROADCAST"] * 2
        desk.mine()
        assert stages(payments) == ["MINED"] * 2
        assert set(Transaction.objects.values_list("block_number", flat=True)) == {13}
        desk.run_to_the_end()
        desk.assert_paid_once(payments)
        desk.assert_books_balance()

    def test_reorgs_one_after_the_other(self, desk: Desk) -> None:
        payments = desk.accept_many(4)
        for depth in (1, 3, 2, 5, 1):
            desk.broadcast()
            desk.mine(6)
            desk.chain.reorg(depth, back_to_pool=depth % 2 == 0)
            desk.follow()
            desk.assert_books_balance()
        desk.run_to_the_end()
        desk.assert_paid_once(payments)
        desk.assert_books_balance()
        assert Block.objects.aggregate(top=Max("number"))["top"] == header(desk).number


class TestAStaleReceipt:
    """Behind one address there may be many nodes: a receipt may be of a block that another one has just replaced."""

    def test_it_settles_nothing_and_the_next_block_puts_it_right(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        desk.mine()
        Transaction.objects.update(block_hash="0x" + "bb" * 32)
        assert settle_final(1_000, NOW) == 0
        assert stages([payment]) == ["MINED"]
        assert not Journal.objects.filter(kind="settlement").exists()
        desk.mine()
        assert Transaction.objects.get().block_hash != "0x" + "bb" * 32
        desk.run_to_the_end()
        desk.assert_paid_once([payment])
        desk.assert_books_balance()
