"""What the desk asks of a chain and what a chain answers.

Addresses are EIP-55 strings, hashes are lower-case hexadecimal with 0x, amounts are whole wei.
"""

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class BlockHeader:
    """A block without its transactions; `timestamp` is in seconds since the epoch."""

    number: int
    hash: str
    parent_hash: str
    timestamp: int
    base_fee_per_gas_in_wei: int
    gas_limit: int


@dataclass(frozen=True, slots=True)
class NonceCount:
    """How many transactions of an address there are (eth_getTransactionCount).

    Every nonce below `latest` is mined in the head's chain; those from there to below `pending` wait in the node's own
    pool. A node that has lost its pool, or is not told of others', counts fewer as pending than have been sent.
    """

    latest: int
    pending: int

    @property
    def next_nonce(self) -> int:
        """Return the first nonce that is free as far as the node knows; its pool's count may lag behind its chain's."""
        return max(self.latest, self.pending)


@dataclass(frozen=True, slots=True)
class ChainView:
    """Where the chain stands: its head, its finalized block, and how many transactions each address has.

    `finalized_number` is None when it was not asked for or when the node can't say. The counts are no newer than the
    head.
    """

    head: BlockHeader
    finalized_number: int | None
    nonces: dict[str, NonceCount]


@dataclass(frozen=True, slots=True)
class FeeQuote:
    """What gas costs now (EIP-1559): the base fee of the next block, and the tip that recent blocks took."""

    base_fee_per_gas_in_wei: int
    max_priority_fee_per_gas_in_wei: int


@dataclass(frozen=True, slots=True)
class Transfer:
    """A payment of ether that is to be estimated."""

    from_address: str
    to_address: str
    value_in_wei: int


class EstimateOutcome(Enum):
    """What an estimate tells. Only REVERTED is a "no"; UNKNOWN is never one."""

    OK = "ok"
    REVERTED = "reverted"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class GasEstimate:
    """The gas that a transfer needs, or why there is no figure; `gas` is set only when the outcome is OK."""

    gas: int | None
    outcome: EstimateOutcome
    error: str = ""


@dataclass(frozen=True, slots=True)
class BroadcastTerms:
    """All that a batch of transfers needs before it is signed; `estimates` stand in the order of the transfers."""

    quote: FeeQuote
    balances: dict[str, int]
    nonces: dict[str, NonceCount]
    estimates: list[GasEstimate]


class SendOutcome(Enum):
    """What became of a signed transaction that was handed to a node.

    UNKNOWN means that the node may or may not have it: send the same bytes again, never others in their place.
    """

    ACCEPTED = "accepted"
    UNDERPRICED = "underpriced"
    NONCE_TOO_LOW = "nonce_too_low"
    INSUFFICIENT_FUNDS = "insufficient_funds"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class SendResult:
    """The outcome of one send, with the node's words when it did not simply accept."""

    outcome: SendOutcome
    error: str = ""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that a block holds a transaction. A revert (`succeeded` False) costs the network fee all the same.

    `network_fee_in_wei` is gas used times effective price, plus the l1Fee of an OP-stack chain where there is one.
    """

    transaction_hash: str
    block_number: int
    block_hash: str
    succeeded: bool
    gas_used: int
    effective_gas_price_in_wei: int
    network_fee_in_wei: int


@dataclass(frozen=True, slots=True)
class MinedTransaction:
    """A transaction in a block, whoever made it; `to_address` is None where it created a contract."""

    hash: str
    nonce: int
    to_address: str | None
    value_in_wei: int
    block_number: int
    block_hash: str
    succeeded: bool


class NodeTrouble(Enum):
    """Why a node isn't asked."""

    UNKNOWN = "not asked yet"
    DOWN = "down"
    CONFUSED = "not understood"
    BEHIND = "behind"
    WRONG_CHAIN = "wrong chain"


@dataclass(frozen=True, slots=True)
class NodeState:
    """What this process knows of one node; `trouble` is None while it is asked.

    `label` and `detail` name the node's host, so they are for operators only; neither holds a secret. It `is_awaited`
    while a question to it is open.
    """

    number: int
    label: str
    trouble: NodeTrouble | None
    detail: str
    is_awaited: bool = False


@dataclass(frozen=True, slots=True)
class BlockBody:
    """A block with full transactions as the node gave it, in JSON (`read_transfers`), and its header."""

    header: BlockHeader
    json: bytes


@dataclass(frozen=True, slots=True)
class BlockTransfer:
    """A transaction that carries ether to an address; whether it succeeded its receipt tells.

    Addresses are in lower case: a block has many, of which few are ours, and EIP-55 takes a hash for each.
    """

    hash: str
    from_address: str
    to_address: str
    value_in_wei: int
