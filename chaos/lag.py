"""A node that is some blocks behind: it answers as it would have when its head was the newest block.

What it is asked about the newest block it answers from its own head, and what lies beyond that it doesn't have. What it
is sent it passes on to the network at once, as nodes that are still syncing do.
"""

import json
from random import Random
from typing import Any

from chaos.moods import Mood, calls_of
from txnsite.stack.rpc_proxy import NodeConnection

# Where each method has its block (execution-apis, JSON-RPC specification); those that leave it out mean the newest.
_BLOCK_PARAMETER = {
    "eth_getBlockByNumber": 0,
    "eth_getBlockReceipts": 0,
    "eth_getBalance": 1,
    "eth_getTransactionCount": 1,
    "eth_feeHistory": 1,
    "eth_simulateV1": 1,
    "eth_estimateGas": 1,
    "eth_call": 1,
    "eth_getCode": 1,
}
_OF_ONE_BLOCK = frozenset({"eth_getBlockByNumber", "eth_getBlockReceipts"})
_NEWEST = frozenset({"latest", "safe", "finalized"})


class Lag(Mood):
    """Answer from a head that is `blocks` behind where the chain was when this began, and stays there.

    :param share: the share of the requests that meet this node; the others meet one that is not behind, as with a
        provider that spreads requests over many nodes.
    """

    def __init__(self, head: int, blocks: int, share: float, rng: Random) -> None:
        self.head = max(0, head - blocks)
        self.share = share
        self._rng = rng

    def answer(self, body: bytes, node: NodeConnection) -> tuple[int, bytes]:
        if self._rng.random() >= self.share:
            return node.ask(body)
        message = json.loads(body)
        asked = [self._as_of_head(call) for call in calls_of(body)]
        status, content = node.ask(json.dumps(asked).encode())
        replies = json.loads(content)
        if not isinstance(replies, list):
            return status, content
        told = [self._forget(call["method"], reply) for call, reply in zip(asked, replies, strict=True)]
        return status, json.dumps(told if isinstance(message, list) else told[0]).encode()

    def _as_of_head(self, call: dict[str, Any]) -> dict[str, Any]:
        """Return the call with the newest block replaced by our head."""
        position = _BLOCK_PARAMETER.get(call["method"])
        if position is None:
            return call
        parameters = list(call.get("params", []))
        if len(parameters) <= position:
            parameters.append("latest")
        if parameters[position] in _NEWEST:
            parameters[position] = hex(self.head)
        return {**call, "params": parameters}

    def _forget(self, method: str, reply: dict[str, Any]) -> dict[str, Any]:
        """Return the reply without what is beyond our head."""
        result = reply.get("result")
        match method:
            case "eth_blockNumber":
                return {**reply, "result": hex(self.head)}
            case _ if method in _OF_ONE_BLOCK and result and self._is_beyond(_number_of(result)):
                return {**reply, "result": None}
            case "eth_getTransactionReceipt" if result and self._is_beyond(result["blockNumber"]):
                return {**reply, "result": None}
            case "eth_getTransactionByHash" if result and self._is_beyond(result["blockNumber"]):
                # It is in the pool of this node still.
                return {**reply, "result": result | dict.fromkeys(("blockHash", "blockNumber", "transactionIndex"))}
            case _:
                return reply

    def _is_beyond(self, number: str | None) -> bool:
        return number is not None and int(number, 16) > self.head


def _number_of(result: Any) -> str | None:
    """Return the number of a block, or of the block of a list of receipts."""
    if isinstance(result, list):
        return str(result[0]["blockNumber"]) if result else None
    return str(result["number"])
