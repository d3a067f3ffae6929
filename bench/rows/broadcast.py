"""Broadcasting a backlog from one wallet."""

import time

from bench.desk import Desk
from bench.figures import Figure, at_median, spread_of
from bench.load import Payer, accept_payments, load_payers, load_wallet
from bench.processors import ProcessorWatch
from bench.watch import broadcast_times, wait_until_none
from tasks.nudge import nudge_broadcast
from transactions.models import Wallet
from transactions.services.follow import follow_chain
from txnsite.stack.process import wait_for

WARM_SECONDS = 0.25


def measure(desk: Desk, *, quick: bool) -> list[Figure]:
    """Accept payments while nothing wakes the workers, then wake them and time the whole backlog to its last commit."""
    repeats, count = (1, 200) if quick else (3, 2_000)
    payers = load_payers(16)
    wallet = load_wallet(desk)
    desk.run(web_workers=None, beat=False)
    _warm_up(payers, in_a_row=2 if quick else 10)
    rates, notes = [], []
    for _ in range(repeats):
        _wait_until_mined(desk, wallet)
        ids = accept_payments(payers, count)
        watch = ProcessorWatch(desk)
        start = time.time()
        nudge_broadcast()
        wait_until_none(["ACCEPTED", "SIGNED"], timeout_seconds=120)
        notes.append(watch.note())
        rates.append(count / (max(broadcast_times(ids).values()) - start))
    spread = spread_of(rates)
    return [
        Figure(
            row="broadcast",
            name=f"broadcast per second, {count:,} payments waiting, one wallet",
            value=spread.median,
            unit="1/s",
            target=1_000,
            spread=spread,
            notes=["from the nudge to the commit of the last BROADCAST", at_median(rates, notes)],
        )
    ]


def _warm_up(payers: list[Payer], *, in_a_row: int) -> None:
    """Pay one by one until every process of the worker has decrypted the key: then none of some in a row is slow."""
    quick_in_a_row = 0
    while quick_in_a_row < in_a_row:
        (row_id,) = accept_payments(payers, 1)
        start = time.time()
        nudge_broadcast()
        wait_until_none(["ACCEPTED", "SIGNED"], timeout_seconds=30)
        took = broadcast_times([row_id])[row_id] - start
        quick_in_a_row = quick_in_a_row + 1 if took < WARM_SECONDS else 0


def _wait_until_mined(desk: Desk, wallet: Wallet) -> None:
    """Let the node empty its pool, so that each repeat meets the same one, and the desk hear of it.

    Else what it has sent would still be in flight, of which there may be so much (WALLET_IN_FLIGHT_MAX).
    """
    wallet.refresh_from_db(fields=["next_nonce"])
    wait_for(
        lambda: desk.anvil.nonce(wallet.address) == wallet.next_nonce,
        what="every payment in a block",
        timeout_seconds=60,
        every_seconds=0.2,
    )
    follow_chain()
