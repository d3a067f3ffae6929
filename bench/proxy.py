"""A proxy in front of a node that counts the HTTP round trips and the JSON-RPC calls in them."""

import http.client
import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import cast

LOOPBACK = "127.0.0.1"


class CountingProxy:
    """Pass JSON-RPC on to a node on the loopback interface and count it; use it as a context manager."""

    def __init__(self, node_port: int) -> None:
        self._server = _Server(node_port)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self._server.server_port}"

    @property
    def round_trips(self) -> int:
        return self._server.round_trips

    @property
    def calls_by_method(self) -> Counter[str]:
        with self._server.lock:
            return self._server.calls_by_method.copy()

    def reset(self) -> None:
        """Count anew from here."""
        with self._server.lock:
            self._server.round_trips = 0
            self._server.calls_by_method.clear()

    def __enter__(self) -> "CountingProxy":
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, node_port: int) -> None:
        super().__init__((LOOPBACK, 0), _Handler)
        self.node_port = node_port
        self.lock = threading.Lock()
        self.round_trips = 0
        self.calls_by_method: Counter[str] = Counter()

    def count(self, body: bytes) -> None:
        """Count one request: a batch (JSON-RPC 2.0, section 6) is an array of calls."""
        message = json.loads(body)
        methods = [call["method"] for call in (message if isinstance(message, list) else [message])]
        with self.lock:
            self.round_trips += 1
            self.calls_by_method.update(methods)


class _Handler(BaseHTTPRequestHandler):
    """One client's connection, with one connection to the node behind it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self._node = http.client.HTTPConnection(LOOPBACK, cast(_Server, self.server).node_port, timeout=60)

    def finish(self) -> None:
        self._node.close()
        super().finish()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        cast(_Server, self.server).count(body)
        self._node.request("POST", "/", body, {"Content-Type": "application/json"})
        answer = self._node.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
