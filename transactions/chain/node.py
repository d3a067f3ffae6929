"""The chain as the configured nodes tell it: the most preferred one that is well speaks."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from transactions.chain.exceptions import ChainError, ChainUnavailableError
from transactions.chain.health import Health
from transactions.chain.roster import LOOK_TIMEOUT_SECONDS, Roster
from transactions.chain.rpc import RpcNode
from transactions.chain.sends import offer_to_all
from transactions.chain.single import SingleNode
from transactions.chain.types import (
    BlockBody,
    BlockHeader,
    BroadcastTerms,
    ChainView,
    MinedTransaction,
    NodeState,
    Receipt,
    SendOutcome,
    SendResult,
    Transfer,
)
from transactions.chain.watched import WatchedNode

logger = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """How nodes are asked; `calls_per_second` 0 is no limit."""

    chain_id: int
    batch_size: int
    timeout_seconds: float
    lag_blocks_max: int = 3
    calls_per_second: int = 0


class NodeChain:
    """The `Chain` of real nodes, the first of them preferred. Safe to share between threads.

    Each question is put to one node as a whole, and to the next one when that fails; transactions go to all. What is
    long past, which only some nodes remember, is asked of one after the other.
    """

    def __init__(
        self, rpc_urls: Sequence[str], options: NodeOptions, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        nodes = [_watched(url, number, options, clock) for number, url in enumerate(rpc_urls, start=1)]
        self._roster = Roster(nodes, lag_blocks_max=options.lag_blocks_max, clock=clock)

    def __repr__(self) -> str:
        return f"<NodeChain {', '.join(state.label for state in self.node_states())}>"

    def chain_id(self) -> int:
        """Return the chain's id (EIP-155)."""
        return self._first_answer(lambda node: node.chain_id())

    def view(self, addresses: Sequence[str], *, with_finalized: bool) -> ChainView:
        """Return head, finalized block and counts per address, in one round trip."""
        return self._first_answer(lambda node: node.view(addresses, with_finalized=with_finalized))

    def headers(self, numbers: Sequence[int]) -> dict[int, BlockHeader]:
        """Return the canonical blocks of these numbers; missing ones are absent."""
        return self._first_answer(lambda node: node.headers(numbers))

    def terms(self, transfers: Sequence[Transfer], addresses: Sequence[str]) -> BroadcastTerms:
        """Return fees, balances, counts and estimates, in one round trip for plain transfers."""
        return self._first_answer(lambda node: node.terms(transfers, addresses))

    def send_raw(self, raw: Sequence[bytes], hashes: Sequence[str]) -> list[SendResult]:
        """Send signed transactions to all healthy nodes; if there is none, to those set aside that are on our chain."""
        nodes, are_aside = self._roster.for_sends()
        if not nodes:
            return [SendResult(SendOutcome.UNKNOWN, "No Ethereum node is configured.")] * len(raw)
        if len(nodes) == 1 or not raw:
            return nodes[0].send(raw, hashes) if raw else []
        return offer_to_all(nodes, raw, hashes, even_if_aside=are_aside)

    def receipts(self, hashes: Sequence[str]) -> dict[str, Receipt]:
        """Return the receipts there are now."""
        return self._first_answer(lambda node: node.receipts(hashes))

    def block_receipts(self, numbers: Sequence[int]) -> dict[int, list[Receipt]]:
        """Return all receipts of whole blocks; blocks are absent where the node can't say or lacks the method."""
        return self._first_answer(lambda node: node.block_receipts(numbers))

    def known(self, hashes: Sequence[str]) -> set[str]:
        """Return those of the transactions that the node has."""
        return self._first_answer(lambda node: node.known(hashes))

    def balances(self, addresses: Sequence[str], *, block_number: int | None) -> dict[str, int]:
        """Return balances in wei at one block or at the latest."""
        return self._first_answer(lambda node: node.balances(addresses, block_number=block_number))

    def nonces(self, addresses: Sequence[str], *, block_number: int) -> dict[str, int]:
        """Return counts of transactions up to a block."""
        return self._first_answer(lambda node: node.nonces(addresses, block_number=block_number))

    def transactions_of(self, address: str, nonces: Sequence[int]) -> dict[int, MinedTransaction]:
        """Find the mined transactions of an address by their nonces; what a node doesn't find is asked of the next.

        :raises ChainError: when nothing is found, and one of the nodes, which may know, could not be asked.
        """
        found: dict[int, MinedTransaction] = {}
        failure: ChainError = ChainUnavailableError("A node that may know of it is set aside.")
        answered = 0

        def find_missing(node: SingleNode) -> dict[int, MinedTransaction]:
            return node.transactions_of(address, [nonce for nonce in nonces if nonce not in found])

        for node in self._roster.in_turn():
            if found.keys() >= set(nonces):
                return found
            try:
                found |= node.ask(find_missing)
                answered += 1
            except ChainError as error:
                failure = error
                logger.debug("Asking the next node: %s", error)
        if not found and answered < len(self._roster.nodes):
            raise failure
        return found

    def block_body(self, number: int) -> BlockBody | None:
        """Return a whole block."""
        return self._first_answer(lambda node: node.block_body(number))

    def node_states(self) -> list[NodeState]:
        """Return what this process knows of each node."""
        return self._roster.states()

    def _first_answer(self, question: Callable[[SingleNode], T]) -> T:
        failure: ChainError = ChainUnavailableError("No Ethereum node is configured.")
        for node in self._roster.in_turn():
            try:
                return node.ask(question)
            except ChainError as error:
                failure = error
                logger.debug("Asking the next node: %s", error)
        raise failure


def _watched(url: str, number: int, options: NodeOptions, clock: Callable[[], float]) -> WatchedNode:
    def single(timeout_seconds: float, *, waits: bool) -> SingleNode:
        rpc = RpcNode(
            url,
            number=number,
            timeout_seconds=timeout_seconds,
            calls_per_second=options.calls_per_second,
            waits=waits,
        )
        return SingleNode(rpc, batch_size=options.batch_size)

    node = single(options.timeout_seconds, waits=True)
    scout = single(min(options.timeout_seconds, LOOK_TIMEOUT_SECONDS), waits=False)
    health = Health(number=number, label=node.rpc.label, chain_id=options.chain_id, clock=clock)
    return WatchedNode(node, scout=scout, health=health)
