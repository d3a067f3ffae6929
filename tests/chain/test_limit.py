"""Calls a second to one node: counted over all processes, each call of a batch, and never a reason to stop."""

import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import caches
from django_redis import get_redis_connection

from tests.chain.scripted import ADDRESS, HASHES, Clock, chain_of, fresh_chain_of
from tests.fakes.node import ScriptedNode
from transactions.chain import ChainUnavailableError, SendOutcome, Transfer
from transactions.chain.exceptions import ChainBusyError
from transactions.chain.limit import KEY_PREFIX, CallLimit
from transactions.chain.roster import LOOK_EVERY_SECONDS
from txnsite.stack.ports import free_port
from txnsite.stack.valkey import Valkey


@pytest.fixture
def times(node: ScriptedNode) -> list[float]:
    """When the node was asked for balances, call by call."""
    asked: list[float] = []

    def balance(params: list[Any]) -> str:
        asked.append(time.monotonic())
        return "0x64"

    node.answers["eth_getBalance"] = balance
    return asked


@pytest.fixture
def no_cache(settings: Any) -> Iterator[None]:
    """A cache that can't be reached."""
    settings.CACHES = {
        "default": {**settings.CACHES["default"], "LOCATION": f"redis://user:s3cret@127.0.0.1:{free_port()}/1"}
    }
    yield
    caches.close_all()


def addresses(count: int) -> list[str]:
    return [f"0x{number:040x}" for number in range(count)]


def test_without_a_setting_nothing_is_counted(node: ScriptedNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CallLimit, "take", lambda *_args, **_kwargs: pytest.fail("a call was counted"))
    chain_of(node.url()).balances(addresses(40), block_number=None)
    assert len(node.trips) == 1


def test_a_batch_is_cut_to_half_the_limit_and_each_call_counts(node: ScriptedNode, times: list[float]) -> None:
    chain = chain_of(node.url(), calls_per_second=20)
    started = time.monotonic()
    assert len(chain.balances(addresses(50), block_number=None)) == 50
    assert [len(trip) for trip in node.trips] == [10] * 5
    # 20 at once, and 20 a second from then on.
    assert 1.0 < time.monotonic() - started < 4
    assert sum(at - started < 0.9 for at in times) == 20


def test_sends_are_cut_too(node: ScriptedNode) -> None:
    node.answers["eth_sendRawTransaction"] = lambda params: HASHES[int(params[0], 16)]
    chain = chain_of(node.url(), calls_per_second=10)
    results = chain.send_raw([bytes([number]) for number in range(8)], HASHES[:8])
    assert [result.outcome for result in results] == [SendOutcome.ACCEPTED] * 8
    assert [len(trip) for trip in node.trips] == [5, 3]


def test_a_simulation_is_one_call_whatever_it_holds(node: ScriptedNode) -> None:
    plain = {"status": "0x1", "gasUsed": "0x5208"}
    node.answers["eth_simulateV1"] = lambda params: [{"calls": [plain] * len(params[0]["blockStateCalls"][0]["calls"])}]
    terms = chain_of(node.url(), calls_per_second=100).terms([Transfer(ADDRESS, ADDRESS, 1)] * 200, [])
    assert [estimate.gas for estimate in terms.estimates] == [21_000] * 200
    assert [len(trip) for trip in node.trips] == [5]


def test_threads_and_chains_share_the_limit_of_a_node(node: ScriptedNode, times: list[float]) -> None:
    started = time.monotonic()

    def ask() -> None:
        chain = chain_of(node.url(), calls_per_second=20)
        for _ in range(15):
            chain.balances([ADDRESS], block_number=None)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(times) == 60
    assert sum(at - started < 0.9 for at in times) <= 20
    assert times[-1] - started > 1.8


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_processes_share_the_limit_of_a_node(node: ScriptedNode, times: list[float]) -> None:
    chain = chain_of(node.url(), calls_per_second=10)

    def in_child() -> int:
        child = os.fork()
        if child == 0:
            failed = 1
            try:
                for _ in range(12):
                    chain.balances([ADDRESS], block_number=None)
                failed = 0
            finally:
                os._exit(failed)
        return child

    started = time.monotonic()
    children = [in_child() for _ in range(2)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert len(times) == 24
    assert sum(at - started < 0.9 for at in times) <= 10
    assert times[-1] - started > 1.2


def test_another_node_has_a_limit_of_its_own(node: ScriptedNode, second: ScriptedNode) -> None:
    first, other = CallLimit("node 1", calls_per_second=4), CallLimit("node 2", calls_per_second=4)
    assert [first.take(2, wait_seconds=0) for _ in range(3)] == [True, True, False]
    assert other.take(2, wait_seconds=0)


def test_a_node_at_its_limit_is_waited_for_and_then_passed_over_but_not_set_aside(
    node: ScriptedNode, second: ScriptedNode, clock: Clock
) -> None:
    second.answers["eth_getBalance"] = lambda params: "0x2"
    chain = fresh_chain_of(node.url(), second.url(), clock=clock, calls_per_second=20, timeout_seconds=0.2)
    assert chain.balances([ADDRESS], block_number=None) == {ADDRESS: 100}
    limit = CallLimit("node 1 (127.0.0.1)", calls_per_second=20)
    while limit.take(1, wait_seconds=0):
        pass
    trips = len(node.trips)
    started = time.monotonic()
    assert chain.balances([ADDRESS], block_number=None) == {ADDRESS: 2}
    assert time.monotonic() - started >= 0.15
    assert len(node.trips) == trips
    assert [state.trouble for state in chain.node_states()] == [None, None]


def test_a_node_alone_at_its_limit_is_busy(node: ScriptedNode) -> None:
    chain = chain_of(node.url(), calls_per_second=2, timeout_seconds=0.1)
    chain.balances(addresses(2), block_number=None)
    with pytest.raises(ChainBusyError, match="CHAIN_RPC_CALLS_PER_SECOND"):
        chain.balances(addresses(2), block_number=None)
    assert issubclass(ChainBusyError, ChainUnavailableError)
    [result] = chain.send_raw([b"\x00"], HASHES[:1])
    assert result.outcome is SendOutcome.UNKNOWN


def test_a_look_waits_for_no_limit_and_sets_no_node_aside(
    node: ScriptedNode, second: ScriptedNode, clock: Clock
) -> None:
    chain = fresh_chain_of(node.url(), second.url(), clock=clock, calls_per_second=20)
    chain.chain_id()
    for number in (1, 2):
        limit = CallLimit(f"node {number} (127.0.0.1)", calls_per_second=20)
        while limit.take(1, wait_seconds=0):
            pass
    clock.forward(LOOK_EVERY_SECONDS)
    node.trips.clear()
    chain.chain_id()
    assert node.trips == [["eth_chainId"]], "the question waited, the look did not"
    assert [state.trouble for state in chain.node_states()] == [None, None]


def test_a_limit_of_one_call_a_second_still_works(node: ScriptedNode) -> None:
    chain = fresh_chain_of(node.url(), calls_per_second=1)
    assert chain.balances([ADDRESS], block_number=None) == {ADDRESS: 100}
    assert node.trips == [["eth_chainId"], ["eth_getBalance"]]


def test_without_the_cache_each_process_counts_its_own(
    node: ScriptedNode, times: list[float], no_cache: None, caplog: pytest.LogCaptureFixture
) -> None:
    chain = chain_of(node.url(), calls_per_second=10)
    started = time.monotonic()
    chain.balances(addresses(25), block_number=None)
    assert 10 <= sum(at - started < 0.9 for at in times) < 20
    assert time.monotonic() - started > 0.9
    warnings = [record.getMessage() for record in caplog.records]
    assert warnings == ["The cache does not answer (ConnectionError); each process counts its own calls."]
    assert "s3cret" not in caplog.text


def test_a_cache_that_is_back_is_used_again(settings: Any, own_valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": own_valkey.url_of(1)}}
    monkeypatch.setattr("transactions.chain.limit.CACHE_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr("transactions.chain.limit.POLL_SECONDS", 0.0)
    limit, counted = CallLimit("node 1 (example.org)", calls_per_second=4), f"{KEY_PREFIX}*"
    assert limit.take(4, wait_seconds=0)
    assert get_redis_connection("default").keys(counted)

    own_valkey.stop()
    assert limit.take(4, wait_seconds=0), "counted here, where nothing was counted yet"
    assert not limit.take(1, wait_seconds=0)

    own_valkey.start()
    get_redis_connection("default").flushdb()
    assert limit.take(4, wait_seconds=0)
    assert get_redis_connection("default").keys(counted)
    caches.close_all()
