"""From the block that makes a payment final to the payment's being SUCCESSFUL."""

import http.client
import itertools
import json
import threading
import time

from django.conf import settings

from bench.client import keep_pace
from bench.desk import BLOCK_SECONDS, Desk
from bench.figures import Figure, percentiles_in_ms
from bench.load import load_payers, load_wallet
from bench.rows.latency import ids_by_sending, in_turn
from bench.watch import block_numbers, settled_times, wait_until_none
from txnsite.stack.ports import LOOPBACK

PER_SECOND = 50
POLL_SECONDS = 0.01


def measure(desk: Desk, *, quick: bool) -> list[Figure]:
    """Pay at an even pace and compare each settlement's commit with the arrival of the block that allowed it."""
    seconds = 2 if quick else 40
    payers = load_payers(16)
    load_wallet(desk)
    port = desk.run()
    with BlockWatch(desk.anvil.port) as blocks:
        requests = itertools.islice(in_turn(payers), PER_SECOND * seconds)
        exchanges = keep_pace(port, requests, per_second=PER_SECOND)
        wait_until_none(["ACCEPTED", "SIGNED", "BROADCAST", "MINED"], timeout_seconds=120, every_seconds=0.2)
    ids = list(ids_by_sending(exchanges))
    final_at = {
        row_id: blocks.arrivals[number + settings.CONFIRMATIONS - 1] for row_id, number in block_numbers(ids).items()
    }
    settled_at = settled_times(ids)
    p50, p99 = percentiles_in_ms([settled_at[row_id] - final_at[row_id] for row_id in ids])
    return [
        Figure(
            row="final",
            name="from the final block to SUCCESSFUL, 99th percentile",
            value=p99 / 1_000,
            unit="s",
            target=BLOCK_SECONDS + 1,
            at_most=True,
            p50=p50,
            p99=p99,
            notes=[f"{len(ids):,} payments, {BLOCK_SECONDS} s blocks; from the block's arrival to SETTLED's commit"],
        )
    ]


class BlockWatch:
    """Ask a node for its newest block all the time and note when each arrived; use it as a context manager.

    Noted is the last moment at which the node didn't have the block yet, so that no figure is flattered.
    """

    def __init__(self, node_port: int) -> None:
        self.arrivals: dict[int, float] = {}
        self._port = node_port
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "BlockWatch":
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        node = http.client.HTTPConnection(LOOPBACK, self._port, timeout=30)
        asked_before, newest = time.time(), self._newest(node)
        while not self._over.wait(POLL_SECONDS):
            asked, number = time.time(), self._newest(node)
            for arrived in range(newest + 1, number + 1):
                self.arrivals[arrived] = asked_before
            asked_before, newest = asked, number
        node.close()

    def _newest(self, node: http.client.HTTPConnection) -> int:
        call = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": []})
        node.request("POST", "/", call, {"Content-Type": "application/json"})
        return int(json.loads(node.getresponse().read())["result"], 16)
