"""A reorg, and somebody who looks at the new chain before the follower does: no settlement by a block that left."""

from django.utils import timezone

from tests.desk import Desk
from transactions.models import Block, Transaction, Wallet


def test_a_reconcile_of_another_payment_does_not_hide_a_reorg(desk: Desk) -> None:
    desk.mine()
    first = desk.accept(1)
    desk.broadcast()
    desk.mine()
    second = desk.accept(2)
    desk.broadcast()
    desk.chain.reorg(1, back_to_pool=True)
    desk.chain.mine()

    desk.reconcile(second)
    desk.run_to_the_end()

    on_chain = {block.header.hash for block in desk.chain.blocks}
    assert set(Transaction.objects.values_list("block_hash", flat=True)) <= on_chain
    desk.assert_paid_once([first, second])
    desk.assert_books_balance()


def test_a_payment_whose_bytes_a_reorg_lost_is_not_taken_for_paid(desk: Desk) -> None:
    other = desk.add_wallet()
    desk.mine(2)
    lost = desk.accept(1)
    desk.broadcast()
    desk.mine()
    Wallet.objects.exclude(pk=other.pk).update(paused_at=timezone.now(), paused_reason="A test.")
    mined = desk.accept(2)
    desk.broadcast()
    desk.chain.reorg(1)
    desk.chain.mine()

    desk.reconcile(mined)
    desk.run_to_the_end()

    on_chain = {tx.hash for tx, _ in desk.chain.mined}
    assert set(Transaction.objects.values_list("transaction_hash", flat=True)) == on_chain
    lost.refresh_from_db()
    assert lost.status == "SUCCESSFUL"
    desk.assert_books_balance()


def test_a_receipt_of_a_block_that_was_never_walked_to_is_taken_back(desk: Desk) -> None:
    """The block came between the follower's view and its receipts, and was replaced before the next view."""
    desk.mine()
    payment = desk.accept()
    desk.broadcast()
    walked = Block.newest_number()
    desk.chain.mine()
    desk.reconcile(payment)
    Block.objects.filter(number__gt=walked).delete()  # As if only the receipt had been read.
    desk.chain.reorg(1, back_to_pool=True)
    desk.mine()

    desk.run_to_the_end()

    payment.refresh_from_db()
    assert payment.block_hash in {block.header.hash for block in desk.chain.blocks}
    desk.assert_paid_once([payment])
