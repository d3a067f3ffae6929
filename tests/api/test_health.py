"""Readiness with each part down in turn: its state is told, and only the database makes the site not ready."""

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.backends.postgresql.base import DatabaseWrapper
from django.test import Client
from kombu import Connection

from tests.chain.scripted import well
from tests.fakes.chain import FakeChain
from tests.fakes.node import serve
from transactions.chain import use_chain
from transactions.models import Block
from txnsite import health
from txnsite.celery import app as celery_app
from txnsite.stack.ports import free_port

PARTS = {"database", "cache", "broker", "chain", "follower"}

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    health.readiness.forget()
    yield
    health.readiness.forget()


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port where connections are taken and nothing is ever said."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def readiness_of(client: Client, query: str = "") -> tuple[int, str, dict[str, str]]:
    """Return status, word and state of each part."""
    response = client.get(f"/readyz{query}")
    told = response.json()
    assert response["Cache-Control"] == "no-store"
    assert set(told) == {"status", "checks"}
    assert set(told["checks"]) == PARTS
    assert set(told["checks"]["chain"].pop("nodes")[0]) == {"node", "state"}
    told["checks"]["follower"].pop("block_age_in_seconds", None)
    assert all(set(check) == {"state", "latency_in_ms"} for check in told["checks"].values())
    assert all(check["latency_in_ms"] >= 0 for check in told["checks"].values())
    return response.status_code, told["status"], {name: check["state"] for name, check in told["checks"].items()}


def up_but(**states: str) -> dict[str, str]:
    """Return the states of a site where all is up but these."""
    return {**dict.fromkeys(PARTS, "up"), **states}


def take_cache_away(settings: Any, port: int) -> None:
    """Let the cache be at a port where it isn't."""
    settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": f"redis://user:s3cret@127.0.0.1:{port}/1"}}


def take_broker_away(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """Let the broker be at a port where it isn't."""
    options = celery_app.conf.broker_transport_options
    broker = Connection(f"redis://user:s3cret@127.0.0.1:{port}/0", transport_options=options)
    monkeypatch.setattr(celery_app, "connection_for_write", lambda: broker)


def take_database_away(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """Let new connections to the database go to a port where it isn't."""
    monkeypatch.setattr(
        DatabaseWrapper,
        "get_connection_params",
        lambda _: {"host": "127.0.0.1", "port": port, "dbname": "x", "password": "s3cret"},
    )


def test_alive(client: Client, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        response = client.get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "alive"})


def test_ready(client: Client) -> None:
    assert readiness_of(client) == (200, "ready", up_but())
    assert readiness_of(client, "?strict=1")[0] == 200


def test_without_cache(client: Client, settings: Any) -> None:
    take_cache_away(settings, free_port())
    assert readiness_of(client) == (200, "degraded", up_but(cache="down"))
    assert readiness_of(client, "?strict=1")[:2] == (503, "degraded")


def test_without_broker(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    take_broker_away(monkeypatch, free_port())
    assert readiness_of(client) == (200, "degraded", up_but(broker="down"))
    assert readiness_of(client, "?strict=1")[:2] == (503, "degraded")


def test_without_chain(client: Client, settings: Any) -> None:
    settings.CHAIN_RPC_URLS = [f"http://user:s3cret@127.0.0.1:{free_port()}"]
    assert readiness_of(client) == (200, "degraded", up_but(chain="down"))
    assert readiness_of(client, "?strict=1")[:2] == (503, "degraded")


def test_on_the_wrong_chain(client: Client, settings: Any) -> None:
    settings.CHAIN_ID = 1
    use_chain(FakeChain())
    try:
        assert readiness_of(client) == (200, "degraded", up_but(chain="wrong chain"))
    finally:
        use_chain(None)


def nodes_told(client: Client) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = client.get("/readyz").json()["checks"]["chain"]["nodes"]
    return told


def test_each_node_is_told(client: Client, settings: Any) -> None:
    with serve(well()) as ours, serve(well()) as stranger, serve(well()) as late:
        stranger.answers["eth_chainId"] = lambda params: "0x5"
        late.answers["eth_blockNumber"] = lambda params: "0x1"
        down = f"http://user:s3cret@127.0.0.1:{free_port()}"
        settings.CHAIN_RPC_URLS = [stranger.url(), down, late.url(), ours.url()]
        assert readiness_of(client) == (200, "ready", up_but())
        assert nodes_told(client) == [
            {"node": 1, "state": "wrong chain"},
            {"node": 2, "state": "down"},
            {"node": 3, "state": "behind"},
            {"node": 4, "state": "up"},
        ]


def test_nodes_that_are_all_on_another_chain_or_down(client: Client, settings: Any) -> None:
    with serve(well()) as stranger:
        stranger.answers["eth_chainId"] = lambda params: "0x5"
        settings.CHAIN_RPC_URLS = [f"http://127.0.0.1:{free_port()}", stranger.url()]
        assert readiness_of(client) == (200, "degraded", up_but(chain="wrong chain"))
        assert nodes_told(client) == [{"node": 1, "state": "down"}, {"node": 2, "state": "wrong chain"}]


def test_a_node_that_has_not_answered_yet_is_not_called_up(client: Client, settings: Any, silent_port: int) -> None:
    settings.CHAIN_RPC_URLS = [f"http://127.0.0.1:{silent_port}"]
    settings.CHAIN_RPC_TIMEOUT_SECONDS = 5
    assert readiness_of(client)[2]["chain"] == "timeout"
    assert nodes_told(client) == [{"node": 1, "state": "timeout"}]


def test_the_only_node_hangs_after_it_was_well(client: Client, settings: Any) -> None:
    settings.CHAIN_RPC_TIMEOUT_SECONDS = 5
    with serve(well()) as node:
        settings.CHAIN_RPC_URLS = [node.url()]
        assert readiness_of(client)[1] == "ready"
        node.stall.set()
        health.readiness.forget()
        assert readiness_of(client) == (200, "degraded", up_but(chain="timeout"))
        assert nodes_told(client) == [{"node": 1, "state": "timeout"}]


def test_of_several_nodes_the_one_that_hangs_is_named(client: Client, settings: Any) -> None:
    settings.CHAIN_RPC_TIMEOUT_SECONDS = 5
    with serve(well()) as node, serve(well()) as spare:
        settings.CHAIN_RPC_URLS = [node.url(), spare.url()]
        assert readiness_of(client)[1] == "ready"
        node.stall.set()
        health.readiness.forget()
        assert readiness_of(client) == (200, "degraded", up_but(chain="timeout"))
        assert nodes_told(client) == [{"node": 1, "state": "timeout"}, {"node": 2, "state": "up"}]


@pytest.mark.django_db(transaction=True)
class TestFollower:
    @pytest.fixture(autouse=True)
    def _patience(self, settings: Any) -> None:
        settings.STANDSTILL_AFTER_SECONDS = 300

    def walk(self, number: int, *, age_in_seconds: int) -> int:
        """Record a block as the follower does, and return when it was made."""
        made_at = int(time.time()) - age_in_seconds
        Block.objects.create(number=number, hash=f"0x{number:064x}", parent_hash="0x", timestamp=made_at)
        return made_at

    def age_told(self, client: Client) -> int | None:
        age: int | None = client.get("/readyz").json()["checks"]["follower"]["block_age_in_seconds"]
        return age

    def test_the_newest_block_that_was_walked_is_too_old(self, client: Client) -> None:
        self.walk(9, age_in_seconds=0)
        newest_made_at = self.walk(10, age_in_seconds=400)
        assert readiness_of(client) == (200, "degraded", up_but(follower="behind"))
        age = self.age_told(client)
        assert age is not None
        assert 400 <= age <= time.time() - newest_made_at
        assert readiness_of(client, "?strict=1")[:2] == (503, "degraded")

    def test_it_is_young_enough(self, client: Client) -> None:
        self.walk(9, age_in_seconds=4000)
        newest_made_at = self.walk(10, age_in_seconds=200)
        assert readiness_of(client, "?strict=1") == (200, "ready", up_but())
        age = self.age_told(client)
        assert age is not None
        assert 200 <= age <= time.time() - newest_made_at

    def test_a_chain_whose_clock_is_ahead(self, client: Client) -> None:
        self.walk(10, age_in_seconds=-1000)
        assert readiness_of(client)[1] == "ready"
        assert self.age_told(client) == 0

    def test_a_desk_that_has_never_walked_a_block_is_not_behind(self, client: Client) -> None:
        assert readiness_of(client, "?strict=1") == (200, "ready", up_but())
        assert self.age_told(client) is None

    def test_a_chain_that_makes_blocks_on_demand(self, client: Client, settings: Any) -> None:
        settings.STANDSTILL_AFTER_SECONDS = 0
        self.walk(10, age_in_seconds=4000)
        assert readiness_of(client, "?strict=1") == (200, "ready", up_but())

    def test_whom_its_question_keeps_waiting_is_told_so(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(health, "LIMIT_SECONDS", 1)
        self.walk(10, age_in_seconds=0)
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("LOCK TABLE transactions_block IN ACCESS EXCLUSIVE MODE")
            assert readiness_of(client) == (200, "degraded", up_but(follower="timeout"))
        health.readiness.forget()
        assert readiness_of(client) == (200, "ready", up_but())


def test_without_database(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    take_database_away(monkeypatch, free_port())
    assert readiness_of(client) == (503, "down", up_but(database="down", follower="down"))


def test_with_a_database_that_only_reads(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = connection.get_connection_params()
    parameters["options"] += " -c default_transaction_read_only=on"
    monkeypatch.setattr(DatabaseWrapper, "get_connection_params", lambda _: dict(parameters))
    assert readiness_of(client) == (503, "down", up_but(database="down"))


def test_nothing_secret_is_told(client: Client, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    port = free_port()
    take_cache_away(settings, port)
    take_broker_away(monkeypatch, port)
    take_database_away(monkeypatch, port)
    settings.CHAIN_RPC_URLS = [f"http://user:s3cret@127.0.0.1:{port}"]
    response = client.get("/readyz")
    assert {check["state"] for check in response.json()["checks"].values()} == {"down"}
    for secret in ("s3cret", str(port), "127.0.0.1", "redis", "http"):
        assert secret not in response.content.decode()


def test_silent_parts_cost_two_seconds_together(
    client: Client, monkeypatch: pytest.MonkeyPatch, settings: Any, silent_port: int
) -> None:
    take_cache_away(settings, silent_port)
    take_broker_away(monkeypatch, silent_port)
    settings.CHAIN_RPC_URLS = [f"http://127.0.0.1:{silent_port}"]
    settings.CHAIN_RPC_TIMEOUT_SECONDS = 5
    started = time.monotonic()
    status, word, states = readiness_of(client)
    assert time.monotonic() - started < health.LIMIT_SECONDS + 0.5
    assert (status, word, states["database"], states["chain"]) == (200, "degraded", "up", "timeout")
    assert {states["cache"], states["broker"]} <= {"timeout", "down"}


def test_parts_are_asked_at_most_once_a_second(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    assert readiness_of(client)[1] == "ready"
    take_database_away(monkeypatch, free_port())
    assert readiness_of(client)[1] == "ready"
    health.readiness.forget()
    assert readiness_of(client)[1] == "down"


def test_a_stuck_question_is_not_asked_twice() -> None:
    asked = []

    def hang() -> None:
        asked.append(1)
        time.sleep(0.3)

    probe = health.Probe("test", hang)
    first = probe.start()
    assert probe.start() is first
    assert first.result(5).is_up
    assert probe.start().result(5).is_up
    assert len(asked) == 2
