"""What a payment's whole life costs the node: JSON-RPC calls and HTTP round trips, all processes counted."""

import itertools

from bench.client import keep_pace
from bench.desk import BLOCK_SECONDS, Desk
from bench.figures import Figure
from bench.load import load_payers, load_wallet
from bench.processors import ProcessorWatch
from bench.proxy import CountingProxy
from bench.rows.latency import ids_by_sending, in_turn
from bench.watch import block_numbers, settled_times, wait_until_none

PAYMENTS_PER_BLOCK = 500


def measure(desk: Desk, *, quick: bool) -> list[Figure]:
    """Accept 500 payments a block, evenly paced over HTTP, and count every call until the last one is settled."""
    blocks = 2 if quick else 30
    count = blocks * PAYMENTS_PER_BLOCK
    payers = load_payers(16)
    load_wallet(desk)
    with CountingProxy(desk.anvil.port) as proxy:
        port = desk.run(chain_url=proxy.url)
        proxy.reset()
        watch = ProcessorWatch(desk)
        requests = itertools.islice(in_turn(payers), count)
        exchanges = keep_pace(port, requests, per_second=PAYMENTS_PER_BLOCK / BLOCK_SECONDS)
        note = watch.note()
        wait_until_none(["ACCEPTED", "SIGNED", "BROADCAST", "MINED"], timeout_seconds=300, every_seconds=0.5)
        round_trips, methods = proxy.round_trips, proxy.calls_by_method
        desk.stop_programs()
    ids = list(ids_by_sending(exchanges))
    settled = len(settled_times(ids))
    used = len(set(block_numbers(ids).values()))
    counted = ", ".join(f"{method} {number}" for method, number in methods.most_common())
    notes = [f"{settled:,} payments in {used} blocks, accepted evenly at 250/s", f"calls: {counted}", note]
    return [
        Figure(
            row="calls",
            name=f"JSON-RPC calls per settled payment at {PAYMENTS_PER_BLOCK} payments a block",
            value=methods.total() / settled,
            unit="calls",
            target=1.1,
            at_most=True,
            notes=notes,
        ),
        Figure(
            row="calls",
            name=f"HTTP round trips to the node per settled payment at {PAYMENTS_PER_BLOCK} payments a block",
            value=round_trips / settled,
            unit="round trips",
            target=0.02,
            at_most=True,
            notes=[f"{round_trips} round trips"],
        ),
    ]
