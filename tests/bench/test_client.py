"""The bench's client counts what was answered, and times it from when it was due."""

import itertools
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bench.client import ClientError, build_request, keep_busy, keep_pace

GET = build_request("GET", "/", {"Authorization": "Bearer secret"})


class Handler(BaseHTTPRequestHandler):
    """Answers with the request's own body and header; waits for the gate at /wait."""

    protocol_version = "HTTP/1.1"
    gate = threading.Event()

    def do_GET(self) -> None:
        if self.path == "/wait":
            self.gate.wait(10)
        self._answer(200, (self.headers["Authorization"] or "").encode())

    def do_POST(self) -> None:
        self._answer(201, self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        if self.path != "/endless":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        # In two parts, as a long answer comes.
        self.wfile.write(body[:3])
        self.wfile.flush()
        self.wfile.write(body[3:])

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    Handler.gate.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_port
    Handler.gate.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_every_connection_is_kept_busy_until_the_time_is_over(port: int) -> None:
    exchanges = keep_busy(port, [itertools.repeat(GET), itertools.repeat(GET)], 0.2)
    assert len(exchanges) > 2
    assert {(exchange.status, exchange.body) for exchange in exchanges} == {(200, b"Bearer secret")}
    assert all(0 < exchange.seconds < 10 for exchange in exchanges)


def test_bodies_are_sent_and_read_whole(port: int) -> None:
    body = b'{"amount": 1}' * 1000
    (exchange,) = keep_pace(port, [build_request("POST", "/", {}, body)], per_second=10, connections_max=1)
    assert (exchange.status, exchange.body) == (201, body)


def test_requests_are_due_at_an_even_pace(port: int) -> None:
    exchanges = keep_pace(port, [GET] * 4, per_second=20, connections_max=2)
    due = sorted(exchange.sent_at for exchange in exchanges)
    assert [round(later - due[0], 6) for later in due] == [0.0, 0.05, 0.1, 0.15]


def test_waiting_for_a_free_connection_counts(port: int) -> None:
    opener = threading.Timer(0.3, Handler.gate.set)
    opener.start()
    slow, quick = keep_pace(port, [build_request("GET", "/wait", {}), GET], per_second=1_000, connections_max=1)
    opener.join()
    assert slow.seconds >= 0.29
    # It was due after a millisecond, however quickly it was answered in the end.
    assert quick.seconds >= 0.29


def test_an_answer_of_unknown_length_is_refused(port: int) -> None:
    with pytest.raises(ClientError):
        keep_pace(port, [build_request("GET", "/endless", {})], per_second=1, connections_max=1)
