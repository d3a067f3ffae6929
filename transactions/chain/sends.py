"""Offering signed transactions to several nodes at once, and making one answer of theirs."""

from collections.abc import Sequence
from concurrent.futures import Future, as_completed

from transactions.chain.types import SendOutcome, SendResult
from transactions.chain.watched import WatchedNode


def offer_to_all(
    nodes: Sequence[WatchedNode], raw: Sequence[bytes], hashes: Sequence[str], *, even_if_aside: bool
) -> list[SendResult]:
    """Send to all nodes at once and return as soon as one of them has taken each transaction.

    The others go on in the background: more nodes must not make a payment slower.

    :param nodes: in the order of preference.
    """
    answers = [node.start_send(raw, hashes, even_if_aside=even_if_aside) for node in nodes]
    results: list[SendResult] = []
    for _ in as_completed(answers):
        results = _combine(answers)
        if all(result.outcome is SendOutcome.ACCEPTED for result in results):
            break
    return results


def _combine(answers: Sequence[Future[list[SendResult]]]) -> list[SendResult]:
    known = [answer.result() for answer in answers if answer.done()]
    return [min(of_one, key=_rank) for of_one in zip(*known, strict=True)]


def _rank(result: SendResult) -> int:
    """A node that has it outweighs all others, and one that may have it those that refuse it."""
    return {SendOutcome.ACCEPTED: 0, SendOutcome.UNKNOWN: 1}.get(result.outcome, 2)
