"""A proxy in front of a node that counts the HTTP round trips and the JSON-RPC calls in them."""

import json
import threading
from collections import Counter

from txnsite.stack.rpc_proxy import NodeConnection, RpcProxy


class CountingProxy(RpcProxy):
    """Pass JSON-RPC on to a node on the loopback interface and count it; use it as a context manager."""

    def __init__(self, node_port: int) -> None:
        super().__init__(node_port)
        self._lock = threading.Lock()
        self._round_trips = 0
        self._calls_by_method: Counter[str] = Counter()

    @property
    def round_trips(self) -> int:
        return self._round_trips

    @property
    def calls_by_method(self) -> Counter[str]:
        with self._lock:
            return self._calls_by_method.copy()

    def reset(self) -> None:
        """Count anew from here."""
        with self._lock:
            self._round_trips = 0
            self._calls_by_method.clear()

    def answer(self, body: bytes, node: NodeConnection) -> tuple[int, bytes]:
        """Count one request, and pass it on: a batch (JSON-RPC 2.0, section 6) is an array of calls."""
        message = json.loads(body)
        methods = [call["method"] for call in (message if isinstance(message, list) else [message])]
        with self._lock:
            self._round_trips += 1
            self._calls_by_method.update(methods)
        return node.ask(body)
