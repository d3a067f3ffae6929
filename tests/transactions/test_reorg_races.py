"""A reorg, and somebody who looks at the new chain before the follower does: no settlement by a block that left."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
from django.db import connection, connections
from django.utils import timezone
from pytest_django.fixtures import Settings

from accounts.models import Journal
from tests.desk import ETHER, NOW, Desk
from transactions.models import Block, Deposit, Transaction, Wallet
from transactions.services import settle
from transactions.services.settle import settle_final


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


def wait_for_a_waiter() -> None:
    """Return when some connection waits for a lock of ours."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with connection.cursor() as cursor:
            # A database transaction sees the connections of its first look, else.
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pg_backend_pid() = "
                           "ANY(pg_blocking_pids(pid)))")  # fmt: skip
            if cursor.fetchone()[0]:
                return
    raise AssertionError("Nobody came to wait.")


@pytest.mark.django_db(transaction=True)
def test_who_settles_while_the_branch_changes_is_waited_for_and_reversed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    """The settler holds the payment's row and is about to lock its account, of which a deposit is taken back too."""
    settings.CONFIRMATIONS = 4
    desk.mine(2)
    desk.pay_in(desk.add_deposit_address().address, 5 * ETHER)
    desk.mine()
    desk.take_in()
    payment = desk.accept()
    desk.broadcast()
    desk.mine(3)
    payment.refresh_from_db()
    assert (payment.stage, Deposit.objects.get().status) == ("MINED", "credited")
    has_locked = Event()
    settle_rows = settle._settle_rows

    def settle_late(*arguments: Any) -> None:
        has_locked.set()
        wait_for_a_waiter()
        settle_rows(*arguments)

    def settle_elsewhere(ids: Sequence[int]) -> int:
        try:
            return settle_final(payment.block_number or 0, NOW, only_ids=ids)
        finally:
            connections.close_all()

    monkeypatch.setattr(settle, "_settle_rows", settle_late)
    with ThreadPoolExecutor(1) as thread:
        settled = thread.submit(settle_elsewhere, [payment.pk])
        assert has_locked.wait(20)
        desk.chain.reorg(5)
        desk.chain.mine(2)
        desk.follow()
        assert settled.result(timeout=20) == 1
    monkeypatch.undo()

    payment.refresh_from_db()
    assert (payment.stage, payment.reversals) == ("BROADCAST", 1)
    assert Deposit.objects.get().status == "gone"
    kinds = Journal.objects.filter(kind__in=["settlement", "reversal", "deposit_reversal"]).order_by("id")
    assert list(kinds.values_list("kind", flat=True)) == ["settlement", "reversal", "deposit_reversal"]
    desk.run_to_the_end()
    desk.assert_books_balance()
