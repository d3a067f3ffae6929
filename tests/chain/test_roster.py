"""Which node is asked: the first that answers, keeps up and is on our chain; and who comes back, when."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.chain.harness import UNREACHABLE_URL
from tests.chain.scripted import ADDRESS, Clock, fail, fresh_chain_of
from tests.fakes.node import ScriptedNode
from transactions.chain import ChainReplyError, ChainUnavailableError, NodeTrouble, WrongChainError
from transactions.chain.node import NodeChain
from transactions.chain.roster import LOOK_EVERY_SECONDS

DOWN, BEHIND, WRONG, CONFUSED = (
    NodeTrouble.DOWN,
    NodeTrouble.BEHIND,
    NodeTrouble.WRONG_CHAIN,
    NodeTrouble.CONFUSED,
)
LOOK = ["eth_chainId", "eth_blockNumber"]
ASK = ["eth_getBalance"]


def at_block(node: ScriptedNode, number: int) -> None:
    node.answers["eth_blockNumber"] = lambda params: hex(number)


def on_chain(node: ScriptedNode, chain_id: int) -> None:
    node.answers["eth_chainId"] = lambda params: hex(chain_id)


def always(value: str) -> Callable[[list[Any]], str]:
    return lambda params: value


def tell_apart(*nodes: ScriptedNode) -> None:
    """Let each node know another balance: the first 1 wei, the second 2."""
    for number, node in enumerate(nodes, start=1):
        node.answers["eth_getBalance"] = always(hex(number))


def who_answers(chain: NodeChain) -> int:
    return chain.balances([ADDRESS], block_number=None)[ADDRESS]


def troubles(chain: NodeChain) -> list[NodeTrouble | None]:
    return [state.trouble for state in chain.node_states()]


@pytest.fixture
def both(node: ScriptedNode, second: ScriptedNode, clock: Clock) -> NodeChain:
    """Two nodes that are well and were looked at."""
    tell_apart(node, second)
    chain = fresh_chain_of(node.url(), second.url(), clock=clock, timeout_seconds=0.3)
    assert who_answers(chain) == 1
    assert troubles(chain) == [None, None]
    return chain


# One node.


def test_one_node_is_checked_before_its_first_use_and_never_looked_at(node: ScriptedNode, clock: Clock) -> None:
    chain = fresh_chain_of(node.url(), clock=clock)
    for _ in range(3):
        clock.forward(LOOK_EVERY_SECONDS)
        who_answers(chain)
    assert node.trips == [["eth_chainId"], ASK, ASK, ASK]


def test_one_node_is_checked_again_after_it_failed(node: ScriptedNode) -> None:
    chain = fresh_chain_of(node.url())
    who_answers(chain)
    node.status = 503
    with pytest.raises(ChainUnavailableError):
        who_answers(chain)
    node.status = 200
    node.trips.clear()
    who_answers(chain)
    assert node.trips == [["eth_chainId"], ASK]


def test_one_node_is_asked_although_it_just_failed(node: ScriptedNode, clock: Clock) -> None:
    chain = fresh_chain_of(node.url(), clock=clock)
    node.status = 503
    for _ in range(20):
        with pytest.raises(ChainUnavailableError):
            who_answers(chain)
    node.status = 200
    assert who_answers(chain) == 100, "in the very moment it is back"


def test_one_node_that_was_replaced_by_another_chain_is_not_believed(node: ScriptedNode) -> None:
    chain = fresh_chain_of(node.url())
    who_answers(chain)
    node.status = 503
    with pytest.raises(ChainUnavailableError):
        who_answers(chain)
    node.status = 200
    on_chain(node, 5)
    node.trips.clear()
    for _ in range(2):
        with pytest.raises(WrongChainError, match=r"node 1 \(127\.0\.0\.1\) is on chain 5\."):
            who_answers(chain)
    assert node.trips == [["eth_chainId"], ["eth_chainId"]]
    on_chain(node, 31337)
    assert who_answers(chain) == 100


# Nodes that fail.


def test_the_first_node_is_preferred(both: NodeChain, node: ScriptedNode, second: ScriptedNode) -> None:
    for _ in range(3):
        assert who_answers(both) == 1
    assert second.trips == [LOOK]


@pytest.mark.parametrize("trouble", ["busy", "garbage", "stall", "limit", "internal error"])
def test_a_question_that_fails_goes_to_the_next_at_once_and_the_node_is_left_alone(
    both: NodeChain, node: ScriptedNode, trouble: str, clock: Clock
) -> None:
    if trouble == "busy":
        node.status = 429
    elif trouble == "garbage":
        node.body = b"<html>"
    elif trouble == "stall":
        node.stall.set()
    elif trouble == "limit":
        node.answers["eth_getBalance"] = fail(-32005, "limit exceeded")
    else:
        node.answers["eth_getBalance"] = fail(-32603, "internal error")
    assert who_answers(both) == 2
    node.trips.clear()
    assert who_answers(both) == 2
    assert node.trips == []
    assert troubles(both) == [CONFUSED if trouble in ("garbage", "internal error") else DOWN, None]


def test_a_node_comes_back(both: NodeChain, node: ScriptedNode, clock: Clock) -> None:
    node.status = 503
    assert who_answers(both) == 2
    node.status = 200
    clock.forward(LOOK_EVERY_SECONDS)

    # Nobody waits for a node that failed last time: the look that is under way now is taken in by a later question.
    wait_until(lambda: who_answers(both) == 1)
    assert troubles(both) == [None, None]


def test_a_node_that_is_still_down_is_looked_at_less_and_less(
    both: NodeChain, node: ScriptedNode, clock: Clock
) -> None:
    node.status = 503
    looks = []
    for _ in range(12):
        node.trips.clear()
        for _ in range(3):
            assert who_answers(both) == 2
        wait_until(lambda: all(look.done() for look in both._roster._looks.values()))
        looks.append(node.trips.count(LOOK))
        clock.forward(LOOK_EVERY_SECONDS)
    assert set(looks) == {0, 1}
    assert looks.count(0) >= 3
    assert "11" in "".join(map(str, looks[:4]))


@pytest.mark.parametrize("back", [1, 2])
def test_when_all_are_set_aside_they_are_asked_in_turn_all_the_same(
    both: NodeChain, node: ScriptedNode, second: ScriptedNode, clock: Clock, back: int
) -> None:
    def answer() -> int | None:
        clock.forward(0.01)
        try:
            return who_answers(both)
        except ChainUnavailableError:
            return None

    node.status = second.status = 503
    assert [answer() for _ in range(15)] == [None] * 15
    (node, second)[back - 1].status = 200
    assert {answer(), answer()} - {None} == {back}, "within two questions, whoever is asked first"


def test_a_stalling_node_costs_one_time_limit(both: NodeChain, node: ScriptedNode) -> None:
    node.stall.set()
    started = time.monotonic()
    for _ in range(20):
        assert who_answers(both) == 2
    assert time.monotonic() - started < 1.0


def test_a_stalling_node_makes_no_look_slow_again(
    node: ScriptedNode, second: ScriptedNode, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell_apart(node, second)
    chain = fresh_chain_of(node.url(), second.url(), clock=clock)
    who_answers(chain)
    node.stall.set()
    monkeypatch.setattr("transactions.chain.roster.LOOK_WAIT_SECONDS", 0.2)
    clock.forward(LOOK_EVERY_SECONDS)
    assert who_answers(chain) == 2
    assert troubles(chain) == [DOWN, None]
    started = time.monotonic()
    for _ in range(10):
        clock.forward(LOOK_EVERY_SECONDS)
        assert who_answers(chain) == 2
    assert time.monotonic() - started < 0.2


def test_what_a_look_brings_too_late_does_not_count(
    node: ScriptedNode, second: ScriptedNode, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = threading.Event()
    tell_apart(node, second)
    node.answers["eth_blockNumber"] = lambda params: late.wait(5) and "0x64"
    monkeypatch.setattr("transactions.chain.roster.LOOK_WAIT_SECONDS", 1.0)
    chain = fresh_chain_of(node.url(), second.url(), clock=clock)
    assert who_answers(chain) == 2
    late.set()
    wait_until(lambda: node.trips == [LOOK])
    assert [who_answers(chain) for _ in range(5)] == [2] * 5
    assert troubles(chain) == [DOWN, None]


def test_a_missing_method_sets_no_node_aside(both: NodeChain, node: ScriptedNode) -> None:
    del node.answers["eth_feeHistory"]
    assert both.terms([], [ADDRESS]).balances == {ADDRESS: 2}
    assert both.block_receipts([1]) == {}
    assert troubles(both) == [None, None]
    assert who_answers(both) == 1


def test_a_node_without_old_blocks_is_not_set_aside(both: NodeChain, node: ScriptedNode, second: ScriptedNode) -> None:
    node.answers["eth_getBalance"] = lambda params: (
        "0x1" if params[1] == "latest" else fail(-32000, "missing trie node d0a1 (path )")(params)
    )
    assert both.balances([ADDRESS], block_number=3) == {ADDRESS: 2}
    assert troubles(both) == [None, None]
    assert who_answers(both) == 1
    second.answers["eth_getBalance"] = fail(-32000, "historical state unavailable")
    with pytest.raises(ChainReplyError, match="historical state unavailable"):
        both.balances([ADDRESS], block_number=3)


# Nodes that lag.


def test_a_node_that_lags_is_set_aside_until_it_has_caught_up(
    both: NodeChain, node: ScriptedNode, second: ScriptedNode, clock: Clock
) -> None:
    at_block(second, 103)
    clock.forward(LOOK_EVERY_SECONDS)
    assert who_answers(both) == 1, "three blocks are within what is allowed"
    at_block(second, 104)
    assert who_answers(both) == 1, "it was looked at a moment ago"
    clock.forward(LOOK_EVERY_SECONDS)
    assert who_answers(both) == 2
    assert troubles(both) == [BEHIND, None]
    assert both.node_states()[0].detail == "node 1 (127.0.0.1) is 4 blocks behind"
    at_block(node, 101)
    clock.forward(LOOK_EVERY_SECONDS)
    assert who_answers(both) == 1


def test_a_lagging_node_is_better_than_none(both: NodeChain, second: ScriptedNode, clock: Clock) -> None:
    at_block(second, 200)
    clock.forward(LOOK_EVERY_SECONDS)
    assert who_answers(both) == 2
    second.status = 503
    assert who_answers(both) == 1


def test_the_lag_behind_a_node_that_failed_is_forgotten(both: NodeChain, second: ScriptedNode, clock: Clock) -> None:
    at_block(second, 200)
    clock.forward(LOOK_EVERY_SECONDS)
    assert who_answers(both) == 2
    second.status = 503
    assert who_answers(both) == 1
    clock.forward(LOOK_EVERY_SECONDS)
    assert who_answers(both) == 1
    assert troubles(both) == [None, DOWN]


def test_a_node_that_comes_back_behind_is_not_asked_for_a_moment(
    both: NodeChain, node: ScriptedNode, second: ScriptedNode, clock: Clock
) -> None:
    node.status = 503
    assert who_answers(both) == 2
    node.status = 200
    at_block(second, 300)
    clock.forward(LOOK_EVERY_SECONDS)
    node.answers["eth_getBalance"] = lambda params: pytest.fail("a syncing node was believed")
    wait_until(lambda: who_answers(both) == 2 and troubles(both)[0] is BEHIND)


def test_a_node_whose_answer_comes_late_is_compared_all_the_same(
    both: NodeChain, node: ScriptedNode, second: ScriptedNode, clock: Clock
) -> None:
    late = threading.Event()
    node.status = 503
    assert who_answers(both) == 2
    node.status = 200
    node.answers["eth_blockNumber"] = lambda params: late.wait(5) and "0x64"
    at_block(second, 300)
    clock.forward(LOOK_EVERY_SECONDS)
    assert who_answers(both) == 2
    assert troubles(both) == [DOWN, None]
    late.set()
    wait_until(lambda: who_answers(both) == 2 and troubles(both)[0] is not DOWN)
    assert troubles(both) == [BEHIND, None]


def test_how_far_a_node_may_lag_is_a_setting(node: ScriptedNode, second: ScriptedNode) -> None:
    tell_apart(node, second)
    at_block(second, 110)
    assert who_answers(fresh_chain_of(node.url(), second.url(), lag_blocks_max=10)) == 1
    assert who_answers(fresh_chain_of(node.url(), second.url(), lag_blocks_max=9)) == 2


def test_the_head_of_another_chain_is_no_measure(node: ScriptedNode, second: ScriptedNode) -> None:
    tell_apart(node, second)
    on_chain(second, 1)
    at_block(second, 20_000_000)
    chain = fresh_chain_of(node.url(), second.url())
    assert who_answers(chain) == 1
    assert troubles(chain) == [None, WRONG]


# Nodes on another chain.


def test_a_node_on_another_chain_is_never_asked(
    node: ScriptedNode, second: ScriptedNode, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    tell_apart(node, second)
    on_chain(node, 5)
    chain = fresh_chain_of(node.url(), second.url(), clock=clock)
    for _ in range(10):
        assert who_answers(chain) == 2
        clock.forward(LOOK_EVERY_SECONDS)
    second.status = 503
    for _ in range(4):
        with pytest.raises(ChainUnavailableError):
            who_answers(chain)
        clock.forward(LOOK_EVERY_SECONDS)
    assert all(set(trip) <= set(LOOK) for trip in node.trips)
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert errors == ["node 1 (127.0.0.1) is on chain 5 and not on 31337."]


def test_a_node_that_returns_to_our_chain_is_asked_again(
    node: ScriptedNode, second: ScriptedNode, clock: Clock
) -> None:
    tell_apart(node, second)
    on_chain(node, 5)
    chain = fresh_chain_of(node.url(), second.url(), clock=clock)
    assert who_answers(chain) == 2
    on_chain(node, 31337)
    clock.forward(LOOK_EVERY_SECONDS)
    wait_until(lambda: who_answers(chain) == 1)


def test_a_node_that_changes_its_chain_is_found_out_by_the_next_look(
    both: NodeChain, node: ScriptedNode, clock: Clock
) -> None:
    on_chain(node, 5)
    clock.forward(LOOK_EVERY_SECONDS)
    assert who_answers(both) == 2
    assert troubles(both) == [WRONG, None]


def test_all_on_another_chain_is_told(node: ScriptedNode, second: ScriptedNode) -> None:
    on_chain(node, 5)
    on_chain(second, 6)
    chain = fresh_chain_of(node.url(), second.url())
    with pytest.raises(WrongChainError):
        who_answers(chain)
    assert [state.detail for state in chain.node_states()] == [
        "node 1 (127.0.0.1) is on chain 5",
        "node 2 (127.0.0.1) is on chain 6",
    ]


# Many at once.


def test_threads_share_one_look(node: ScriptedNode, second: ScriptedNode) -> None:
    tell_apart(node, second)
    chain = fresh_chain_of(UNREACHABLE_URL, node.url(), second.url())
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(who_answers(chain))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1] * 8
    assert node.trips.count(LOOK) == second.trips.count(LOOK) == 1


def wait_until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)
