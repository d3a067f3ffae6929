"""What the desk needs of a chain, and the one chain that this process uses."""

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Protocol

from django.conf import settings

from transactions.chain.node import NodeChain, NodeOptions
from transactions.chain.types import (
    BlockBody,
    BlockHeader,
    BroadcastTerms,
    ChainView,
    MinedTransaction,
    NodeState,
    Receipt,
    SendResult,
    Transfer,
)

START_TIMEOUT_SECONDS = 3.0
PAGE_TIMEOUT_SECONDS = 2.5
"""With the look at several nodes that may go before the question, nobody waits for much more than five seconds."""


class Chain(Protocol):
    """An Ethereum chain as the desk sees it.

    Every method but `send_raw` raises ChainUnavailableError when no node answers, and ChainReplyError when an answer
    can't be understood. What is absent from an answer is unknown, never a "no".
    """

    def chain_id(self) -> int:
        """Return the chain's id (EIP-155)."""

    def view(self, addresses: Sequence[str], *, with_finalized: bool) -> ChainView:
        """Return the head, the finalized block and the counts of transactions per address, in one round trip."""

    def headers(self, numbers: Sequence[int]) -> dict[int, BlockHeader]:
        """Return the canonical blocks of these numbers; those the node does not have are absent."""

    def terms(self, transfers: Sequence[Transfer], addresses: Sequence[str]) -> BroadcastTerms:
        """Return fees, balances, counts and one gas estimate per transfer, in one round trip for plain transfers.

        Each transfer is estimated as if its sender could afford all of them; one whose value alone exceeds its
        sender's balance is UNKNOWN. `balances` (latest) and `nonces` hold `addresses` and all senders.
        """

    def send_raw(self, raw: Sequence[bytes], hashes: Sequence[str]) -> list[SendResult]:
        """Hand signed transactions to all healthy nodes, in order, and return one result for each.

        Never raises for the chain's sake: what may or may not have arrived is UNKNOWN. A transaction that a node
        refuses to take again, but has in its pool or in a block, is ACCEPTED, whatever other nodes say.
        """

    def receipts(self, hashes: Sequence[str]) -> dict[str, Receipt]:
        """Return the receipts that the node has now."""

    def block_receipts(self, numbers: Sequence[int]) -> dict[int, list[Receipt]]:
        """Return all receipts of whole blocks; blocks are absent where the node can't say or lacks the method."""

    def known(self, hashes: Sequence[str]) -> set[str]:
        """Return those of the transactions that the node has in its pool or in a block."""

    def balances(self, addresses: Sequence[str], *, block_number: int | None) -> dict[str, int]:
        """Return all balances in wei at one block, or at the latest (None)."""

    def nonces(self, addresses: Sequence[str], *, block_number: int) -> dict[str, int]:
        """Return how many transactions of each address are mined up to a block: the next nonce there."""

    def transactions_of(self, address: str, nonces: Sequence[int]) -> dict[int, MinedTransaction]:
        """Find the mined transactions of an address by their nonces, whoever made them.

        A nonce is absent when none is mined, and when the node can't say: full nodes know the newest 128 blocks only.
        """

    def block_body(self, number: int) -> BlockBody | None:
        """Return the canonical block of this number with full transactions, if there is one.

        A block of many transactions is megabytes: ask for one at a time.
        """

    def node_states(self) -> list[NodeState]:
        """Return what this process knows of each node, without asking any. Never raises."""


_in_use: Chain | None = None


def get_chain() -> Chain:
    """Return the chain of the settings, one per process, made at first use: what a parent knew, a child finds out."""
    if _in_use is not None:
        return _in_use
    return _node_chain(tuple(settings.CHAIN_RPC_URLS), _options(), os.getpid())


def use_chain(chain: Chain | None) -> None:
    """Make get_chain() answer with this one in the whole process; None goes back to the settings. For tests."""
    global _in_use
    _in_use = chain


def chain_for_pages() -> Chain:
    """Return the chain for a question that somebody at a page waits for: it gives up soon, and they may ask again."""
    if _in_use is not None:
        return _in_use
    options = _options()
    timeout_seconds = min(options.timeout_seconds, PAGE_TIMEOUT_SECONDS)
    return _node_chain(tuple(settings.CHAIN_RPC_URLS), replace(options, timeout_seconds=timeout_seconds), os.getpid())


def chain_for_start() -> NodeChain:
    """Return an impatient chain of the settings, for one look while a process starts."""
    options = _options()
    timeout_seconds = min(options.timeout_seconds, START_TIMEOUT_SECONDS)
    return NodeChain(settings.CHAIN_RPC_URLS, replace(options, timeout_seconds=timeout_seconds))


def _options() -> NodeOptions:
    return NodeOptions(
        chain_id=settings.CHAIN_ID,
        batch_size=settings.CHAIN_RPC_BATCH_SIZE,
        timeout_seconds=settings.CHAIN_RPC_TIMEOUT_SECONDS,
        lag_blocks_max=settings.CHAIN_LAG_BLOCKS_MAX,
        calls_per_second=settings.CHAIN_RPC_CALLS_PER_SECOND,
    )


@lru_cache(maxsize=8)
def _node_chain(rpc_urls: tuple[str, ...], options: NodeOptions, pid: int) -> NodeChain:
    return NodeChain(rpc_urls, options)
