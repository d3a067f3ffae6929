"""Payments accepted per second over HTTP while the workers send them on."""

import time

from bench.client import Exchange, keep_busy
from bench.desk import Desk
from bench.figures import Figure, at_median, percentiles_in_ms, spread_of
from bench.load import load_payers, load_wallet
from bench.processors import ProcessorWatch
from bench.watch import count_in, wait_until_none

CONNECTIONS = 16


def measure(desk: Desk, *, quick: bool) -> list[Figure]:
    """Keep 16 connections busy, each a user's program with a token of its own and 25 accounts."""
    repeats, seconds = (1, 1.0) if quick else (3, 10.0)
    payers = load_payers(CONNECTIONS)
    load_wallet(desk)
    port = desk.run()
    streams = [payer.requests() for payer in payers]
    keep_busy(port, streams, seconds / 4)

    rates, latencies, sent_rates, notes = [], [], [], []
    for _ in range(repeats):
        wait_until_none(["ACCEPTED", "SIGNED"], timeout_seconds=120)
        watch = ProcessorWatch(desk)
        before, start = count_in(["BROADCAST", "MINED", "SETTLED"]), time.perf_counter()
        exchanges = keep_busy(port, streams, seconds)
        elapsed = time.perf_counter() - start
        notes.append(watch.note())
        sent_rates.append((count_in(["BROADCAST", "MINED", "SETTLED"]) - before) / elapsed)
        rates.append(len(_created(exchanges)) / seconds)
        latencies += [exchange.seconds for exchange in exchanges]
    p50, p99 = percentiles_in_ms(latencies)
    spread = spread_of(rates)
    return [
        Figure(
            row="accepted",
            name="payments accepted per second over HTTP with a token, 16 connections, 400 accounts",
            value=spread.median,
            unit="1/s",
            target=500,
            p50=p50,
            p99=p99,
            spread=spread,
            notes=[f"meanwhile the workers broadcast {spread_of(sent_rates).median:.0f}/s", at_median(rates, notes)],
        )
    ]


def _created(exchanges: list[Exchange]) -> list[Exchange]:
    """Return the exchanges, all of which must have been answered with 201."""
    for exchange in exchanges:
        if exchange.status != 201:
            raise RuntimeError(f"A payment was answered with {exchange.status}: {exchange.body[:300]!r}")
    return exchanges
