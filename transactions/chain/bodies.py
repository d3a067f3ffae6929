"""Reading whole blocks as they were stored: JSON of eth_getBlockByNumber with full transactions."""

from typing import Any

from eth_utils.address import to_checksum_address
from pydantic_core import from_json

from transactions.chain.exceptions import ChainReplyError
from transactions.chain.replies import quantity, read_header
from transactions.chain.types import BlockBody, BlockTransfer


def read_body(raw: bytes) -> BlockBody:
    """Read a stored block: its header, and each transaction that carries ether to an address.

    :raises ChainReplyError: when it is no block with full transactions.
    """
    try:
        block = from_json(raw)
        carrying = [item for item in block["transactions"] if item["to"] is not None and quantity(item["value"])]
        return BlockBody(read_header(block), [_read_transfer(item) for item in carrying])
    except (KeyError, TypeError, ValueError):
        pass
    raise ChainReplyError("The node gave a block whose transactions lack fields.")


def _read_transfer(transaction: Any) -> BlockTransfer:
    return BlockTransfer(
        hash=transaction["hash"].lower(),
        from_address=to_checksum_address(transaction["from"]),
        to_address=to_checksum_address(transaction["to"]),
        value_in_wei=quantity(transaction["value"]),
    )
