"""A node that follows a script."""

from collections.abc import Iterator

import pytest

from tests.fakes.node import ScriptedNode, serve


@pytest.fixture
def node() -> Iterator[ScriptedNode]:
    with serve(ScriptedNode()) as scripted:
        scripted.answers["eth_chainId"] = lambda params: "0x7a69"
        scripted.answers["eth_getBalance"] = lambda params: "0x64"
        scripted.answers["eth_getTransactionCount"] = lambda params: "0x1" if params[1] == "latest" else "0x2"
        scripted.answers["eth_feeHistory"] = lambda params: {"baseFeePerGas": ["0x5", "0x7"], "reward": [["0x2"]]}
        yield scripted
