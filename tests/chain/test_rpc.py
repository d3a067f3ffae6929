"""One node over HTTP: what counts as an answer, whose connection is used, and what must never be shown."""

import logging
import os
import threading
import traceback
from typing import Any

import pytest

from tests.chain.scripted import ADDRESS, HASHES, chain_of, fail, receipt_of
from tests.fakes.node import ScriptedNode
from transactions.chain import ChainError, ChainReplyError, ChainUnavailableError


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_busy_and_broken_nodes_are_unavailable(node: ScriptedNode, status: int) -> None:
    node.status = status
    with pytest.raises(ChainUnavailableError, match=f"HTTP {status}"):
        chain_of(node.url()).chain_id()


@pytest.mark.parametrize("status", [301, 401, 403, 404, 413])
def test_other_statuses_are_not_understood(node: ScriptedNode, status: int) -> None:
    node.status, node.body = status, b"no"
    with pytest.raises(ChainReplyError):
        chain_of(node.url()).chain_id()


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"null", b"3", b'"text"', b"[]", b"[null]", b"[3]", b"{}", b'[{"id": "x"}]', b"\xff\xfe"],
)
def test_bodies_that_are_no_batch_are_not_understood(node: ScriptedNode, body: bytes) -> None:
    node.body = body
    with pytest.raises(ChainReplyError):
        chain_of(node.url()).chain_id()


@pytest.mark.parametrize(
    "mangle",
    [
        lambda replies: replies[:-1],
        lambda replies: [*replies, replies[0]],
        lambda replies: [replies[0], replies[0]],
        lambda replies: [{**reply, "id": reply["id"] + 1} for reply in replies],
        lambda replies: [{**reply, "id": None} for reply in replies],
        lambda replies: [{"result": "0x1"} for _ in replies],
    ],
)
@pytest.mark.filterwarnings("error")
def test_replies_that_fit_no_call_are_not_understood(node: ScriptedNode, mangle: Any) -> None:
    node.mangle = mangle
    with pytest.raises(ChainReplyError):
        chain_of(node.url()).balances([ADDRESS, "0x" + "11" * 20], block_number=None)


def test_replies_may_come_in_any_order(node: ScriptedNode) -> None:
    node.answers["eth_getTransactionReceipt"] = lambda params: receipt_of(params[0])
    node.mangle = lambda replies: replies[::-1]
    found = chain_of(node.url()).receipts(HASHES)
    assert [found[hash_].transaction_hash for hash_ in HASHES] == HASHES


def test_a_refused_batch(node: ScriptedNode) -> None:
    node.mangle = lambda replies: {"id": None, "error": {"code": -32600, "message": "batch too large"}}
    with pytest.raises(ChainReplyError, match="batch too large"):
        chain_of(node.url()).chain_id()
    node.mangle = lambda replies: {"id": None, "error": {"code": -32005, "message": "limit exceeded"}}
    with pytest.raises(ChainUnavailableError, match="limit exceeded"):
        chain_of(node.url()).chain_id()


def test_a_stalling_node_is_unavailable(node: ScriptedNode) -> None:
    node.stall.set()
    with pytest.raises(ChainUnavailableError, match="ReadTimeout"):
        chain_of(node.url(), timeout_seconds=0.2).chain_id()


def test_one_connection_serves_many_trips(node: ScriptedNode) -> None:
    chain = chain_of(node.url())
    for _ in range(20):
        chain.chain_id()
    assert node.connections == 1


def test_each_thread_has_a_connection_of_its_own(node: ScriptedNode) -> None:
    chain = chain_of(node.url())
    threads = [threading.Thread(target=lambda: [chain.chain_id() for _ in range(5)]) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert node.connections == 3
    assert len(node.trips) == 15


def test_a_forked_child_does_not_use_its_parents_connection(node: ScriptedNode) -> None:
    chain = chain_of(node.url())
    chain.chain_id()
    rpc = chain._roster.nodes[0].single.rpc
    parents = rpc._provider()
    assert rpc._provider() is parents
    rpc._local.pid = os.getpid() + 1  # As a child finds it.
    assert rpc._provider() is not parents


def test_trips_are_no_larger_than_the_batch_size(node: ScriptedNode) -> None:
    node.answers["eth_getTransactionByHash"] = lambda params: {"hash": params[0]}
    assert chain_of(node.url(), batch_size=8).known(HASHES) == set(HASHES)
    assert [len(trip) for trip in node.trips] == [8, 8, 3]


def test_whole_blocks_come_few_at_a_time(node: ScriptedNode) -> None:
    node.answers["eth_getBlockReceipts"] = lambda params: []
    assert chain_of(node.url()).block_receipts(range(25)) == {number: [] for number in range(25)}
    assert [len(trip) for trip in node.trips] == [10, 10, 5]


# Secrets.


@pytest.mark.parametrize("trouble", ["status", "body", "stall", "refused", "item", "down"])
def test_no_error_log_or_repr_shows_the_nodes_address(
    node: ScriptedNode, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = node.url("operator:hunter2@", "/v3/8f2d1c0b9a7e6f5d?token=abcdefghij")
    secrets = ["operator", "hunter2", "8f2d1c0b9a7e6f5d", "abcdefghij"]
    echo = f"invalid project {secrets} at {url}"
    if trouble == "status":
        node.status = 503
    elif trouble == "body":
        node.body = echo.encode()
    elif trouble == "stall":
        node.stall.set()
    elif trouble == "refused":
        node.mangle = lambda replies: {"error": {"code": -32000, "message": echo}}
    elif trouble == "item":
        node.answers["eth_chainId"] = fail(-32000, echo)
    else:
        url = url.replace(str(node.port), "1")
    chain = chain_of(url, timeout_seconds=0.3)
    with pytest.raises(ChainError) as caught:
        chain.chain_id()
    results = chain.send_raw([b"\x02"], [HASHES[0]])

    shown = "".join(traceback.format_exception(caught.value)) + repr(chain) + repr(chain.node_states()) + repr(results)
    shown += repr([[node, node.single, node.single.rpc] for node in chain._roster.nodes]) + caplog.text
    assert "127.0.0.1" in str(caught.value) or trouble in ("item",)
    assert [secret for secret in secrets if secret in shown] == []
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None
