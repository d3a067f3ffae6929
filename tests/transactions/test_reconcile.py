"""Reconcile one payment: whatever its next step is, taken now, and never twice."""

import pytest

from accounts.models import Hold, Journal
from tests.desk import NOW, RECIPIENT, Desk, make_address, make_officer, stages
from transactions.chain import ChainUnavailableError
from transactions.exceptions import TransactionNotFoundError
from transactions.models import Attempt, Block, Transaction
from transactions.services.approvals import approve_payment
from transactions.services.reconcile import reconcile_transaction
from transactions.states import Stage


def test_from_acceptance_to_the_ledger_without_broadcaster_and_follower(desk: Desk) -> None:
    payment = desk.accept()
    assert desk.reconcile(payment) == Stage.BROADCAST
    desk.chain.mine()
    assert desk.reconcile(payment) == Stage.MINED
    desk.chain.mine(8)
    assert desk.reconcile(payment) == Stage.MINED, "nine confirmations"
    desk.chain.mine()
    assert desk.reconcile(payment) == Stage.SETTLED
    assert desk.reconcile(payment) == Stage.SETTLED
    payment.refresh_from_db()
    assert (payment.status, payment.mined_at, payment.settled_at) == ("SUCCESSFUL", NOW, NOW)
    desk.assert_paid_once([payment])
    desk.assert_books_balance()


def test_for_one_that_waits_for_approval_there_is_nothing_to_do(desk: Desk) -> None:
    payment = desk.accept_for_review()
    with desk.chain.outage():
        assert desk.reconcile(payment) == Stage.REVIEW
    approve_payment(actor=make_officer(), transaction_id=payment.pk, now=NOW)
    assert desk.reconcile(payment) == Stage.BROADCAST


def test_all_in_one_go_when_it_is_late(desk: Desk) -> None:
    payment = desk.accept()
    desk.broadcast()
    desk.chain.mine(15)
    assert desk.reconcile(payment) == Stage.SETTLED
    desk.assert_books_balance()


def test_a_revert(desk: Desk) -> None:
    payment = desk.accept()
    desk.broadcast()
    desk.chain.reverting.add(RECIPIENT)
    desk.chain.mine(10)
    assert desk.reconcile(payment) == Stage.SETTLED
    payment.refresh_from_db()
    assert (payment.status, payment.failure_reason) == ("FAILED", "reverted")
    assert Hold.objects.get().status == "released"
    desk.assert_books_balance()


def test_only_this_payment_is_settled(desk: Desk) -> None:
    first, second = desk.accept_many(2)
    desk.broadcast()
    desk.chain.mine(15)
    assert desk.reconcile(second) == Stage.SETTLED
    assert stages([first, second]) == ["BROADCAST", "SETTLED"]
    desk.run_to_the_end()
    desk.assert_paid_once([first, second])
    desk.assert_books_balance()


def test_not_even_those_that_are_as_deep(desk: Desk) -> None:
    first, second = desk.accept_many(2)
    desk.broadcast()
    desk.mine()
    desk.chain.mine(15)
    assert desk.reconcile(second) == Stage.SETTLED
    assert stages([first, second]) == ["MINED", "SETTLED"]


@pytest.mark.parametrize("stage", ["SIGNED", "BROADCAST"])
def test_what_the_pool_has_dropped_is_sent_again(desk: Desk, stage: str) -> None:
    payment = desk.accept()
    if stage == "SIGNED":
        desk.chain.lose_answers()
    desk.broadcast()
    [sent] = desk.chain.pool
    desk.chain.drop(sent)
    assert stages([payment]) == [stage]
    assert desk.reconcile(payment) == Stage.BROADCAST
    assert list(desk.chain.pool) == [sent], "the very same transaction"
    assert Attempt.objects.get().sends == 2
    desk.run_to_the_end()
    desk.assert_paid_once([payment])
    desk.assert_books_balance()


def test_a_receipt_that_lags_is_no_reason_to_send_again(desk: Desk) -> None:
    payment = desk.accept()
    desk.broadcast()
    desk.chain.receipts_lag_blocks = 2
    desk.chain.mine()
    assert desk.reconcile(payment) == Stage.BROADCAST
    assert Attempt.objects.get().sends == 1
    desk.chain.mine(2)
    assert desk.reconcile(payment) == Stage.MINED


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_node_that_is_down_decides_nothing(desk: Desk, steps: int) -> None:
    payment = desk.accept()
    if steps >= 1:
        desk.broadcast()
    if steps == 2:
        desk.mine()
    before = stages([payment])
    with desk.chain.outage():
        if steps == 0:
            assert desk.reconcile(payment) == Stage.ACCEPTED
        else:
            with pytest.raises(ChainUnavailableError):
                desk.reconcile(payment)
    assert stages([payment]) == before
    assert Hold.objects.get().status == "held"
    assert not Journal.objects.filter(kind="settlement").exists()
    desk.run_to_the_end()
    desk.assert_paid_once([payment])


class TestReorg:
    def test_a_block_that_left_the_chain_takes_its_payment_back_and_sends_it_again(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        desk.mine(12 - 3)
        desk.chain.reorg(9)
        desk.chain.mine(5)
        desk.chain.blocks[-1].nonces[desk.wallet.address] = 0
        assert desk.reconcile(payment) == Stage.BROADCAST
        assert Block.objects.get(number=1).hash == desk.chain.blocks[1].header.hash
        assert len(desk.chain.pool) == 1
        desk.run_to_the_end()
        desk.assert_paid_once([payment])
        desk.assert_books_balance()

    def test_the_follower_can_not_settle_by_the_old_record_afterwards(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        desk.mine(9)
        desk.chain.reorg(9, back_to_pool=True)
        desk.reconcile(payment)
        # One block more: by the old record that would have been the tenth confirmation.
        desk.mine()
        assert stages([payment]) == ["MINED"]
        payment.refresh_from_db()
        assert payment.block_number == 10
        desk.run_to_the_end()
        desk.assert_paid_once([payment])
        desk.assert_books_balance()

    def test_a_block_that_the_node_does_not_have_yet_says_nothing(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        desk.mine(5)
        blocks = desk.chain.blocks
        desk.chain.blocks = blocks[:1]
        assert desk.reconcile(payment) == Stage.MINED
        desk.chain.blocks = blocks
        desk.run_to_the_end()
        desk.assert_books_balance()

    def test_a_block_that_was_never_recorded_is_recorded(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        desk.mine()
        Block.objects.all().delete()
        desk.chain.mine(10)
        assert desk.reconcile(payment) == Stage.SETTLED
        desk.assert_books_balance()


def test_a_rejected_payment_is_final(desk: Desk) -> None:
    refusing = make_address()
    desk.chain.reverting.add(refusing)
    payment = desk.accept(to=refusing)
    assert desk.reconcile(payment) == Stage.SETTLED
    payment.refresh_from_db()
    assert payment.failure_reason == "rejected"
    desk.assert_books_balance()


def test_none_of_that_number(desk: Desk) -> None:
    with pytest.raises(TransactionNotFoundError):
        reconcile_transaction(10**9, NOW, chain=desk.chain)
    assert Transaction.objects.count() == 0
