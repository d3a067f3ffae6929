"""Settling in sets by the follower, against one task per payment."""

import time
from collections.abc import Callable, Sequence

from django.conf import settings

from bench.desk import Desk
from bench.figures import Figure, at_median, spread_of
from bench.load import Payer, accept_payments, load_payers, load_wallet
from bench.processors import ProcessorWatch
from bench.watch import settled_times, wait_until_none
from tasks.money import follow, reconcile_transaction
from transactions.chain.client import get_chain
from transactions.models import Wallet
from transactions.services.blocks import record_head
from transactions.services.broadcast import broadcast_payments
from txnsite.stack.anvil import BLOCK_GAS_LIMIT

PAYMENTS_PER_BLOCK = 500
PLAIN_TRANSFER_GAS = 21_000


def measure(desk: Desk, *, quick: bool) -> list[Figure]:
    """Let the same number of payments, mined deep while nobody looked, be settled in both ways by the same workers."""
    repeats, count = (1, 100) if quick else (3, 5_000)
    payers = load_payers(16)
    wallet = load_wallet(desk)
    desk.run(web_workers=None, beat=False)
    _settle(desk, wallet, payers, 20, _start_tasks)

    one_by_one, by_task_note = _settle(desk, wallet, payers, count, _start_tasks)
    runs = [_settle(desk, wallet, payers, count, _start_follower) for _ in range(repeats)]
    in_sets = [rate for rate, _ in runs]
    spread = spread_of([rate / one_by_one for rate in in_sets])
    return [
        Figure(
            row="settled",
            name=f"settled per second, follower over one task per payment, {count:,} payments already deep",
            value=spread.median,
            unit="times",
            target=20,
            spread=spread,
            notes=[
                f"in blocks of {PAYMENTS_PER_BLOCK} payments",
                f"follower {spread_of(in_sets).median:.0f}/s, one reconcile_transaction each {one_by_one:.0f}/s",
                f"follower: {at_median(in_sets, [note for _, note in runs])}",
                f"tasks: {by_task_note}",
            ],
        )
    ]


def _settle(
    desk: Desk, wallet: Wallet, payers: Sequence[Payer], count: int, start_work: Callable[[Sequence[int]], None]
) -> tuple[float, str]:
    """Make payments that are deep in the chain and BROADCAST to the desk; return how many a second were settled."""
    ids = accept_payments(payers, count)
    broadcast_payments()
    wait_until_none(["ACCEPTED", "SIGNED"], timeout_seconds=1)
    _bury(desk, wallet)
    watch = ProcessorWatch(desk)
    start = time.time()
    start_work(ids)
    wait_until_none(["BROADCAST", "MINED"], timeout_seconds=600)
    note = watch.note()
    return count / (max(settled_times(ids).values()) - start), note


def _bury(desk: Desk, wallet: Wallet) -> None:
    """Mine all that was sent, 500 payments a block, and enough blocks on top of it.

    anvil's time for a block's receipts grows with the square of their number: full blocks would measure anvil.
    """
    desk.anvil.rpc("evm_setBlockGasLimit", hex(PAYMENTS_PER_BLOCK * PLAIN_TRANSFER_GAS))
    wallet.refresh_from_db(fields=["next_nonce"])
    while desk.anvil.nonce(wallet.address) < wallet.next_nonce:
        desk.anvil.mine()
    desk.anvil.rpc("evm_setBlockGasLimit", hex(BLOCK_GAS_LIMIT))
    desk.anvil.mine(settings.CONFIRMATIONS)


def _start_tasks(ids: Sequence[int]) -> None:
    # Of two tasks that meet a new head, one walks to it and the other leaves settling to the follower, which is off.
    chain = get_chain()
    record_head(chain, chain.view([], with_finalized=False).head)
    for row_id in ids:
        reconcile_transaction.apply_async((row_id,))


def _start_follower(_ids: Sequence[int]) -> None:
    follow.apply_async()
