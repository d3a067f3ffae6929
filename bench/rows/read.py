"""Reading a transaction that the cache knows, with a token, from one server process."""

import itertools
from collections.abc import Iterator, Sequence

from django.conf import settings

from bench.client import build_request, keep_busy
from bench.desk import Desk
from bench.figures import Figure, at_median, percentiles_in_ms, spread_of
from bench.load import accept_payments, load_payers, load_wallet
from bench.processors import ProcessorWatch
from bench.watch import wait_until_none
from transactions.services.broadcast import broadcast_payments
from transactions.services.follow import follow_chain

CONNECTIONS = 8
PAYMENTS = 50


def measure(desk: Desk, *, quick: bool) -> list[Figure]:
    """Read 50 settled transactions in turn over 8 connections while the idle desk follows the chain."""
    repeats, seconds = (1, 1.0) if quick else (3, 8.0)
    (payer,) = load_payers(1)
    load_wallet(desk)
    ids = accept_payments([payer], PAYMENTS)
    broadcast_payments()
    desk.anvil.mine(settings.CONFIRMATIONS)
    follow_chain()
    wait_until_none(["ACCEPTED", "SIGNED", "BROADCAST", "MINED"], timeout_seconds=1)
    port = desk.run(web_workers=1)
    streams = [_reads(payer.token, ids[index:] + ids[:index]) for index in range(CONNECTIONS)]
    keep_busy(port, streams, seconds / 4)

    rates, latencies, notes = [], [], []
    for _ in range(repeats):
        watch = ProcessorWatch(desk)
        exchanges = keep_busy(port, streams, seconds)
        notes.append(watch.note())
        for exchange in exchanges:
            if exchange.status != 200 or b'"SUCCESSFUL"' not in exchange.body:
                raise RuntimeError(f"A read was answered with {exchange.status}: {exchange.body[:300]!r}")
        rates.append(len(exchanges) / seconds)
        latencies += [exchange.seconds for exchange in exchanges]
    p50, p99 = percentiles_in_ms(latencies)
    spread = spread_of(rates)
    return [
        Figure(
            row="read",
            name="cached GET transactions/{id} with a token, one server process",
            value=spread.median,
            unit="1/s",
            target=2_500,
            p50=p50,
            p99=p99,
            spread=spread,
            notes=[f"{CONNECTIONS} connections, {PAYMENTS} settled transactions", at_median(rates, notes)],
        )
    ]


def _reads(token: str, ids: Sequence[int]) -> Iterator[bytes]:
    headers = {"Authorization": f"Bearer {token}"}
    return itertools.cycle([build_request("GET", f"/api/v1/transactions/{row_id}", headers) for row_id in ids])
