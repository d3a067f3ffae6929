"""The chain as one node tells it, in as few round trips as can be."""

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from pydantic_core import to_json

from transactions.chain.estimates import (
    SIMULATED_TRANSFERS_MAX,
    affordable,
    estimate_call,
    read_estimate,
    read_simulation,
    simulation_call,
)
from transactions.chain.exceptions import ChainError, ChainReplyError, ChainUnavailableError
from transactions.chain.history import blocks_of_nonces
from transactions.chain.refusals import judge_refusal
from transactions.chain.replies import (
    quantities,
    quantity,
    read_fee_quote,
    read_header,
    read_mined,
    read_nonce_counts,
    read_receipt,
    result_of,
    sent_by,
)
from transactions.chain.rpc import Call, Reply, RpcError, RpcNode
from transactions.chain.types import (
    BlockBody,
    BlockHeader,
    BroadcastTerms,
    ChainView,
    GasEstimate,
    MinedTransaction,
    Receipt,
    SendOutcome,
    SendResult,
    Transfer,
)

logger = logging.getLogger(__name__)
T = TypeVar("T")

FEE_HISTORY_BLOCKS = 10
FEE_HISTORY_PERCENTILE = 50
HEADERS_PER_TRIP = 100
WHOLE_BLOCKS_PER_TRIP = 10
"""A full block or its receipts are about a megabyte, and geth stops a batch at 25 (--rpc.batch-response-max-size)."""

METHOD_MISSING_SECONDS = 600.0
"""How long a node is not asked again for a method that it does not offer."""


class SingleNode:
    """Answer all that `Chain` asks from one node, so that one answer never mixes the views of two."""

    def __init__(self, rpc: RpcNode, *, batch_size: int) -> None:
        self.rpc = rpc
        self._batch_size = batch_size
        self._calls_per_trip = min(batch_size, rpc.calls_max or batch_size)
        self._missing_until: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<SingleNode {self.rpc.label}>"

    def chain_id(self) -> int:
        """Return the chain's id (EIP-155)."""
        return quantity(result_of(self._ask([("eth_chainId", [])])[0]))

    def standing(self) -> tuple[int, int]:
        """Return chain id and head number."""
        chain_id, head_number = self._ask([("eth_chainId", []), ("eth_blockNumber", [])])
        return quantity(result_of(chain_id)), quantity(result_of(head_number))

    def view(self, addresses: Sequence[str], *, with_finalized: bool) -> ChainView:
        """Return head, finalized block and counts per address."""
        # The counts come first: a node answers in order, so they are no newer than the head that follows.
        calls = [*_count_calls(addresses), ("eth_getBlockByNumber", ["latest", False])]
        if with_finalized:
            calls.append(("eth_getBlockByNumber", ["finalized", False]))
        replies = self._ask(calls)
        count = 2 * len(addresses)
        finalized = replies[count + 1].result if with_finalized else None
        return ChainView(
            head=read_header(result_of(replies[count])),
            finalized_number=None if finalized is None else read_header(finalized).number,
            nonces=read_nonce_counts(replies[:count], addresses),
        )

    def headers(self, numbers: Sequence[int]) -> dict[int, BlockHeader]:
        """Return the blocks that the node has."""
        calls: list[Call] = [("eth_getBlockByNumber", [hex(number), False]) for number in numbers]
        found: dict[int, BlockHeader] = {}
        for number, reply in zip(numbers, self._ask_loosely(calls, per_trip=HEADERS_PER_TRIP), strict=True):
            if reply.result is not None:
                found[number] = read_header(reply.result)
                _expect(found[number].number == number)
        return found

    def terms(self, transfers: Sequence[Transfer], addresses: Sequence[str]) -> BroadcastTerms:
        """Return fees, balances, counts and estimates."""
        wanted = list(dict.fromkeys([*addresses, *(transfer.from_address for transfer in transfers)]))
        chunks = list(_chunks(transfers, min(self._batch_size, SIMULATED_TRANSFERS_MAX)))
        simulated = chunks if self._offers("eth_simulateV1") else []
        history: Call = ("eth_feeHistory", [hex(FEE_HISTORY_BLOCKS), "latest", [FEE_HISTORY_PERCENTILE]])
        balance_calls: list[Call] = [("eth_getBalance", [address, "latest"]) for address in wanted]
        simulations = [simulation_call(chunk) for chunk in simulated]
        replies = self._ask([history, *_count_calls(wanted), *balance_calls, *simulations])
        nonces_end, balances_end = 1 + 2 * len(wanted), 1 + 3 * len(wanted)
        balances = quantities(replies[nonces_end:balances_end], wanted)

        first_guess: list[GasEstimate | None] = [None] * len(transfers)
        if simulated:
            first_guess = []
            for chunk, reply in zip(simulated, replies[balances_end:], strict=True):
                self._note_refused_method("eth_simulateV1", reply)
                if reply.error is not None and reply.error.is_limit:
                    # Hundreds of single estimates would only add to it.
                    raise ChainUnavailableError(f"{self.rpc.label} is too busy: {reply.error.message}")
                first_guess += read_simulation(reply, len(chunk))
        estimates = [
            affordable(estimate, transfer, balances[transfer.from_address])
            for estimate, transfer in zip(self._complete(first_guess, transfers), transfers, strict=True)
        ]
        nonces = read_nonce_counts(replies[1:nonces_end], wanted)
        return BroadcastTerms(read_fee_quote(result_of(replies[0])), balances, nonces, estimates)

    def send_raw(self, raw: Sequence[bytes], hashes: Sequence[str]) -> tuple[list[SendResult], ChainError | None]:
        """Send in order and return results, and what kept the node from answering if something did.

        From the first batch that got no answer on, the rest is left unsent and UNKNOWN.
        """
        results: list[SendResult | RpcError] = []
        failure: ChainError | None = None
        pairs = list(zip(raw, hashes, strict=True))
        for chunk in _chunks(pairs, self._calls_per_trip):
            try:
                replies = self.rpc.ask([("eth_sendRawTransaction", ["0x" + signed.hex()]) for signed, _ in chunk])
            except ChainError as error:
                logger.warning("Sending %d of %d transactions failed: %s", len(pairs) - len(results), len(pairs), error)
                results += [SendResult(SendOutcome.UNKNOWN, str(error))] * (len(pairs) - len(results))
                failure = error
                break
            results += [_sent(reply, hash_) for reply, (_, hash_) in zip(replies, chunk, strict=True)]
        refused = [hash_ for result, hash_ in zip(results, hashes, strict=True) if isinstance(result, RpcError)]
        lookups = self._look_up(refused)
        judged = [
            judge_refusal(result, lookups.get(hash_)) if isinstance(result, RpcError) else result
            for result, hash_ in zip(results, hashes, strict=True)
        ]
        return judged, failure

    def receipts(self, hashes: Sequence[str]) -> dict[str, Receipt]:
        """Return the receipts that the node has now."""
        found: dict[str, Receipt] = {}
        replies = self._ask_loosely([("eth_getTransactionReceipt", [hash_]) for hash_ in hashes])
        for hash_, reply in zip(hashes, replies, strict=True):
            receipt = None if reply.result is None else read_receipt(reply.result)
            if receipt is not None:
                _expect(receipt.transaction_hash == hash_)
                found[hash_] = receipt
        return found

    def block_receipts(self, numbers: Sequence[int]) -> dict[int, list[Receipt]]:
        """Return the receipts of whole blocks; none at all from a node without eth_getBlockReceipts."""
        found: dict[int, list[Receipt]] = {}
        if not self._offers("eth_getBlockReceipts"):
            return found
        calls: list[Call] = [("eth_getBlockReceipts", [hex(number)]) for number in numbers]
        for number, reply in zip(numbers, self._ask_loosely(calls, per_trip=WHOLE_BLOCKS_PER_TRIP), strict=True):
            self._note_refused_method("eth_getBlockReceipts", reply)
            if reply.result is None:
                continue
            _expect(isinstance(reply.result, list))
            receipts = [receipt for receipt in map(read_receipt, reply.result) if receipt is not None]
            _expect(all(receipt.block_number == number for receipt in receipts))
            found[number] = receipts
        return found

    def known(self, hashes: Sequence[str]) -> set[str]:
        """Return those of the transactions that the node has."""
        replies = self._ask_loosely([("eth_getTransactionByHash", [hash_]) for hash_ in hashes])
        return {hash_ for hash_, reply in zip(hashes, replies, strict=True) if reply.result is not None}

    def balances(self, addresses: Sequence[str], *, block_number: int | None) -> dict[str, int]:
        """Return balances in wei at one block or at the latest."""
        block = "latest" if block_number is None else hex(block_number)
        return quantities(self._ask([("eth_getBalance", [address, block]) for address in addresses]), addresses)

    def nonces(self, addresses: Sequence[str], *, block_number: int) -> dict[str, int]:
        """Return counts of transactions up to a block."""
        calls: list[Call] = [("eth_getTransactionCount", [address, hex(block_number)]) for address in addresses]
        return quantities(self._ask(calls), addresses)

    def transactions_of(self, address: str, nonces: Sequence[int]) -> dict[int, MinedTransaction]:
        """Find the mined transactions of an address by their nonces, as far back as the node knows counts."""
        if not nonces:
            return {}
        head_number = quantity(result_of(self._ask([("eth_blockNumber", [])])[0]))
        numbers = sorted(set(blocks_of_nonces(partial(self._counts_at, address), nonces, head_number).values()))
        sent: dict[int, dict[str, Any]] = {}
        calls: list[Call] = [("eth_getBlockByNumber", [hex(number), True]) for number in numbers]
        for reply in self._ask(calls, per_trip=WHOLE_BLOCKS_PER_TRIP):
            sent |= sent_by(address, result_of(reply))
        hashes = {nonce: str(sent[nonce]["hash"]).lower() for nonce in nonces if nonce in sent}
        receipts = self.receipts(list(hashes.values()))
        if hashes and not receipts:
            raise ChainUnavailableError(f"{self.rpc.label} has transactions in blocks, and no receipts of them.")
        return {nonce: read_mined(sent[nonce], receipts[hash_]) for nonce, hash_ in hashes.items() if hash_ in receipts}

    def block_body(self, number: int) -> BlockBody | None:
        """Return a whole block."""
        [reply] = self._ask_loosely([("eth_getBlockByNumber", [hex(number), True])])
        if reply.result is None:
            return None
        header = read_header(reply.result)
        _expect(header.number == number)
        return BlockBody(header, to_json(reply.result))

    def _counts_at(self, address: str, numbers: Sequence[int]) -> dict[int, int]:
        replies = self._ask_loosely([("eth_getTransactionCount", [address, hex(number)]) for number in numbers])
        pairs = zip(numbers, replies, strict=True)
        return {number: quantity(reply.result) for number, reply in pairs if reply.result is not None}

    def _ask(self, calls: Sequence[Call], *, per_trip: int | None = None) -> list[Reply]:
        size = min(per_trip or self._calls_per_trip, self._calls_per_trip)
        return [reply for chunk in _chunks(calls, size) for reply in self.rpc.ask(chunk)]

    def _ask_loosely(self, calls: Sequence[Call], *, per_trip: int | None = None) -> list[Reply]:
        """Ask for things that may be absent: an error for one of them is logged and loses none of the others.

        :raises ChainUnavailableError: when the node refused every one of them as too many.
        """
        replies = self._ask(calls, per_trip=per_trip)
        errors = [reply.error for reply in replies if reply.error is not None]
        if errors:
            method = calls[0][0]
            logger.warning("%s failed %d of %d %s: %s", self.rpc.label, len(errors), len(calls), method, errors[0])
            if len(errors) == len(calls) and all(error.is_limit for error in errors):
                raise ChainUnavailableError(f"{self.rpc.label} is too busy: {errors[0].message}")
        return replies

    def _complete(self, guesses: list[GasEstimate | None], transfers: Sequence[Transfer]) -> Iterable[GasEstimate]:
        """Ask one by one, in a batch, about the transfers that the simulation did not settle."""
        calls = [estimate_call(tr) for guess, tr in zip(guesses, transfers, strict=True) if guess is None]
        asked = iter(self._ask(calls))
        return [read_estimate(next(asked)) if guess is None else guess for guess in guesses]

    def _look_up(self, hashes: Sequence[str]) -> dict[str, Reply]:
        """Ask for transactions by hash; an empty dict when the node gives no answer."""
        try:
            replies = self._ask([("eth_getTransactionByHash", [hash_]) for hash_ in hashes])
        except ChainError as error:
            logger.warning("Looking up %d refused transactions failed: %s", len(hashes), error)
            return {}
        return dict(zip(hashes, replies, strict=True))

    def _offers(self, method: str) -> bool:
        return time.monotonic() >= self._missing_until.get(method, 0.0)

    def _note_refused_method(self, method: str, reply: Reply) -> None:
        if reply.error is not None and reply.error.is_method_missing and self._offers(method):
            self._missing_until[method] = time.monotonic() + METHOD_MISSING_SECONDS
            logger.info("%s has no %s: asking it another way", self.rpc.label, method)


def _count_calls(addresses: Sequence[str]) -> list[Call]:
    tags = ("latest", "pending")
    return [("eth_getTransactionCount", [address, tag]) for tag in tags for address in addresses]


def _sent(reply: Reply, hash_: str) -> SendResult | RpcError:
    if reply.error is not None:
        return reply.error
    if isinstance(reply.result, str) and reply.result.lower() == hash_:
        return SendResult(SendOutcome.ACCEPTED)
    return SendResult(SendOutcome.UNKNOWN, "the node answered with the hash of another transaction")


def _expect(as_asked: bool) -> None:
    if not as_asked:
        raise ChainReplyError("The node answered something else than it was asked.")


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
