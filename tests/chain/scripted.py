"""What the tests against a scripted node share."""

import time
from collections.abc import Callable
from typing import Any

from tests.chain.harness import CHAIN_ID
from tests.fakes.node import NodeFaultError, ScriptedNode
from transactions.chain.node import NodeChain, NodeOptions

ADDRESS = "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A"
HASHES = [f"0x{number:064x}" for number in range(1, 20)]
PLAIN_CALL = {"status": "0x1", "gasUsed": "0x5208", "logs": [], "returnData": "0x"}


def well() -> ScriptedNode:
    """Return a node that is well: on our chain, at block 100."""
    node = ScriptedNode()
    node.answers["eth_chainId"] = lambda params: "0x7a69"
    node.answers["eth_blockNumber"] = lambda params: "0x64"
    node.answers["eth_getBalance"] = lambda params: "0x64"
    node.answers["eth_getTransactionCount"] = lambda params: "0x1" if params[1] == "latest" else "0x2"
    node.answers["eth_feeHistory"] = lambda params: {"baseFeePerGas": ["0x5", "0x7"], "reward": [["0x2"]]}
    return node


def fail(code: int, message: str) -> Any:
    def answer(params: list[Any]) -> Any:
        raise NodeFaultError(code, message)

    return answer


def fresh_chain_of(
    *urls: str, clock: Callable[[], float] = time.monotonic, timeout_seconds: float = 5, **options: Any
) -> NodeChain:
    """Return the chain of these nodes as a new process finds it."""
    values: dict[str, Any] = {"chain_id": CHAIN_ID, "batch_size": 500, "timeout_seconds": timeout_seconds} | options
    return NodeChain(urls, NodeOptions(**values), clock=clock)


def chain_of(*urls: str, timeout_seconds: float = 5, **options: Any) -> NodeChain:
    """Return the chain of nodes whose chain id was checked a moment ago, and isn't asked for."""
    chain = fresh_chain_of(*urls, timeout_seconds=timeout_seconds, **options)
    for node in chain._roster.nodes:
        assert node.health.found(CHAIN_ID)
    return chain


def receipt_of(hash_: str, number: int = 1, **fields: Any) -> dict[str, Any]:
    return {
        "transactionHash": hash_,
        "blockNumber": hex(number),
        "blockHash": "0x" + "cd" * 32,
        "status": "0x1",
        "gasUsed": "0x5208",
        "effectiveGasPrice": "0x3",
    } | fields


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds

    def forward(self, seconds: float) -> None:
        self.seconds += seconds
