"""Nodes that follow a script, and a clock that goes when it is told to."""

from collections.abc import Iterator

import pytest

from tests.chain.scripted import Clock
from tests.fakes.node import ScriptedNode, serve


def well() -> ScriptedNode:
    """Return a node that is well: on our chain, at block 100."""
    node = ScriptedNode()
    node.answers["eth_chainId"] = lambda params: "0x7a69"
    node.answers["eth_blockNumber"] = lambda params: "0x64"
    node.answers["eth_getBalance"] = lambda params: "0x64"
    node.answers["eth_getTransactionCount"] = lambda params: "0x1" if params[1] == "latest" else "0x2"
    node.answers["eth_feeHistory"] = lambda params: {"baseFeePerGas": ["0x5", "0x7"], "reward": [["0x2"]]}
    return node


@pytest.fixture
def node() -> Iterator[ScriptedNode]:
    with serve(well()) as scripted:
        yield scripted


@pytest.fixture
def second() -> Iterator[ScriptedNode]:
    with serve(well()) as scripted:
        yield scripted


@pytest.fixture
def clock() -> Clock:
    return Clock()
