"""A client repeats under the same key until it knows, and notes everything that it was told."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from random import Random
from typing import Any

import pytest

from chaos.cast import POOR_AMOUNT_IN_WEI, Payer
from chaos.clients import Client, PoorClient
from chaos.told import Told

ACCEPTED: tuple[int, dict[str, Any]] = (201, {"id": 7})
CUT: tuple[int, dict[str, Any]] = (0, {})


class Site(ThreadingHTTPServer):
    """A site that answers as it was told to, request by request, and notes what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[tuple[int, dict[str, Any]]] = []
        self.asked: list[tuple[str, str | None, str | None, Any]] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Site

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked = (self.path, self.headers["Authorization"], self.headers["Idempotency-Key"], body)
        self.server.asked.append(asked)
        status, told = self.server.answers.pop(0)
        if status == 0:
            self.close_connection = True
            return
        content = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def site() -> Iterator[Site]:
    server = Site()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def client(site: Site, told: Told) -> Iterator[Client]:
    made = Client("ann", Payer("ann", "secret", [5]), site.server_port, told, Random(1), count(1))
    yield made
    made._api.close()


def test_it_asks_under_the_same_key_until_it_knows(site: Site, client: Client, told: Told) -> None:
    site.answers = [(503, {"code": "database_unavailable"}), CUT, (409, {"code": "account_locked"}), CUT, ACCEPTED]
    order = client.new_order()
    assert client.pay(order) == 7
    assert [answer.status for answer in told.answers] == [503, 0, 409, 0, 201]
    assert {answer.subject for answer in told.answers} == {"ann-1"}
    assert told.orders == {"ann-1": order}
    body = {
        "user_account_id": 5,
        "to_public_address": order.to_address,
        "transaction_amount_in_wei": str(order.amount_in_wei),
    }
    assert site.asked == [("/api/v1/transactions", "Bearer secret", "ann-1", body)] * 5


def test_a_refusal_is_an_answer(site: Site, client: Client, told: Told) -> None:
    site.answers = [(500, {}), (422, {"code": "insufficient_funds", "errors": ["left out"]})]
    assert client.pay(client.new_order()) is None
    assert told.answers[-1].body == {"code": "insufficient_funds"}
    assert told.acceptances() == []


def test_each_order_has_a_key_and_mostly_an_address_of_its_own(client: Client) -> None:
    orders = [client.new_order() for _ in range(100)]
    assert len({order.key for order in orders}) == 100
    assert 80 < len({order.to_address for order in orders}) < 100


def test_the_poor_always_want_the_same(site: Site, told: Told) -> None:
    poor = PoorClient("poor-1", Payer("poor", "secret", [6]), site.server_port, told, Random(1), count(1))
    assert {poor.new_order().amount_in_wei for _ in range(20)} == {POOR_AMOUNT_IN_WEI}


def test_who_is_told_to_finish_still_learns_what_became_of_the_last_order(site: Site, client: Client) -> None:
    site.answers = [CUT, (503, {}), (200, {"id": 8})]
    client.finish()
    assert client.pay(client.new_order()) == 8
