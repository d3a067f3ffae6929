"""Signed transfers as a node reads them, and the blocks it puts them in."""

import json
from dataclasses import dataclass, field

import rlp  # type: ignore[import-untyped]
from eth_account import Account
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from transactions.chain import BlockHeader, Receipt

REPLACEMENT_BUMP_PERCENT = 10
"""What nodes demand of a replacement, on both fields (geth's --txpool.pricebump)."""


@dataclass(frozen=True)
class FakeTransaction:
    """A signed EIP-1559 transfer, decoded."""

    hash: str
    chain_id: int
    from_address: str
    nonce: int
    to_address: str
    value_in_wei: int
    gas_limit: int
    max_fee_per_gas_in_wei: int
    max_priority_fee_per_gas_in_wei: int
    raw: bytes

    @property
    def slot(self) -> tuple[str, int]:
        """The sender and nonce, of which a chain takes one transaction only."""
        return self.from_address, self.nonce

    @property
    def cost_max_in_wei(self) -> int:
        """What the sender must have for a node to take it."""
        return self.value_in_wei + self.gas_limit * self.max_fee_per_gas_in_wei

    def price_in_wei(self, base_fee_per_gas_in_wei: int) -> int:
        """Return what a unit of gas costs in a block of this base fee (EIP-1559)."""
        return min(self.max_fee_per_gas_in_wei, base_fee_per_gas_in_wei + self.max_priority_fee_per_gas_in_wei)

    def outbids(self, other: "FakeTransaction") -> bool:
        """Say whether a node would take this one in place of the other."""
        factor = 100 + REPLACEMENT_BUMP_PERCENT
        return (
            self.max_fee_per_gas_in_wei * 100 >= other.max_fee_per_gas_in_wei * factor
            and self.max_priority_fee_per_gas_in_wei * 100 >= other.max_priority_fee_per_gas_in_wei * factor
        )


@dataclass(frozen=True)
class FakeBlock:
    """A block with its receipts, and all balances and nonces after it."""

    header: BlockHeader
    transactions: tuple[FakeTransaction, ...] = ()
    receipts: tuple[Receipt, ...] = ()
    balances: dict[str, int] = field(default_factory=dict)
    nonces: dict[str, int] = field(default_factory=dict)


def decode_transaction(raw: bytes) -> FakeTransaction | None:
    """Decode a signed EIP-1559 transfer; None when it is none."""
    try:
        fields = rlp.decode(raw[1:])
        chain_id, nonce, tip, fee, gas, value = (int.from_bytes(fields[i], "big") for i in (0, 1, 2, 3, 4, 6))
        sender = Account.recover_transaction(raw)
        recipient = to_checksum_address(fields[5])
    except Exception:
        return None
    return FakeTransaction("0x" + keccak(raw).hex(), chain_id, sender, nonce, recipient, value, gas, fee, tip, raw)


def body_as_json(block: FakeBlock) -> bytes:
    """Return a block as eth_getBlockByNumber gives it with full transactions."""
    header = block.header
    return json.dumps(
        {
            "number": hex(header.number),
            "hash": header.hash,
            "parentHash": header.parent_hash,
            "timestamp": hex(header.timestamp),
            "baseFeePerGas": hex(header.base_fee_per_gas_in_wei),
            "gasLimit": hex(header.gas_limit),
            "transactions": [
                {
                    "hash": transaction.hash,
                    "from": transaction.from_address.lower(),
                    "to": transaction.to_address.lower(),
                    "value": hex(transaction.value_in_wei),
                }
                for transaction in block.transactions
            ],
        }
    ).encode()
