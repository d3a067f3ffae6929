"""How real nodes are asked, and what is made of items that fail and of methods that a node lacks."""

from typing import Any

import pytest

from tests.chain.harness import UNREACHABLE_URL
from tests.chain.scripted import ADDRESS, HASHES, PLAIN_CALL, chain_of, fail, receipt_of
from tests.fakes.node import NodeFaultError, ScriptedNode, serve
from transactions.chain import (
    ChainReplyError,
    ChainUnavailableError,
    EstimateOutcome,
    NonceCount,
    SendOutcome,
    Transfer,
)

# Several nodes.


def test_the_next_node_answers_when_the_first_does_not(node: ScriptedNode) -> None:
    chain = chain_of(UNREACHABLE_URL, node.url())
    assert chain.chain_id() == 31337
    with serve(ScriptedNode()) as confused:
        confused.body = b"<html>"
        assert chain_of(confused.url(), node.url()).chain_id() == 31337


def test_the_next_node_is_offered_what_the_first_may_not_have(node: ScriptedNode) -> None:
    node.answers["eth_sendRawTransaction"] = lambda params: HASHES[int(params[0], 16)]
    chain = chain_of(UNREACHABLE_URL, node.url())
    results = chain.send_raw([bytes([0]), bytes([1])], HASHES[:2])
    assert [result.outcome for result in results] == [SendOutcome.ACCEPTED] * 2


def test_without_nodes_nothing_is_available() -> None:
    chain = chain_of()
    with pytest.raises(ChainUnavailableError):
        chain.chain_id()
    assert [result.outcome for result in chain.send_raw([b"\x02"], [HASHES[0]])] == [SendOutcome.UNKNOWN]


# Items that fail.


def test_an_item_that_fails_loses_none_of_the_others(node: ScriptedNode) -> None:
    def answer(params: list[Any]) -> Any:
        if params[0] == HASHES[1]:
            raise NodeFaultError(-32000, "transaction indexing is in progress")
        return None if params[0] == HASHES[2] else receipt_of(params[0])

    node.answers["eth_getTransactionReceipt"] = answer
    assert set(chain_of(node.url()).receipts(HASHES[:4])) == {HASHES[0], HASHES[3]}


def test_a_node_that_limits_every_item_is_unavailable(node: ScriptedNode) -> None:
    node.answers["eth_getTransactionReceipt"] = fail(429, "Your app has exceeded its compute units per second")
    with pytest.raises(ChainUnavailableError):
        chain_of(node.url()).receipts(HASHES)


def test_balances_are_all_or_nothing(node: ScriptedNode) -> None:
    node.answers["eth_getBalance"] = fail(-32000, "missing trie node")
    with pytest.raises(ChainReplyError, match="missing trie node"):
        chain_of(node.url()).balances([ADDRESS], block_number=1)


@pytest.mark.parametrize("value", [None, 5, "5", "0x", "0xzz", []])
def test_what_is_no_quantity_is_not_understood(node: ScriptedNode, value: Any) -> None:
    node.answers["eth_chainId"] = lambda params: value
    with pytest.raises(ChainReplyError):
        chain_of(node.url()).chain_id()


@pytest.mark.parametrize("receipt", [receipt_of(HASHES[1]), {"blockHash": "0x1"}, receipt_of(HASHES[0], status=None)])
def test_a_receipt_that_was_not_asked_for_or_lacks_fields(node: ScriptedNode, receipt: dict[str, Any]) -> None:
    node.answers["eth_getTransactionReceipt"] = lambda params: receipt
    with pytest.raises(ChainReplyError):
        chain_of(node.url()).receipts(HASHES[:1])


def test_a_receipt_without_a_block_is_none(node: ScriptedNode) -> None:
    node.answers["eth_getTransactionReceipt"] = lambda params: receipt_of(params[0], blockHash=None, blockNumber=None)
    assert chain_of(node.url()).receipts(HASHES[:1]) == {}


def test_the_fee_of_an_op_stack_chain_includes_its_data(node: ScriptedNode) -> None:
    node.answers["eth_getTransactionReceipt"] = lambda params: receipt_of(params[0], l1Fee="0x64")
    [receipt] = chain_of(node.url()).receipts(HASHES[:1]).values()
    assert receipt.network_fee_in_wei == 21_000 * 3 + 100


# Methods that a node lacks.


def test_a_node_without_the_finalized_tag_still_has_a_view(node: ScriptedNode) -> None:
    head = {"number": "0x9", "hash": "0xAA", "parentHash": "0xBB", "timestamp": "0x1", "gasLimit": "0x2"}

    def block(params: list[Any]) -> Any:
        if params[0] == "finalized":
            raise NodeFaultError(-39001, "'finalized' tag not supported")
        return head

    node.answers["eth_getBlockByNumber"] = block
    node.answers["eth_getTransactionCount"] = lambda params: "0x3"
    view = chain_of(node.url()).view([ADDRESS], with_finalized=True)
    assert view.finalized_number is None
    assert view.nonces == {ADDRESS: NonceCount(latest=3, pending=3)}
    assert (view.head.number, view.head.hash, view.head.base_fee_per_gas_in_wei) == (9, "0xaa", 0)
    assert len(node.trips) == 1


def test_a_node_without_block_receipts_is_not_asked_again(node: ScriptedNode) -> None:
    chain = chain_of(node.url())
    assert chain.block_receipts([1, 2]) == {}
    assert chain.block_receipts([1, 2]) == {}
    assert len(node.trips) == 1


def test_a_missing_method_is_tried_again_later(node: ScriptedNode, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = chain_of(node.url())
    assert chain.block_receipts([1]) == {}
    node.answers["eth_getBlockReceipts"] = lambda params: [receipt_of(HASHES[0])]
    assert chain.block_receipts([1]) == {}
    monkeypatch.setattr("transactions.chain.single.METHOD_MISSING_SECONDS", 0.0)
    chain._roster.nodes[0].single._missing_until.clear()
    assert set(chain.block_receipts([1])) == {1}


# Terms.


def transfers_to(*recipients: int) -> list[Transfer]:
    return [Transfer(ADDRESS, f"0x{recipient:040x}", 1) for recipient in recipients]


def test_terms_of_plain_transfers_are_five_calls_in_one_trip(node: ScriptedNode) -> None:
    node.answers["eth_simulateV1"] = lambda params: [{"calls": [PLAIN_CALL] * 400}]
    terms = chain_of(node.url()).terms(transfers_to(*range(400)), [ADDRESS])
    counts = ["eth_getTransactionCount"] * 2
    assert node.trips == [["eth_feeHistory", *counts, "eth_getBalance", "eth_simulateV1"]]
    assert {estimate.gas for estimate in terms.estimates} == {21_000}
    assert terms.quote.base_fee_per_gas_in_wei == 7
    assert terms.quote.max_priority_fee_per_gas_in_wei == 2
    assert terms.balances == {ADDRESS: 100}
    assert terms.nonces == {ADDRESS: NonceCount(latest=1, pending=2)}


def test_a_simulation_pretends_rich_senders_and_gives_no_gas_to_code(node: ScriptedNode) -> None:
    asked: list[Any] = []

    def simulate(params: list[Any]) -> Any:
        asked.extend(params)
        return [{"calls": [PLAIN_CALL] * 2}]

    node.answers["eth_simulateV1"] = simulate
    chain_of(node.url()).terms(transfers_to(1, 2), [])
    block = asked[0]["blockStateCalls"][0]
    assert block["stateOverrides"] == {ADDRESS: {"balance": "0x2"}}
    assert [call["gas"] for call in block["calls"]] == ["0x5208", "0x5208"]


def test_only_what_is_not_plain_is_asked_about_alone(node: ScriptedNode) -> None:
    failed = {"status": "0x0", "gasUsed": "0x5208", "error": {"code": 3, "message": "execution reverted"}}
    more = {"status": "0x1", "gasUsed": "0x5209"}
    node.answers["eth_simulateV1"] = lambda params: [{"calls": [PLAIN_CALL, failed, more, failed]}]

    def estimate(params: list[Any]) -> Any:
        recipient = int(params[0]["to"], 16)
        if recipient == 4:
            raise NodeFaultError(-32000, "out of gas")
        if recipient == 2:
            raise NodeFaultError(3, "execution reverted: no thanks")
        return "0x9000"

    node.answers["eth_estimateGas"] = estimate
    estimates = chain_of(node.url()).terms(transfers_to(1, 2, 3, 4), []).estimates
    assert [estimate.outcome for estimate in estimates] == [
        EstimateOutcome.OK,
        EstimateOutcome.REVERTED,
        EstimateOutcome.OK,
        EstimateOutcome.UNKNOWN,
    ]
    assert [estimate.gas for estimate in estimates] == [21_000, None, 0x9000, None]
    assert estimates[1].error == "execution reverted: no thanks"
    assert [len(trip) for trip in node.trips] == [5, 3]


def test_a_node_without_simulations_is_asked_for_estimates_only(node: ScriptedNode) -> None:
    node.answers["eth_estimateGas"] = lambda params: "0x5208"
    chain = chain_of(node.url())
    for _ in range(2):
        assert [estimate.gas for estimate in chain.terms(transfers_to(1, 2), []).estimates] == [21_000, 21_000]
    assert [trip.count("eth_simulateV1") for trip in node.trips] == [1, 0, 0, 0]
    assert [trip.count("eth_estimateGas") for trip in node.trips] == [0, 2, 0, 2]


@pytest.mark.parametrize(
    "simulate",
    [
        fail(-38014, "insufficient funds for transfer"),
        lambda params: [],
        lambda params: None,
        lambda params: [{"calls": [PLAIN_CALL]}],
        lambda params: [{"calls": [{}, {}]}],
    ],
)
def test_a_simulation_that_fails_as_a_whole_falls_back_and_is_tried_again(node: ScriptedNode, simulate: Any) -> None:
    node.answers["eth_simulateV1"] = simulate
    node.answers["eth_estimateGas"] = lambda params: "0x5208"
    chain = chain_of(node.url())
    for _ in range(2):
        assert [estimate.gas for estimate in chain.terms(transfers_to(1, 2), []).estimates] == [21_000, 21_000]
    assert [trip.count("eth_simulateV1") for trip in node.trips] == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("history", "tip"),
    [
        ({"baseFeePerGas": ["0x1"]}, 10**9),
        ({"baseFeePerGas": ["0x1"], "reward": None}, 10**9),
        ({"baseFeePerGas": ["0x1"], "reward": [["0x0"], ["0x0"]]}, 10**9),
        ({"baseFeePerGas": ["0x1"], "reward": [["0x5"], ["0x0"], ["0x9"], ["0x7"]]}, 7),
    ],
)
def test_the_tip_is_the_median_of_what_recent_blocks_took(node: ScriptedNode, history: Any, tip: int) -> None:
    node.answers["eth_feeHistory"] = lambda params: history
    assert chain_of(node.url()).terms([], []).quote.max_priority_fee_per_gas_in_wei == tip


@pytest.mark.parametrize("history", [{}, {"baseFeePerGas": []}, [], "x", {"baseFeePerGas": ["1"]}])
def test_a_fee_history_without_a_base_fee_is_not_understood(node: ScriptedNode, history: Any) -> None:
    node.answers["eth_feeHistory"] = lambda params: history
    with pytest.raises(ChainReplyError):
        chain_of(node.url()).terms([], [])


def test_a_node_that_limits_simulations_is_not_asked_hundreds_of_estimates(node: ScriptedNode) -> None:
    node.answers["eth_simulateV1"] = fail(-32005, "daily request count exceeded, request rate limited")
    with pytest.raises(ChainUnavailableError, match="too busy"):
        chain_of(node.url()).terms(transfers_to(1, 2), [])
    assert len(node.trips) == 1


# Sends.


@pytest.mark.parametrize(
    ("message", "outcome"),
    [
        ("nonce too low: next nonce 5, tx nonce 3", SendOutcome.NONCE_TOO_LOW),
        ("OldNonce", SendOutcome.NONCE_TOO_LOW),
        ("replacement transaction underpriced", SendOutcome.UNDERPRICED),
        ("transaction underpriced: gas tip cap 1, minimum needed 2", SendOutcome.UNDERPRICED),
        ("max fee per gas less than block base fee", SendOutcome.UNDERPRICED),
        ("FeeTooLow, MaxFeePerGas too low", SendOutcome.UNDERPRICED),
        ("insufficient funds for gas * price + value: balance 1", SendOutcome.INSUFFICIENT_FUNDS),
        ("Upfront cost exceeds account balance", SendOutcome.INSUFFICIENT_FUNDS),
        ("already known", SendOutcome.UNKNOWN),
        ("txpool is full", SendOutcome.UNKNOWN),
        ("", SendOutcome.UNKNOWN),
    ],
)
def test_a_refusal_counts_only_when_the_node_does_not_have_the_transaction(
    node: ScriptedNode, message: str, outcome: SendOutcome
) -> None:
    node.answers["eth_sendRawTransaction"] = fail(-32000, message)
    chain = chain_of(node.url())

    def send() -> SendOutcome:
        [result] = chain.send_raw([b"\x02\x01"], HASHES[:1])
        assert result.error
        return result.outcome

    assert send() is SendOutcome.UNKNOWN  # The lookup is refused: nothing is known.
    node.answers["eth_getTransactionByHash"] = fail(-32000, "transaction indexing is in progress")
    assert send() is SendOutcome.UNKNOWN
    node.answers["eth_getTransactionByHash"] = lambda params: None
    assert send() is outcome
    node.answers["eth_getTransactionByHash"] = lambda params: {"hash": params[0]}
    assert send() is SendOutcome.ACCEPTED


def test_another_hash_in_the_answer_is_unknown(node: ScriptedNode) -> None:
    node.answers["eth_sendRawTransaction"] = lambda params: HASHES[1]
    [result] = chain_of(node.url()).send_raw([b"\x02"], HASHES[:1])
    assert result.outcome is SendOutcome.UNKNOWN


def test_a_lost_answer_leaves_the_rest_unsent_and_unknown(node: ScriptedNode) -> None:
    node.answers["eth_sendRawTransaction"] = lambda params: HASHES[int(params[0], 16)]
    chain = chain_of(node.url(), batch_size=2)

    def lose_second_trip(replies: Any) -> Any:
        return replies if len(node.trips) != 2 else replies[:1]

    node.mangle = lose_second_trip
    results = chain.send_raw([bytes([number]) for number in range(6)], HASHES[:6])
    accepted, unknown = SendOutcome.ACCEPTED, SendOutcome.UNKNOWN
    assert [result.outcome for result in results] == [accepted, accepted, unknown, unknown, unknown, unknown]
    assert [len(trip) for trip in node.trips] == [2, 2]
