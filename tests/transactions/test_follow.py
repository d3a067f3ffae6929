"""Follow: what a block says about our payments is recorded once it says so, and silence says nothing."""

import datetime as dt
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections
from django.utils import timezone
from pytest_django.fixtures import Settings

from accounts.cache import cache_commands
from accounts.keys import sign_transfers
from accounts.models import Hold
from tests.chain.harness import fresh_signer, transfer
from tests.desk import GWEI, NETWORK_FEE, RECIPIENT, Desk, stages
from tests.fakes.chain import FakeChain
from transactions.chain import ChainUnavailableError
from transactions.detail import HEAD_KEY
from transactions.models import Attempt, Block, Transaction
from transactions.services import follow
from transactions.services.follow import follow_chain


class TestMined:
    def test_the_row_says_where_and_how(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        before = timezone.now()
        desk.mine()
        payment.refresh_from_db()
        [(sent, receipt)] = desk.chain.mined
        assert (payment.stage, payment.status) == ("MINED", "PENDING")
        assert (payment.block_number, payment.block_hash) == (1, desk.chain.blocks[1].header.hash)
        assert (payment.succeeded_on_chain, payment.transaction_hash) == (True, sent.hash)
        assert payment.transaction_fee_blockchain_in_wei == receipt.network_fee_in_wei == NETWORK_FEE
        assert payment.mined_at is not None
        assert before <= payment.mined_at <= timezone.now()
        assert payment.settled_at is None
        block = Block.objects.get(number=1)
        assert (block.hash, block.parent_hash) == (payment.block_hash, desk.chain.blocks[0].header.hash)
        assert Hold.objects.get().status == "held", "mined is not final"
        desk.assert_books_balance()

    def test_a_revert_is_mined_too(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        desk.chain.reverting.add(RECIPIENT)
        desk.mine()
        payment.refresh_from_db()
        assert (payment.stage, payment.status, payment.succeeded_on_chain) == ("MINED", "PENDING", False)

    def test_what_is_not_in_the_block_stays(self, desk: Desk) -> None:
        first, second = payments = desk.accept_many(2)
        desk.broadcast()
        desk.chain.mine(only=[Transaction.objects.get(pk=first.pk).transaction_hash or ""])
        desk.follow()
        assert stages(payments) == ["MINED", "BROADCAST"]
        desk.mine()
        assert stages([second]) == ["MINED"]

    def test_an_answer_that_was_lost_does_not_matter_once_it_is_mined(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.chain.lose_answers()
        desk.broadcast()
        assert stages([payment]) == ["SIGNED"]
        desk.mine()
        payment.refresh_from_db()
        assert (payment.stage, payment.broadcast_at, payment.wait_reason) == ("MINED", None, "")
        desk.run_to_the_end()
        desk.assert_paid_once([payment])
        desk.assert_books_balance()

    def test_of_several_attempts_the_mined_one_counts(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        [attempt] = Attempt.objects.all()
        Attempt.objects.create(
            wallet=desk.wallet,
            nonce=0,
            transaction=payment,
            hash="0x" + "ee" * 32,
            raw_transaction=b"\x02",
            gas_limit=21_000,
            max_fee_per_gas_in_wei=9 * GWEI,
            max_priority_fee_per_gas_in_wei=GWEI,
        )
        Transaction.objects.update(transaction_hash="0x" + "ee" * 32)
        desk.mine()
        payment.refresh_from_db()
        assert (payment.stage, payment.transaction_hash) == ("MINED", attempt.hash)


class TestSilence:
    def test_receipts_that_lag_behind_the_head(self, desk: Desk) -> None:
        payments = desk.accept_many(3)
        desk.broadcast()
        desk.chain.receipts_lag_blocks = 2
        desk.mine(2)
        assert stages(payments) == ["BROADCAST"] * 3
        desk.mine()
        assert stages(payments) == ["MINED"] * 3

    def test_a_node_that_is_down(self, desk: Desk) -> None:
        payments = desk.accept_many(2)
        desk.broadcast()
        desk.chain.mine()
        with desk.chain.outage(), pytest.raises(ChainUnavailableError):
            desk.follow()
        assert stages(payments) == ["BROADCAST"] * 2
        desk.follow()
        assert stages(payments) == ["MINED"] * 2

    def test_a_node_that_goes_down_between_view_and_receipts(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        payments = desk.accept_many(2)
        desk.broadcast()
        desk.chain.mine()

        def refuse(_hashes: object) -> object:
            raise ChainUnavailableError

        with monkeypatch.context() as patch:
            patch.setattr(desk.chain, "receipts", refuse)
            with pytest.raises(ChainUnavailableError):
                desk.follow()
        assert stages(payments) == ["BROADCAST"] * 2
        desk.mine(10)
        assert stages(payments) == ["SETTLED"] * 2
        desk.assert_books_balance()

    def test_a_node_that_has_fallen_behind_takes_nothing_back(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        desk.mine(5)
        blocks = desk.chain.blocks
        for kept in (3, 1):
            desk.chain.blocks = blocks[:kept]
            desk.follow()
            assert stages([payment]) == ["MINED"]
            assert Block.objects.count() == 6
        desk.chain.blocks = blocks
        desk.mine(5)
        assert stages([payment]) == ["SETTLED"]
        desk.assert_books_balance()

    def test_a_node_that_has_fallen_behind_settles_nothing_early(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        desk.mine(9)
        desk.chain.mine()
        blocks = desk.chain.blocks
        desk.chain.blocks = blocks[:-1]
        assert desk.follow() == 0
        desk.chain.blocks = blocks
        assert desk.follow() == 1
        assert stages([payment]) == ["SETTLED"]


@pytest.fixture
def at_the_head(desk: Desk) -> None:
    """The follower has begun: what it asks for to begin with is not asked for again."""
    desk.follow()
    desk.chain.asked.clear()


@pytest.mark.usefixtures("at_the_head")
class TestQuestions:
    def test_a_block_with_nothing_of_ours_costs_one(self, desk: Desk) -> None:
        desk.chain.mine()
        desk.follow()
        assert desk.chain.asked == {"view": 1}

    def test_nor_do_payments_whose_nonce_no_block_has_used(self, desk: Desk) -> None:
        payments = desk.accept_many(3)
        desk.broadcast()
        desk.chain.asked.clear()
        desk.chain.mine(empty=True)
        desk.follow()
        assert desk.chain.asked == {"view": 1}
        assert stages(payments) == ["BROADCAST"] * 3

    def test_ten_receipts_are_asked_for_by_hash(self, desk: Desk) -> None:
        payments = desk.accept_many(10)
        desk.broadcast()
        desk.chain.asked.clear()
        desk.mine()
        assert stages(payments) == ["MINED"] * 10
        assert desk.chain.asked == {"view": 1, "receipts": 1}

    def test_more_are_asked_for_by_whole_blocks(self, desk: Desk) -> None:
        payments = desk.accept_many(25)
        desk.broadcast()
        desk.chain.asked.clear()
        desk.mine()
        assert stages(payments) == ["MINED"] * 25
        assert desk.chain.asked == {"view": 1, "block_receipts": 1}
        desk.run_to_the_end()
        desk.assert_paid_once(payments)
        desk.assert_books_balance()

    def test_a_follower_that_keeps_up_looks_into_the_new_blocks_alone(self, desk: Desk) -> None:
        desk.mine()
        payments = desk.accept_many(25)
        desk.broadcast()
        desk.chain.asked.clear()
        desk.mine()
        assert stages(payments) == ["MINED"] * 25
        assert desk.chain.asked == {"view": 1, "block_receipts": 1}

    def test_what_the_new_blocks_do_not_hold_is_looked_for_elsewhere(self, desk: Desk) -> None:
        desk.mine()
        payments = desk.accept_many(25)
        desk.broadcast()
        desk.chain.receipts_lag_blocks = 1
        desk.mine()
        assert stages(payments) == ["BROADCAST"] * 25
        desk.chain.receipts_lag_blocks = 0
        desk.mine()
        assert stages(payments) == ["MINED"] * 25

    def test_by_hash_where_the_node_has_no_receipts_of_whole_blocks(self, desk: Desk) -> None:
        desk.chain.has_block_receipts = False
        payments = desk.accept_many(25)
        desk.broadcast()
        desk.chain.asked.clear()
        desk.mine()
        assert stages(payments) == ["MINED"] * 25
        assert desk.chain.asked["receipts"] == 2

    def test_by_hash_where_few_of_ours_are_spread_over_many_blocks(self, desk: Desk) -> None:
        payments = desk.accept_many(12)
        desk.broadcast()
        for payment in Transaction.objects.order_by("nonce"):
            desk.chain.mine(only=[payment.transaction_hash or ""])
        desk.chain.asked.clear()
        desk.follow()
        assert stages(payments) == ["SETTLED"] * 3 + ["MINED"] * 9
        assert "block_receipts" not in desk.chain.asked
        assert [row.block_number for row in Transaction.objects.order_by("pk")] == list(range(1, 13))

    def test_what_others_paid_in_the_same_block_is_not_ours(self, desk: Desk) -> None:
        payments = desk.accept_many(12)
        desk.broadcast()
        stranger = fresh_signer()
        desk.chain.set_balance(stranger.address, 10**18)
        [theirs] = sign_transfers(stranger, [transfer(nonce=0, to_address=RECIPIENT)])
        desk.chain.send_raw([theirs.raw], [theirs.hash])
        desk.mine()
        assert stages(payments) == ["MINED"] * 12
        assert Transaction.objects.count() == 12
        assert theirs.hash in {receipt.transaction_hash for _, receipt in desk.chain.mined}

    def test_at_most_so_many_at_once_and_the_rest_with_the_next_block(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(follow, "ATTEMPTS_MAX", 3)
        payments = desk.accept_many(5)
        desk.broadcast()
        desk.mine()
        assert stages(payments) == ["MINED"] * 3 + ["BROADCAST"] * 2
        desk.mine()
        assert stages(payments) == ["MINED"] * 5

    def test_two_wallets_are_one_question(self, desk: Desk) -> None:
        desk.add_wallet()
        desk.chain.set_balance(desk.wallet.address, 999 * 10**18)
        payments = [desk.accept(2 * 10**18), desk.accept(10**18)]
        desk.broadcast()
        assert len(set(Transaction.objects.values_list("wallet_id", flat=True))) == 2
        desk.chain.asked.clear()
        desk.mine()
        assert stages(payments) == ["MINED"] * 2
        assert desk.chain.asked["view"] == 1


class TestTheFollower:
    def test_a_long_absence_is_caught_up_with(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        desk.follow()
        desk.chain.mine(300)
        assert desk.follow() == 1
        assert stages([payment]) == ["SETTLED"]
        numbers = set(Block.objects.values_list("number", flat=True))
        assert {1, 300} <= numbers, "the payment's block and the head"
        desk.assert_books_balance()

    def test_readers_hear_of_the_head(self, desk: Desk) -> None:
        desk.chain.mine(3)
        desk.follow()
        assert cache_commands().read([HEAD_KEY]) == {HEAD_KEY: {"number": 3}}

    def test_old_blocks_are_forgotten_but_not_those_that_payments_wait_in(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch, settings: Settings
    ) -> None:
        settings.CONFIRMATIONS = 1_000
        monkeypatch.setattr("transactions.services.blocks.KEPT", 50)
        payment = desk.accept()
        desk.broadcast()
        desk.mine(99)
        desk.take_in()
        desk.mine()
        assert stages([payment]) == ["MINED"]
        assert set(Block.objects.values_list("number", flat=True)) == {1, *range(50, 101)}

    @pytest.mark.django_db(transaction=True)
    def test_only_one_follows_at_a_time(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        payment = desk.accept()
        desk.broadcast()
        desk.mine(9)
        desk.chain.mine()
        view = desk.chain.view
        others: list[tuple[int, int]] = []

        def follow_elsewhere() -> tuple[int, int]:
            chain = FakeChain()
            try:
                return follow_chain(chain), chain.asked.total()
            finally:
                connections.close_all()

        def look(*args: object, **kwargs: object) -> object:
            with ThreadPoolExecutor(1) as thread:
                others.append(thread.submit(follow_elsewhere).result(timeout=20))
            return view(*args, **kwargs)  # type: ignore[arg-type]

        monkeypatch.setattr(desk.chain, "view", look)
        assert desk.follow() == 1
        assert others == [(0, 0)]
        assert stages([payment]) == ["SETTLED"]

    def test_what_staff_were_told_to_look_at_is_followed_all_the_same(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        Transaction.objects.update(needs_attention=True, next_check_at=None, checks_done=32)
        desk.mine(10)
        payment.refresh_from_db()
        assert (payment.status, payment.needs_attention) == ("SUCCESSFUL", False)

    def test_times_are_those_of_the_steps(self, desk: Desk) -> None:
        payment = desk.accept(now=timezone.now() - dt.timedelta(minutes=1))
        desk.run_to_the_end()
        payment.refresh_from_db()
        times = [payment.accepted_at, payment.signed_at, payment.broadcast_at, payment.mined_at, payment.settled_at]
        known = [time for time in times if time is not None]
        assert len(known) == 5
        assert known == sorted(known)
