"""Transactions go to all nodes that are well, and one that has them outweighs any other that refuses."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.chain.harness import UNREACHABLE_URL
from tests.chain.scripted import ADDRESS, HASHES, Clock, fail, fresh_chain_of
from tests.fakes.node import ScriptedNode
from transactions.chain import ChainUnavailableError, NodeTrouble, SendOutcome
from transactions.chain.messenger import Messenger
from transactions.chain.node import NodeChain
from transactions.chain.roster import LOOK_EVERY_SECONDS
from txnsite.stack.layout import REPOSITORY
from txnsite.stack.process import wait_for

ACCEPTED, UNKNOWN = SendOutcome.ACCEPTED, SendOutcome.UNKNOWN
NONCE_TOO_LOW, UNDERPRICED = SendOutcome.NONCE_TOO_LOW, SendOutcome.UNDERPRICED

SEND, LOOK_UP = "eth_sendRawTransaction", "eth_getTransactionByHash"


def take_all(*nodes: ScriptedNode) -> None:
    for node in nodes:
        node.answers[SEND] = lambda params: HASHES[int(params[0], 16)]


def refuse_all(node: ScriptedNode, message: str) -> None:
    node.answers[SEND] = fail(-32000, message)
    node.answers[LOOK_UP] = lambda params: None


def send(chain: NodeChain, count: int = 1) -> list[SendOutcome]:
    results = chain.send_raw([bytes([number]) for number in range(count)], HASHES[:count])
    return [result.outcome for result in results]


def sent_to(node: ScriptedNode) -> int:
    return sum(trip.count(SEND) for trip in node.trips)


@pytest.fixture
def both(node: ScriptedNode, second: ScriptedNode, clock: Clock) -> NodeChain:
    take_all(node, second)
    chain = fresh_chain_of(node.url(), second.url(), clock=clock)
    chain.chain_id()
    return chain


def test_all_nodes_that_are_well_are_offered_everything(
    both: NodeChain, node: ScriptedNode, second: ScriptedNode
) -> None:
    assert send(both, 3) == [ACCEPTED] * 3
    wait_for(lambda: sent_to(node) == sent_to(second) == 3, what="both to have all", timeout_seconds=5)


@pytest.mark.parametrize("refusing", [0, 1])
@pytest.mark.parametrize("message", ["nonce too low", "replacement transaction underpriced", "txpool is full"])
def test_a_refusal_never_outweighs_a_node_that_took_it(
    both: NodeChain, node: ScriptedNode, second: ScriptedNode, refusing: int, message: str
) -> None:
    refuse_all((node, second)[refusing], message)
    assert send(both, 2) == [ACCEPTED] * 2


def test_each_transaction_is_judged_by_itself(both: NodeChain, node: ScriptedNode, second: ScriptedNode) -> None:
    def odd_ones_only(params: list[Any]) -> Any:
        number = int(params[0], 16)
        return HASHES[number] if number % 2 else fail(-32000, "nonce too low")(params)

    for each in (node, second):
        each.answers |= {SEND: odd_ones_only, LOOK_UP: lambda params: None}
    assert send(both, 4) == [NONCE_TOO_LOW, ACCEPTED, NONCE_TOO_LOW, ACCEPTED]


@pytest.mark.parametrize("silent", [0, 1])
def test_what_one_node_may_have_is_unknown_whatever_the_other_says(
    both: NodeChain, node: ScriptedNode, second: ScriptedNode, silent: int
) -> None:
    nodes = [node, second]
    nodes.pop(silent).status = 503
    refuse_all(nodes[0], "nonce too low")
    assert send(both) == [UNKNOWN]
    # The silent one is set aside now, and what the other says is all there is.
    assert send(both) == [NONCE_TOO_LOW]


def test_of_two_refusals_that_of_the_preferred_node_counts(
    both: NodeChain, node: ScriptedNode, second: ScriptedNode
) -> None:
    refuse_all(node, "nonce too low")
    refuse_all(second, "underpriced")
    assert send(both) == [NONCE_TOO_LOW]
    refuse_all(node, "underpriced")
    refuse_all(second, "nonce too low")
    assert send(both) == [UNDERPRICED]


@pytest.mark.parametrize("stalling", [0, 1])
def test_a_stalling_node_makes_no_payment_slower(
    both: NodeChain, node: ScriptedNode, second: ScriptedNode, stalling: int
) -> None:
    (node, second)[stalling].stall.set()
    started = time.monotonic()
    assert send(both, 3) == [ACCEPTED] * 3
    assert time.monotonic() - started < 1.0


def test_a_node_that_fails_a_send_is_set_aside(node: ScriptedNode, second: ScriptedNode, clock: Clock) -> None:
    take_all(node, second)
    chain = fresh_chain_of(node.url(), second.url(), clock=clock, timeout_seconds=0.3)
    chain.chain_id()
    second.stall.set()
    send(chain)
    wait_for(lambda: chain.node_states()[1].trouble is NodeTrouble.DOWN, what="it to be set aside", timeout_seconds=5)
    offered = sent_to(second)
    assert send(chain) == [ACCEPTED]
    assert sent_to(second) == offered


def test_what_waited_behind_a_stalled_send_is_not_sent_to_a_node_that_is_aside(
    node: ScriptedNode, second: ScriptedNode, clock: Clock
) -> None:
    take_all(node, second)
    chain = fresh_chain_of(node.url(), second.url(), clock=clock, timeout_seconds=0.5)
    chain.chain_id()
    second.stall.set()
    for _ in range(10):
        assert send(chain) == [ACCEPTED]
    last = chain._roster.nodes[1]._sends.run(lambda: "all done")
    assert last.result(5) == "all done"
    assert sent_to(second) == 1
    assert sent_to(node) == 10


def test_a_lagging_node_is_not_offered_anything(
    both: NodeChain, node: ScriptedNode, second: ScriptedNode, clock: Clock
) -> None:
    second.answers["eth_blockNumber"] = lambda params: "0x1"
    clock.forward(LOOK_EVERY_SECONDS)
    assert send(both) == [ACCEPTED]
    assert (sent_to(node), sent_to(second)) == (1, 0)


def test_a_node_on_another_chain_is_never_sent_a_transaction(
    node: ScriptedNode, second: ScriptedNode, clock: Clock
) -> None:
    take_all(node, second)
    node.answers["eth_chainId"] = lambda params: "0x5"
    chain = fresh_chain_of(node.url(), second.url(), clock=clock)
    assert send(chain) == [ACCEPTED]
    second.status = 503
    for _ in range(3):
        assert send(chain) == [UNKNOWN]
        clock.forward(LOOK_EVERY_SECONDS)
    alone = fresh_chain_of(node.url())
    assert send(alone) == [UNKNOWN]
    assert sent_to(node) == 0


def test_one_node_is_checked_before_it_is_sent_anything(node: ScriptedNode) -> None:
    take_all(node)
    assert send(fresh_chain_of(node.url())) == [ACCEPTED]
    assert node.trips == [["eth_chainId"], [SEND]]


def test_nodes_that_are_all_set_aside_are_offered_it_all_the_same(
    both: NodeChain, node: ScriptedNode, second: ScriptedNode
) -> None:
    node.status = second.status = 503
    with pytest.raises(ChainUnavailableError):
        both.chain_id()
    second.status = 200
    second.trips.clear()
    assert send(both) == [ACCEPTED]
    assert second.trips == [["eth_chainId"], [SEND]]


def test_an_unreachable_node_is_no_reason_not_to_send(node: ScriptedNode) -> None:
    take_all(node)
    chain = fresh_chain_of(UNREACHABLE_URL, node.url())
    assert send(chain, 2) == [ACCEPTED] * 2
    assert send(fresh_chain_of(UNREACHABLE_URL, UNREACHABLE_URL), 2) == [UNKNOWN] * 2


# The threads.


def test_errands_are_run_in_order_by_one_thread_that_ends_with_the_messenger() -> None:
    messenger = Messenger("test errands")
    done: list[tuple[int, int]] = []

    def errand(number: int) -> Callable[[], None]:
        return lambda: done.append((number, threading.get_ident()))

    futures = [messenger.run(errand(number)) for number in range(50)]
    futures[-1].result(5)
    assert [number for number, _ in done] == list(range(50))
    assert len({thread for _, thread in done}) == 1
    with pytest.raises(ZeroDivisionError):
        messenger.run(lambda: 1 // 0).result(5)
    [thread] = [thread for thread in threading.enumerate() if thread.name == "test errands"]
    assert thread.daemon
    del messenger
    thread.join(5)
    assert not thread.is_alive()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_a_thread_of_its_own() -> None:
    messenger = Messenger("test fork")
    assert messenger.run(os.getpid).result(5) == os.getpid()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, str(messenger.run(os.getpid).result(5)).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert int(os.read(reading, 100)) == child
    os.close(reading)
    os.close(writing)


def test_a_stalled_send_keeps_no_process_from_ending(node: ScriptedNode, second: ScriptedNode) -> None:
    take_all(node, second)
    program = f"""
import sys
from tests.chain.scripted import fresh_chain_of, HASHES
chain = fresh_chain_of({node.url()!r}, {second.url()!r}, timeout_seconds=15)
chain.chain_id()
print("ready", flush=True)
sys.stdin.readline()
print(chain.send_raw([bytes([0])], HASHES[:1])[0].outcome.value, flush=True)
sys.stdin.readline()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        second.stall.set()
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout.readline() == "accepted\n"
        wait_for(lambda: sent_to(second) == 1, what="the second node to be sending", timeout_seconds=5)
        process.stdin.write("end\n")
        process.stdin.flush()
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_questions_go_on_beside_sends(both: NodeChain, second: ScriptedNode) -> None:
    second.stall.set()
    send(both)
    assert both.balances([ADDRESS], block_number=None) == {ADDRESS: 100}
