"""The node's proxy: every mood, and lag, in front of a real node."""

import http.client
import json
import threading
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from chaos.lag import Lag
from chaos.moods import HttpErrors, Mood, PartialAnswers, RpcErrors, Silence
from chaos.node_proxy import NodeProxy
from txnsite.stack.anvil import Anvil
from txnsite.stack.rpc_proxy import NodeConnection

CHAIN_ID = hex(31_337)


@pytest.fixture
def proxy(anvil: Anvil) -> Iterator[NodeProxy]:
    with NodeProxy(anvil.port, 0) as proxy:
        yield proxy


def call(method: str, *params: object, number: int = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def ask(proxy: NodeProxy, message: object, *, timeout_seconds: float = 10) -> tuple[int, Any]:
    client = http.client.HTTPConnection("127.0.0.1", int(proxy.url.rpartition(":")[2]), timeout=timeout_seconds)
    try:
        client.request("POST", "/", json.dumps(message), {"Content-Type": "application/json"})
        answer = client.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        client.close()


def result(proxy: NodeProxy, method: str, *params: object) -> Any:
    _, (reply,) = ask(proxy, [call(method, *params)])
    return reply["result"]


def batch(size: int) -> list[dict[str, Any]]:
    return [call("eth_chainId", number=number) for number in range(1, size + 1)]


class NotedSilence(Silence):
    """Says when somebody has met it."""

    met: threading.Event

    def __init__(self, *, has_heard: bool, hangs: bool) -> None:
        super().__init__(has_heard=has_heard, hangs=hangs)
        self.met = threading.Event()

    def answer(self, body: bytes, node: NodeConnection) -> tuple[int, bytes]:
        self.met.set()
        return super().answer(body, node)

    def end_when_met(self, proxy: NodeProxy) -> None:
        self.met.wait(5)
        proxy.feel(Mood())


# --- Moods ------------------------------------------------------------------------------------------------------------
def test_a_good_mood_passes_everything_on(proxy: NodeProxy) -> None:
    assert ask(proxy, call("eth_chainId"))[1]["result"] == CHAIN_ID
    status, replies = ask(proxy, batch(3))
    assert (status, [reply["result"] for reply in replies]) == (200, [CHAIN_ID] * 3)


def test_http_errors_come_in_the_nodes_place(proxy: NodeProxy) -> None:
    proxy.feel(HttpErrors(503))
    assert ask(proxy, batch(1))[0] == 503
    proxy.feel(Mood())
    assert ask(proxy, batch(1))[0] == 200


def test_all_or_some_calls_are_answered_with_errors(proxy: NodeProxy) -> None:
    proxy.feel(RpcErrors(-32000, "header not found", 1.0, Random(1)))
    _, replies = ask(proxy, batch(2))
    assert [reply["error"] for reply in replies] == [{"code": -32000, "message": "header not found"}] * 2
    assert ask(proxy, call("eth_chainId"))[1]["error"]["code"] == -32000
    proxy.feel(RpcErrors(-32603, "Internal error", 0.5, Random(1)))
    _, replies = ask(proxy, batch(100))
    assert 30 < sum("error" in reply for reply in replies) < 70
    assert [reply["id"] for reply in replies] == list(range(1, 101))


def test_parts_of_answers_are_replies_left_out_or_mixed_up(proxy: NodeProxy) -> None:
    proxy.feel(PartialAnswers(1.0, Random(1)))
    ids = [tuple(reply["id"] for reply in ask(proxy, batch(4))[1]) for _ in range(30)]
    assert (4, 3, 2, 1) in ids
    assert {len(each) for each in ids} == {1, 2, 3, 4}
    assert (1, 2, 3, 4) not in ids


@pytest.mark.parametrize("has_heard", [True, False])
def test_silence_after_having_heard_or_not(proxy: NodeProxy, anvil: Anvil, has_heard: bool) -> None:
    before = anvil.block_number()
    proxy.feel(Silence(has_heard=has_heard, hangs=False))
    with pytest.raises(http.client.RemoteDisconnected):
        ask(proxy, [call("anvil_mine", "0x1")])
    assert anvil.block_number() == before + has_heard


def test_only_requests_with_certain_calls_meet_silence(proxy: NodeProxy) -> None:
    proxy.feel(Silence(has_heard=True, hangs=False, methods=["eth_sendRawTransaction"]))
    assert result(proxy, "eth_chainId") == CHAIN_ID
    with pytest.raises(http.client.RemoteDisconnected):
        ask(proxy, [call("eth_chainId"), call("eth_sendRawTransaction", "0x00", number=2)])


def test_who_hangs_is_let_go_when_the_mood_is_over(proxy: NodeProxy) -> None:
    mood = NotedSilence(has_heard=False, hangs=True)
    proxy.feel(mood)
    threading.Thread(target=mood.end_when_met, args=(proxy,)).start()
    with pytest.raises(http.client.RemoteDisconnected):
        ask(proxy, batch(1))
    assert mood.met.is_set()


def test_who_hangs_may_lose_patience(proxy: NodeProxy) -> None:
    proxy.feel(Silence(has_heard=False, hangs=True))
    with pytest.raises(TimeoutError):
        ask(proxy, batch(1), timeout_seconds=0.2)
    proxy.feel(Mood())


def test_a_node_that_is_down_gives_no_answer(proxy: NodeProxy) -> None:
    with NodeProxy(1, 0) as nobody, pytest.raises(http.client.RemoteDisconnected):
        ask(nobody, batch(1))


# --- Lag --------------------------------------------------------------------------------------------------------------
def test_a_node_that_lags_knows_nothing_of_newer_blocks(proxy: NodeProxy, anvil: Anvil) -> None:
    sender, recipient = anvil.accounts()[0], f"0x{0xFEED:040x}"
    anvil.mine(3)
    head = anvil.block_number()
    before = anvil.nonce(sender)
    transfer = {"from": sender, "to": recipient, "value": "0x1"}
    simulation = {"blockStateCalls": [{"calls": [transfer]}]}
    simulated = result(proxy, "eth_simulateV1", simulation, "latest")[0]["number"]
    transaction_hash = anvil.transfer(recipient, 5)
    anvil.mine()
    mined = hex(head + 1)

    proxy.feel(Lag(head, 0, 1.0, Random(1)))

    assert result(proxy, "eth_blockNumber") == hex(head)
    assert result(proxy, "eth_getBlockByNumber", "latest", False)["number"] == hex(head)
    assert result(proxy, "eth_getBlockByNumber", mined, False) is None
    assert result(proxy, "eth_getBlockReceipts", mined) is None
    assert int(result(proxy, "eth_getTransactionCount", sender, "latest"), 16) == before
    assert int(result(proxy, "eth_getBalance", recipient, "latest"), 16) == 0
    assert result(proxy, "eth_getTransactionReceipt", transaction_hash) is None
    assert result(proxy, "eth_getTransactionByHash", transaction_hash)["blockNumber"] is None
    assert int(result(proxy, "eth_feeHistory", "0x2", "latest", [50])["oldestBlock"], 16) == head - 1
    assert int(result(proxy, "eth_estimateGas", transfer), 16) == 21_000
    assert result(proxy, "eth_simulateV1", simulation, "latest")[0]["number"] == simulated

    proxy.feel(Mood())
    assert result(proxy, "eth_getTransactionReceipt", transaction_hash)["blockNumber"] == mined
    assert int(result(proxy, "eth_getTransactionCount", sender, "latest"), 16) == before + 1


def test_the_head_of_a_node_that_lags_stays_where_it_was(proxy: NodeProxy, anvil: Anvil) -> None:
    anvil.mine(5)
    head = anvil.block_number()
    proxy.feel(Lag(head, 2, 1.0, Random(1)))
    anvil.mine(3)
    assert result(proxy, "eth_getBlockByNumber", "latest", False)["number"] == hex(head - 2)
    assert result(proxy, "eth_getBlockByNumber", hex(head - 2), False)["number"] == hex(head - 2)


def test_some_requests_meet_a_node_that_does_not_lag(proxy: NodeProxy, anvil: Anvil) -> None:
    anvil.mine(5)
    head = anvil.block_number()
    proxy.feel(Lag(head, 2, 0.5, Random(1)))
    assert {result(proxy, "eth_blockNumber") for _ in range(30)} == {hex(head), hex(head - 2)}


def test_a_single_call_is_answered_as_one(proxy: NodeProxy, anvil: Anvil) -> None:
    proxy.feel(Lag(anvil.block_number(), 0, 1.0, Random(1)))
    assert ask(proxy, call("eth_chainId"))[1]["result"] == CHAIN_ID
