"""A proxy in front of a node, for whoever wants to see, or to change, what is asked and answered."""

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self, cast

from txnsite.stack.ports import LOOPBACK

NODE_TIMEOUT_SECONDS = 60


class NoAnswerError(Exception):
    """The client's connection is to be closed without an answer."""


class RpcProxy:
    """Pass JSON-RPC over HTTP on to a node on the loopback interface; use it as a context manager.

    :param port: where it listens; 0 takes any free one.
    """

    def __init__(self, node_port: int, port: int = 0) -> None:
        self.node_port = node_port
        self._server = _Server((LOOPBACK, port), _Handler)
        self._server.proxy = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, body: bytes, node: "NodeConnection") -> tuple[int, bytes]:
        """Return the HTTP status and body that a request is answered with; called by many threads at once.

        :raises NoAnswerError: when it is to get none.
        """
        return node.ask(body)


class NodeConnection:
    """One keep-alive connection to the node, behind one connection of a client."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection(LOOPBACK, port, timeout=NODE_TIMEOUT_SECONDS)

    def ask(self, body: bytes) -> tuple[int, bytes]:
        """Put one request to the node and return status and body.

        :raises NoAnswerError: when the node gives none.
        """
        try:
            self._connection.request("POST", "/", body, {"Content-Type": "application/json"})
            answer = self._connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            # The next request opens a new one.
            self._connection.close()
            raise NoAnswerError from None

    def close(self) -> None:
        self._connection.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    proxy: RpcProxy


class _Handler(BaseHTTPRequestHandler):
    """One client's connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self._proxy = cast(_Server, self.server).proxy
        self._node = NodeConnection(self._proxy.node_port)

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            # The client has gone; there is nobody to answer.
            self.close_connection = True

    def finish(self) -> None:
        self._node.close()
        try:
            super().finish()
        except OSError:
            self.close_connection = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            status, content = self._proxy.answer(body, self._node)
        except NoAnswerError:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
