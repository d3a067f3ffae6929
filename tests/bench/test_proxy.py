"""The counting proxy passes on what it counts."""

import http.client
import json
from collections import Counter
from typing import Any

from bench.proxy import CountingProxy
from txnsite.stack.anvil import Anvil


def test_calls_are_counted_one_by_one_and_batches_as_one_round_trip(anvil: Anvil) -> None:
    with CountingProxy(anvil.port) as proxy:
        client = http.client.HTTPConnection("127.0.0.1", int(proxy.url.rpartition(":")[2]), timeout=10)
        single = _ask(client, _call(1, "eth_chainId"))
        batch = _ask(client, [_call(2, "eth_blockNumber"), _call(3, "eth_chainId"), _call(4, "no_such_method")])
        counted = proxy.round_trips, proxy.calls_by_method
        proxy.reset()
        client.close()
        assert single["result"] == hex(31_337)
        assert [answer["id"] for answer in batch] == [2, 3, 4]
        assert "error" in batch[2]
        assert counted == (2, Counter({"eth_chainId": 2, "eth_blockNumber": 1, "no_such_method": 1}))
        assert (proxy.round_trips, proxy.calls_by_method.total()) == (0, 0)


def _call(number: int, method: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": []}


def _ask(client: http.client.HTTPConnection, message: object) -> Any:
    client.request("POST", "/", json.dumps(message), {"Content-Type": "application/json"})
    return json.loads(client.getresponse().read())
