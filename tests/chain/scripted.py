"""What the tests against a scripted node share."""

from typing import Any

from tests.fakes.node import NodeFaultError
from transactions.chain.node import NodeChain

ADDRESS = "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A"
HASHES = [f"0x{number:064x}" for number in range(1, 20)]
PLAIN_CALL = {"status": "0x1", "gasUsed": "0x5208", "logs": [], "returnData": "0x"}


def fail(code: int, message: str) -> Any:
    def answer(params: list[Any]) -> Any:
        raise NodeFaultError(code, message)

    return answer


def chain_of(*urls: str, batch_size: int = 500, timeout_seconds: float = 5) -> NodeChain:
    return NodeChain(urls, batch_size=batch_size, timeout_seconds=timeout_seconds)


def receipt_of(hash_: str, number: int = 1, **fields: Any) -> dict[str, Any]:
    return {
        "transactionHash": hash_,
        "blockNumber": hex(number),
        "blockHash": "0x" + "cd" * 32,
        "status": "0x1",
        "gasUsed": "0x5208",
        "effectiveGasPrice": "0x3",
    } | fields
