"""Read the whole chain, block by block, straight from the node."""

import http.client
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from txnsite.stack.ports import LOOPBACK

_CALLS_PER_TRIP = 200
_TIMEOUT_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Mined:
    """A transaction in a block, and what came of it; addresses in lower case."""

    hash: str
    from_address: str
    to_address: str
    value_in_wei: int
    nonce: int
    block_number: int
    block_hash: str
    succeeded: bool
    fee_in_wei: int


@dataclass(frozen=True, slots=True)
class Count:
    """How many transactions of an address are in blocks, and with those that wait in the node's pool."""

    latest: int
    pending: int


@dataclass
class ChainFacts:
    """All transactions in the order of the chain, and what addresses have now; addresses in lower case."""

    mined: list[Mined] = field(default_factory=list)
    balances_in_wei: dict[str, int] = field(default_factory=dict)
    counts: dict[str, Count] = field(default_factory=dict)


def read_chain(port: int, *, wallets: Collection[str], recipients: Collection[str]) -> ChainFacts:
    """Read all blocks from the first to the newest, and the balances of these addresses.

    :raises RuntimeError: when the node answers a call with an error.
    """
    node = _Node(port)
    head = int(node.ask([("eth_blockNumber", [])])[0], 16)
    blocks = node.ask([("eth_getBlockByNumber", [hex(number), True]) for number in range(head + 1)])
    full = [block for block in blocks if block["transactions"]]
    receipts = node.ask([("eth_getBlockReceipts", [block["number"]]) for block in full])
    facts = ChainFacts([mined for pair in zip(full, receipts, strict=True) for mined in _mined(*pair)])
    addresses = sorted({address.lower() for address in (*wallets, *recipients)})
    balances = node.ask([("eth_getBalance", [address, "latest"]) for address in addresses])
    facts.balances_in_wei = {address: int(wei, 16) for address, wei in zip(addresses, balances, strict=True)}
    for address in (wallet.lower() for wallet in wallets):
        latest, pending = node.ask([("eth_getTransactionCount", [address, tag]) for tag in ("latest", "pending")])
        facts.counts[address] = Count(int(latest, 16), int(pending, 16))
    return facts


def _mined(block: dict[str, Any], receipts: list[dict[str, Any]]) -> Iterator[Mined]:
    for transaction, receipt in zip(block["transactions"], receipts, strict=True):
        assert transaction["hash"] == receipt["transactionHash"], "the node gave receipts of another block"
        yield Mined(
            hash=transaction["hash"].lower(),
            from_address=transaction["from"].lower(),
            to_address=(transaction["to"] or "").lower(),
            value_in_wei=int(transaction["value"], 16),
            nonce=int(transaction["nonce"], 16),
            block_number=int(block["number"], 16),
            block_hash=block["hash"].lower(),
            succeeded=receipt["status"] == "0x1",
            fee_in_wei=int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16),
        )


class _Node:
    """Ask a node in batches."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection(LOOPBACK, port, timeout=_TIMEOUT_SECONDS)

    def ask(self, calls: Sequence[tuple[str, list[Any]]]) -> list[Any]:
        """Return the results of all calls in their order."""
        results = []
        for start in range(0, len(calls), _CALLS_PER_TRIP):
            results += self._ask_once(calls[start : start + _CALLS_PER_TRIP])
        return results

    def _ask_once(self, calls: Sequence[tuple[str, list[Any]]]) -> list[Any]:
        batch = [
            {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            for number, (method, params) in enumerate(calls)
        ]
        self._connection.request("POST", "/", json.dumps(batch), {"Content-Type": "application/json"})
        replies = sorted(json.loads(self._connection.getresponse().read()), key=lambda reply: int(reply["id"]))
        for reply in replies:
            if "error" in reply:
                raise RuntimeError(f"The node answered {calls[reply['id']][0]} with {reply['error']}.")
        return [reply["result"] for reply in replies]
