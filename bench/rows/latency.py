"""From the request to the broadcast, at an even pace that leaves the desk time to breathe."""

import itertools
import json
from collections.abc import Iterator, Sequence

from bench.client import Exchange, keep_pace
from bench.desk import Desk
from bench.figures import Figure, at_median, percentiles_in_ms, spread_of
from bench.load import Payer, load_payers, load_wallet
from bench.processors import ProcessorWatch
from bench.watch import broadcast_times, wait_until_none

PER_SECOND = 50
USERS = 16


def measure(desk: Desk, *, quick: bool) -> list[Figure]:
    """Send 50 requests a second and compare when each was due with when its broadcast was committed."""
    repeats, seconds = (1, 1) if quick else (3, 15)
    payers = load_payers(USERS)
    load_wallet(desk)
    port = desk.run()
    requests = in_turn(payers)
    _send(port, requests, 1 if quick else 5)

    medians, tails, notes = [], [], []
    for _ in range(repeats):
        watch = ProcessorWatch(desk)
        sent_at = _send(port, requests, seconds)
        notes.append(watch.note())
        times = broadcast_times(list(sent_at))
        p50, p99 = percentiles_in_ms([times[row_id] - sent_at[row_id] for row_id in sent_at])
        medians.append(p50)
        tails.append(p99)
    spread = spread_of(medians)
    return [
        Figure(
            row="latency",
            name=f"request to broadcast at {PER_SECOND} requests/s, median",
            value=spread.median,
            unit="ms",
            target=300,
            at_most=True,
            p50=spread.median,
            p99=spread_of(tails).median,
            spread=spread,
            notes=[f"to the commit of BROADCAST; {PER_SECOND * seconds} payments each time", at_median(medians, notes)],
        )
    ]


def in_turn(payers: Sequence[Payer]) -> Iterator[bytes]:
    """Return requests of all payers in turn, without end."""
    streams = [payer.requests() for payer in payers]
    return (next(stream) for stream in itertools.cycle(streams))


def ids_by_sending(exchanges: Sequence[Exchange]) -> dict[int, float]:
    """Return by payment when its request was sent.

    :raises RuntimeError: when one of them wasn't accepted.
    """
    for exchange in exchanges:
        if exchange.status != 201:
            raise RuntimeError(f"A payment was answered with {exchange.status}: {exchange.body[:300]!r}")
    return {json.loads(exchange.body)["id"]: exchange.sent_at for exchange in exchanges}


def _send(port: int, requests: Iterator[bytes], seconds: int) -> dict[int, float]:
    exchanges = keep_pace(port, itertools.islice(requests, PER_SECOND * seconds), per_second=PER_SECOND)
    wait_until_none(["ACCEPTED", "SIGNED"], timeout_seconds=60)
    return ids_by_sending(exchanges)
