"""An HTTP/1.1 client that takes as little of the machine as it can: raw keep-alive sockets, one thread, one selector.

It shares the machine with what it measures, so what it costs is taken from the figures.
"""

import selectors
import socket
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"content-length:"
ANSWER_SECONDS_MAX = 30.0


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer. `sent_at` is wall-clock time; with a fixed rate, the time the request was due."""

    sent_at: float
    seconds: float
    status: int
    body: bytes


class ClientError(Exception):
    """The server closed a connection or answered in a way this client doesn't read."""


def build_request(method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """Return the bytes of a request to the loopback interface."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *(f"{name}: {value}" for name, value in headers.items())]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + _END_OF_HEAD + body


def keep_busy(port: int, streams: Sequence[Iterator[bytes]], seconds: float) -> list[Exchange]:
    """Keep one request under way on each of `len(streams)` connections; return what was answered within the time.

    :param streams: for each connection, the requests it sends one after another.
    """
    done: list[Exchange] = []
    with _Connections(port, len(streams)) as connections:
        deadline = time.perf_counter() + seconds
        for connection, stream in zip(connections.all, streams, strict=True):
            connection.send(next(stream), time.time())
        streams_of = dict(zip(connections.all, streams, strict=True))
        under_way = len(streams)
        while under_way:
            for connection, exchange in connections.answers(ANSWER_SECONDS_MAX):
                if time.perf_counter() < deadline:
                    done.append(exchange)
                    connection.send(next(streams_of[connection]), time.time())
                else:
                    under_way -= 1
    return done


def keep_pace(port: int, requests: Iterable[bytes], *, per_second: float, connections_max: int = 64) -> list[Exchange]:
    """Send the requests evenly paced, whether or not earlier ones were answered; return all exchanges.

    A request that finds every connection busy waits, and its time counts from when it was due.
    """
    done: list[Exchange] = []
    with _Connections(port, connections_max) as connections:
        idle = deque(connections.all)
        start, wall = time.perf_counter(), time.time()
        due: deque[tuple[float, bytes]] = deque(
            (number / per_second, request) for number, request in enumerate(requests)
        )
        while due or len(idle) < connections_max:
            elapsed = time.perf_counter() - start
            while due and idle and due[0][0] <= elapsed:
                at, request = due.popleft()
                idle.popleft().send(request, wall + at)
            patience = max(0.0, due[0][0] - elapsed) if due and idle else ANSWER_SECONDS_MAX
            for connection, exchange in connections.answers(patience, may_be_none=bool(due and idle)):
                done.append(exchange)
                idle.append(connection)
    return done


class _Connection:
    """One keep-alive connection with at most one request under way."""

    __slots__ = ("_received", "_sent_at", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self._received = b""
        self._sent_at = 0.0

    def send(self, request: bytes, sent_at: float) -> None:
        self._sent_at = sent_at
        if self.socket.send(request) != len(request):
            raise ClientError("A request did not fit into the socket's buffer.")

    def receive(self) -> Exchange | None:
        """Take in what has arrived; return the exchange when the answer is whole."""
        arrived = self.socket.recv(262_144)
        if not arrived:
            raise ClientError("The server closed the connection.")
        self._received = self._received + arrived if self._received else arrived
        head, separator, body = self._received.partition(_END_OF_HEAD)
        if not separator or len(body) < _body_length(head):
            return None
        self._received = b""
        return Exchange(self._sent_at, time.time() - self._sent_at, int(head[9:12]), body)


class _Connections:
    """A fixed number of connections behind one selector."""

    def __init__(self, port: int, count: int) -> None:
        self.all = [_Connection(port) for _ in range(count)]
        self._selector = selectors.DefaultSelector()
        for connection in self.all:
            self._selector.register(connection.socket, selectors.EVENT_READ, connection)

    def __enter__(self) -> "_Connections":
        return self

    def __exit__(self, *_exception: object) -> None:
        self._selector.close()
        for connection in self.all:
            connection.socket.close()

    def answers(self, timeout_seconds: float, *, may_be_none: bool = False) -> list[tuple[_Connection, Exchange]]:
        """Wait for answers and return those that are whole.

        :raises ClientError: when there is nothing in time, unless that `may_be_none`.
        """
        ready = self._selector.select(timeout_seconds)
        if not ready and not may_be_none:
            raise ClientError(f"No answer within {timeout_seconds:g} s.")
        received = [(key.data, key.data.receive()) for key, _ in ready]
        return [(connection, exchange) for connection, exchange in received if exchange is not None]


def _body_length(head: bytes) -> int:
    """Return what the head announces.

    :raises ClientError: when it announces no length: then the body comes in chunks, which this client doesn't read.
    """
    lower = head.lower()
    start = lower.find(_LENGTH)
    if start < 0:
        raise ClientError("An answer without Content-Length.")
    end = lower.find(b"\r\n", start)
    return int(lower[start + len(_LENGTH) : end if end >= 0 else None])
