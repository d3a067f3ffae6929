"""Reading what nodes answer: hexadecimal quantities, blocks, receipts, fee history (execution-apis, JSON-RPC)."""

from collections.abc import Iterable, Sequence
from statistics import median_low
from typing import Any

from eth_utils.address import to_checksum_address

from transactions.chain.exceptions import ChainReplyError, ChainUnavailableError, NotOfferedError
from transactions.chain.rpc import Reply
from transactions.chain.types import BlockHeader, FeeQuote, MinedTransaction, NonceCount, Receipt

QUIET_PRIORITY_FEE_PER_GAS_IN_WEI = 1_000_000_000
"""The tip to offer when recent blocks were empty or took none: 1 gwei, what nodes suggest on a quiet chain."""


def result_of(reply: Reply) -> Any:
    """Return the result of a call that must have one.

    :raises ChainUnavailableError: when the node only asks to be asked less often.
    :raises NotOfferedError: when it has no such method, or has forgotten blocks that old.
    :raises ChainReplyError: on any other error, and when there is no result.
    """
    if reply.error is not None:
        message = f"The node answered: {reply.error.message}"
        if reply.error.is_limit:
            raise ChainUnavailableError(message)
        raise NotOfferedError(message) if reply.error.is_not_offered else ChainReplyError(message)
    if reply.result is None:
        raise ChainReplyError("The node gave no result where there must be one.")
    return reply.result


def quantity(value: Any) -> int:
    """Read a hexadecimal quantity such as "0x5208".

    :raises ChainReplyError: when it is none.
    """
    if isinstance(value, str) and value.startswith("0x"):
        try:
            return int(value, 16)
        except ValueError:
            pass
    raise ChainReplyError("The node gave something else where a hexadecimal quantity must be.")


def quantities(replies: Iterable[Reply], keys: Iterable[str]) -> dict[str, int]:
    """Read one quantity for each key; all of them, or none."""
    return {key: quantity(result_of(reply)) for key, reply in zip(keys, replies, strict=True)}


def read_nonce_counts(replies: Sequence[Reply], addresses: Sequence[str]) -> dict[str, NonceCount]:
    """Read the counts at "latest" of all addresses, and then those at "pending"."""
    latest = quantities(replies[: len(addresses)], addresses)
    pending = quantities(replies[len(addresses) :], addresses)
    return {address: NonceCount(latest[address], pending[address]) for address in addresses}


def read_header(block: Any) -> BlockHeader:
    """Read a block; one from before EIP-1559 has a base fee of zero.

    :raises ChainReplyError: when a field is missing.
    """
    try:
        return BlockHeader(
            number=quantity(block["number"]),
            hash=block["hash"].lower(),
            parent_hash=block["parentHash"].lower(),
            timestamp=quantity(block["timestamp"]),
            base_fee_per_gas_in_wei=quantity(block.get("baseFeePerGas", "0x0")),
            gas_limit=quantity(block["gasLimit"]),
        )
    except (KeyError, TypeError, AttributeError):
        pass
    raise ChainReplyError("The node gave a block that lacks fields.")


def read_receipt(receipt: Any) -> Receipt | None:
    """Read a receipt; None while the node has not put it in a block (some nodes answer for pending transactions).

    The l1Fee is what an OP-stack chain charges on top for its data (OP stack specification, "L1 cost").

    :raises ChainReplyError: when a field is missing.
    """
    try:
        if receipt["blockHash"] is None or receipt["blockNumber"] is None:
            return None
        gas_used, price = quantity(receipt["gasUsed"]), quantity(receipt["effectiveGasPrice"])
        return Receipt(
            transaction_hash=receipt["transactionHash"].lower(),
            block_number=quantity(receipt["blockNumber"]),
            block_hash=receipt["blockHash"].lower(),
            succeeded=quantity(receipt["status"]) == 1,
            gas_used=gas_used,
            effective_gas_price_in_wei=price,
            network_fee_in_wei=gas_used * price + quantity(receipt.get("l1Fee") or "0x0"),
        )
    except (KeyError, TypeError, AttributeError):
        pass
    raise ChainReplyError("The node gave a receipt that lacks fields.")


def sent_by(address: str, block: Any) -> dict[int, dict[str, Any]]:
    """Return an address's transactions by nonce out of a block with full transactions.

    :raises ChainReplyError: when it is none.
    """
    try:
        sent = [item for item in block["transactions"] if item["from"].lower() == address.lower()]
        return {quantity(item["nonce"]): item for item in sent}
    except (KeyError, TypeError, AttributeError):
        pass
    raise ChainReplyError("The node gave a block whose transactions lack fields.")


def read_mined(transaction: Any, receipt: Receipt) -> MinedTransaction:
    """Read a transaction of a block, given its receipt.

    :raises ChainReplyError: when a field is missing.
    """
    try:
        return MinedTransaction(
            hash=receipt.transaction_hash,
            nonce=quantity(transaction["nonce"]),
            to_address=None if transaction["to"] is None else to_checksum_address(transaction["to"]),
            value_in_wei=quantity(transaction["value"]),
            block_number=receipt.block_number,
            block_hash=receipt.block_hash,
            succeeded=receipt.succeeded,
        )
    except (KeyError, TypeError, ValueError):
        pass
    raise ChainReplyError("The node gave a transaction that lacks fields.")


def read_fee_quote(history: Any) -> FeeQuote:
    """Read eth_feeHistory with one percentile: its last base fee is that of the next block (EIP-1559).

    The tip is the median of those that recent blocks took; empty blocks, and those that took none, say nothing.

    :raises ChainReplyError: when it has no base fees.
    """
    try:
        base_fee = quantity(history["baseFeePerGas"][-1])
        tips = [quantity(rewards[0]) for rewards in history.get("reward") or [] if rewards]
    except (KeyError, TypeError, AttributeError, IndexError):
        raise ChainReplyError("The node gave a fee history that lacks fields.") from None
    tips = [tip for tip in tips if tip > 0]
    return FeeQuote(base_fee, median_low(tips) if tips else QUIET_PRIORITY_FEE_PER_GAS_IN_WEI)
