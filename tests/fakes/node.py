"""An HTTP server that speaks JSON-RPC as badly as the test wants."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[list[Any]], Any]


class NodeFaultError(Exception):
    """What an answer raises to make its item a JSON-RPC error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class ScriptedNode:
    """A node whose answers are functions of the parameters, by method; other methods are "not found"."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.status = 200
        self.mangle: Callable[[list[dict[str, Any]]], Any] = lambda replies: replies
        self.body: bytes | None = None
        self.stall = threading.Event()
        """While set, requests are taken and not answered."""
        self.trips: list[list[str]] = []
        """The methods of each HTTP request."""
        self.connections = 0
        self.port = 0

    def url(self, credentials: str = "", path: str = "") -> str:
        """Return the server's address."""
        return f"http://{credentials}127.0.0.1:{self.port}{path}"

    def reply_to(self, request: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Answer one batch."""
        return [self._item(call) for call in request]

    def _item(self, call: dict[str, Any]) -> dict[str, Any]:
        answer = self.answers.get(call["method"])
        head = {"jsonrpc": "2.0", "id": call["id"]}
        if answer is None:
            return head | {"error": {"code": -32601, "message": "Method not found"}}
        try:
            return head | {"result": answer(call["params"])}
        except NodeFaultError as fault:
            return head | {"error": {"code": fault.code, "message": fault.message}}


@contextmanager
def serve(node: ScriptedNode) -> Iterator[ScriptedNode]:
    """Serve the node on a free port of the loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            node.connections += 1

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            node.trips.append([call["method"] for call in request])
            if node.stall.is_set():
                closing.wait(20)
                self.close_connection = True
                return
            body = node.body if node.body is not None else json.dumps(node.mangle(node.reply_to(request))).encode()
            self.send_response(node.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    closing = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    node.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield node
    finally:
        closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
