"""The chain as the configured nodes tell it: the first one that answers speaks."""

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from transactions.chain.exceptions import ChainError, ChainUnavailableError
from transactions.chain.rpc import RpcNode
from transactions.chain.single import SingleNode
from transactions.chain.types import (
    BlockHeader,
    BroadcastTerms,
    ChainView,
    MinedTransaction,
    Receipt,
    SendOutcome,
    SendResult,
    Transfer,
)

logger = logging.getLogger(__name__)
T = TypeVar("T")


class NodeChain:
    """The `Chain` of real nodes, asked in the order they are given.

    Each question is put to one node as a whole, and to the next one when that fails. Safe to share between threads.
    """

    def __init__(self, rpc_urls: Sequence[str], *, batch_size: int, timeout_seconds: float) -> None:
        self._nodes = [
            SingleNode(RpcNode(url, number=number, timeout_seconds=timeout_seconds), batch_size=batch_size)
            for number, url in enumerate(rpc_urls, start=1)
        ]

    def __repr__(self) -> str:
        return f"<NodeChain {', '.join(node.rpc.label for node in self._nodes)}>"

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
        """Send signed transactions; what is UNKNOWN at one node is offered to the next."""
        results = [SendResult(SendOutcome.UNKNOWN, "no node was asked")] * len(raw)
        for node in self._nodes:
            open_ones = [index for index, result in enumerate(results) if result.outcome is SendOutcome.UNKNOWN]
            if not open_ones:
                break
            answers = node.send_raw([raw[index] for index in open_ones], [hashes[index] for index in open_ones])
            for index, answer in zip(open_ones, answers, strict=True):
                results[index] = answer
        return results

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

    def pending_nonces(self, addresses: Sequence[str]) -> dict[str, int]:
        """Return the next nonces, the node's pool counted in."""
        return self._first_answer(lambda node: node.pending_nonces(addresses))

    def transactions_of(self, address: str, nonces: Sequence[int]) -> dict[int, MinedTransaction]:
        """Find the mined transactions of an address by their nonces."""
        return self._first_answer(lambda node: node.transactions_of(address, nonces))

    def _first_answer(self, question: Callable[[SingleNode], T]) -> T:
        failure: ChainError = ChainUnavailableError("No Ethereum node is configured.")
        for node in self._nodes:
            try:
                return question(node)
            except ChainError as error:
                failure = error
                logger.debug("Asking the next node: %s", error)
        raise failure
