"""The byte proxy passes on what it gets, and fails in each of its ways."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.proxies import Address, Proxy, served
from txnsite.stack.ports import LOOPBACK, free_port


class Echo:
    """A server that sends back what it gets, in capitals, and counts the pieces."""

    def __init__(self, address: Address) -> None:
        self.heard: list[bytes] = []
        family = socket.AF_UNIX if isinstance(address, Path) else socket.AF_INET
        self._listener = socket.socket(family)
        self._listener.bind(str(address) if isinstance(address, Path) else (LOOPBACK, address))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(1_000_000):
                self.heard.append(data)
                connection.sendall(data.upper())


@pytest.fixture
def echo() -> Iterator[tuple[Echo, Proxy]]:
    port = free_port()
    server, proxy = Echo(port), Proxy("echo", listen=free_port(), server=port)
    with served(proxy):
        yield server, proxy
    server.close()


def connect(proxy: Proxy) -> socket.socket:
    if isinstance(proxy.listen, Path):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(5)
        try:
            connection.connect(str(proxy.listen))
        except OSError:
            connection.close()
            raise
        return connection
    return socket.create_connection((LOOPBACK, proxy.listen), timeout=5)


def ask(connection: socket.socket, data: bytes = b"hello") -> bytes:
    """Send data and return as many bytes as come back, up to as many as were sent."""
    connection.sendall(data)
    answer = b""
    while len(answer) < len(data) and (piece := connection.recv(1_000_000)):
        answer += piece
    return answer


def test_bytes_go_both_ways(echo: tuple[Echo, Proxy]) -> None:
    _, proxy = echo
    with connect(proxy) as first, connect(proxy) as second:
        assert ask(first, b"one") == b"ONE"
        assert ask(second, b"x" * 300_000) == b"X" * 300_000


def test_a_unix_socket_is_a_server_too(tmp_path: Path) -> None:
    server = Echo(tmp_path / "server")
    proxy = Proxy("echo", listen=tmp_path / "proxy", server=tmp_path / "server")
    with served(proxy), connect(proxy) as connection:
        assert ask(connection) == b"HELLO"
        proxy.refuse()
        with pytest.raises(FileNotFoundError):
            connect(proxy)
        proxy.admit()
        with connect(proxy) as again:
            assert ask(again) == b"HELLO"
    server.close()


def test_who_refuses_closes_what_is_open_and_listens_no_more(echo: tuple[Echo, Proxy]) -> None:
    _, proxy = echo
    with connect(proxy) as connection:
        ask(connection)
        proxy.refuse()
        assert connection.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            connect(proxy)
        proxy.admit()
        with connect(proxy) as again:
            assert ask(again) == b"HELLO"


def test_a_cut_ends_connections_and_welcomes_new_ones(echo: tuple[Echo, Proxy]) -> None:
    _, proxy = echo
    with connect(proxy) as connection:
        ask(connection)
        proxy.cut()
        assert connection.recv(1) == b""
        with connect(proxy) as again:
            assert ask(again) == b"HELLO"


def test_a_black_hole_keeps_connections_and_gives_back_what_it_held(echo: tuple[Echo, Proxy]) -> None:
    server, proxy = echo
    with connect(proxy) as connection:
        ask(connection)
        proxy.hold()
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            ask(connection, b"later")
        assert b"later" not in server.heard
        proxy.release()
        connection.settimeout(5)
        assert connection.recv(5) == b"LATER"


def test_a_lost_answer_is_one_to_something_that_was_done(echo: tuple[Echo, Proxy]) -> None:
    server, proxy = echo
    with connect(proxy) as connection:
        proxy.lost_answers = 1.0
        assert ask(connection, b"commit") == b""
    assert server.heard == [b"commit"]
    proxy.lost_answers = 0.0
    with connect(proxy) as again:
        assert ask(again) == b"HELLO"


def test_a_slow_connection_takes_its_time_there_and_back(echo: tuple[Echo, Proxy]) -> None:
    _, proxy = echo
    with connect(proxy) as connection:
        proxy.delay_seconds = 0.1
        begun = time.monotonic()
        assert ask(connection) == b"HELLO"
        assert time.monotonic() - begun >= 0.2


def test_a_server_that_is_down_is_an_end_of_the_connection(echo: tuple[Echo, Proxy]) -> None:
    proxy = Proxy("nobody", listen=free_port(), server=free_port())
    with served(proxy), connect(proxy) as connection:
        assert connection.recv(1) == b""
