"""Reading whole blocks as they were stored: JSON of eth_getBlockByNumber with full transactions."""

from typing import Any

from pydantic_core import from_json

from transactions.chain.exceptions import ChainReplyError
from transactions.chain.replies import quantity
from transactions.chain.types import BlockTransfer


def read_transfers(body: bytes) -> list[BlockTransfer]:
    """Read each transaction of a stored block that carries ether to an address.

    What contracts pay on is not among them.

    :raises ChainReplyError: when it is no block with full transactions.
    """
    try:
        transactions = from_json(body)["transactions"]
        return [_read(item) for item in transactions if item["to"] is not None and quantity(item["value"])]
    except (KeyError, TypeError, ValueError, AttributeError):
        pass
    raise ChainReplyError("The node gave a block whose transactions lack fields.")


def _read(transaction: Any) -> BlockTransfer:
    return BlockTransfer(
        hash=transaction["hash"].lower(),
        from_address=transaction["from"].lower(),
        to_address=transaction["to"].lower(),
        value_in_wei=quantity(transaction["value"]),
    )
