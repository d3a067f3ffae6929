"""The block that used a nonce is found by halves, and what a node has forgotten is never made up."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chain.scripted import ADDRESS, HASHES, chain_of, fail, receipt_of
from tests.fakes.node import ScriptedNode
from transactions.chain import ChainUnavailableError, MinedTransaction
from transactions.chain.history import blocks_of_nonces

used_per_block = st.lists(st.sampled_from([0, 0, 0, 1, 2, 7]), min_size=1, max_size=200)


class Counts:
    """Counts of an address after each block; those before `oldest` are forgotten."""

    def __init__(self, used: Sequence[int], oldest: int = 0) -> None:
        self.after = [sum(used[: number + 1]) for number in range(len(used))]
        self.oldest = oldest
        self.trips: list[list[int]] = []

    def __call__(self, numbers: Sequence[int]) -> dict[int, int]:
        self.trips.append(list(numbers))
        assert len(set(numbers)) == len(numbers)
        return {number: self.after[number] for number in numbers if number >= self.oldest}

    def true_block(self, nonce: int) -> int | None:
        return next((number for number, count in enumerate(self.after) if count > nonce), None)


@given(used=used_per_block)
def test_each_nonce_is_found_in_its_block(used: list[int]) -> None:
    counts = Counts(used)
    nonces = range(sum(used) + 3)
    found = blocks_of_nonces(counts, nonces, len(used) - 1)
    assert found == {nonce: counts.true_block(nonce) for nonce in range(sum(used))}


@given(used=used_per_block, data=st.data())
def test_a_forgotten_block_is_never_named(used: list[int], data: st.DataObject) -> None:
    counts = Counts(used, oldest=data.draw(st.integers(0, len(used) - 1)))
    found = blocks_of_nonces(counts, range(sum(used)), len(used) - 1)
    for nonce, number in found.items():
        true_block = counts.true_block(nonce)
        assert true_block is not None
        assert number == max(true_block, counts.oldest)


def test_twenty_million_blocks_take_few_trips() -> None:
    head, trips = 22_000_000, []

    def counts_at(numbers: Sequence[int]) -> dict[int, int]:
        trips.append(len(numbers))
        return {number: 0 if number < 21_999_000 else 5 if number < 21_999_990 else 9 for number in numbers}

    assert blocks_of_nonces(counts_at, [3, 8, 4], head) == {3: 21_999_000, 8: 21_999_990, 4: 21_999_000}
    assert len(trips) <= 11
    assert sum(trips) <= 45


def script(node: ScriptedNode, transactions: list[dict[str, Any]]) -> None:
    """Let block 1 be the head and hold these transactions."""
    node.answers["eth_blockNumber"] = lambda params: "0x1"
    node.answers["eth_getTransactionCount"] = lambda params: hex(len(transactions)) if params[1] == "0x1" else "0x0"
    node.answers["eth_getBlockByNumber"] = lambda params: {"transactions": transactions}
    node.answers["eth_getTransactionReceipt"] = lambda params: receipt_of(params[0])


def sent(nonce: int, **fields: Any) -> dict[str, Any]:
    sender = {
        "hash": HASHES[nonce],
        "nonce": hex(nonce),
        "from": ADDRESS.lower(),
        "to": ADDRESS.lower(),
        "value": "0x2",
    }
    return sender | fields


def test_the_creation_of_a_contract_has_no_recipient(node: ScriptedNode) -> None:
    script(node, [sent(0, to=None), sent(1)])
    block_hash = "0x" + "cd" * 32
    assert chain_of(node.url()).transactions_of(ADDRESS, [0, 1]) == {
        0: MinedTransaction(HASHES[0], 0, None, 2, 1, block_hash, True),
        1: MinedTransaction(HASHES[1], 1, ADDRESS, 2, 1, block_hash, True),
    }
    assert len(node.trips) == 4


def test_without_its_receipt_a_transaction_is_absent(node: ScriptedNode) -> None:
    script(node, [sent(0), sent(1)])
    node.answers["eth_getTransactionReceipt"] = lambda params: None if params[0] == HASHES[0] else receipt_of(params[0])
    assert set(chain_of(node.url()).transactions_of(ADDRESS, [0, 1])) == {1}


def test_a_nonce_that_no_transaction_of_the_block_has_is_absent(node: ScriptedNode) -> None:
    # An EIP-7702 authorization uses up a nonce of an account without a transaction from it.
    script(node, [sent(0), sent(1, **{"from": "0x" + "22" * 20})])
    assert set(chain_of(node.url()).transactions_of(ADDRESS, [0, 1])) == {0}


def test_a_node_that_limits_the_search_is_unavailable(node: ScriptedNode) -> None:
    script(node, [sent(0)])
    node.answers["eth_getTransactionCount"] = fail(-32005, "request rate limited")
    with pytest.raises(ChainUnavailableError):
        chain_of(node.url()).transactions_of(ADDRESS, [0])


class TestSeveralNodes:
    """What one has forgotten, or can't say now, the next is asked for."""

    @pytest.fixture
    def archive(self, second: ScriptedNode) -> ScriptedNode:
        """Return a node that knows all counts: nonce 0 was used in block 7, nonce 1 in block 100, the head."""
        blocks = {"0x7": [sent(0)], "0x64": [sent(1)]}
        second.answers["eth_getTransactionCount"] = lambda params: counts_of([7, 100], int(params[1], 16))
        second.answers["eth_getBlockByNumber"] = lambda params: {"transactions": blocks.get(params[0], [])}
        second.answers["eth_getTransactionReceipt"] = lambda params: receipt_of(params[0])
        return second

    @pytest.fixture
    def full(self, node: ScriptedNode, archive: ScriptedNode) -> ScriptedNode:
        """Return a node that has forgotten all counts but the newest two."""
        forgotten = fail(-32000, "missing trie node: state is not available")
        known = archive.answers["eth_getTransactionCount"]
        node.answers |= archive.answers
        node.answers["eth_getTransactionCount"] = lambda params: (
            known(params) if int(params[1], 16) >= 99 else forgotten(params)
        )
        return node

    def test_an_archive_node_is_asked_wherever_it_stands(self, full: ScriptedNode, archive: ScriptedNode) -> None:
        for urls in [(full.url(), archive.url()), (archive.url(), full.url())]:
            assert set(chain_of(*urls).transactions_of(ADDRESS, [0, 1])) == {0, 1}

    def test_only_for_what_is_missing(self, full: ScriptedNode, archive: ScriptedNode) -> None:
        chain = chain_of(full.url(), archive.url())
        assert set(chain.transactions_of(ADDRESS, [1])) == {1}
        assert receipts_asked(archive) == 0
        assert set(chain.transactions_of(ADDRESS, [0, 1])) == {0, 1}
        assert receipts_asked(archive) == 1

    def test_a_node_that_fails_takes_back_nothing_that_another_has_found(
        self, full: ScriptedNode, archive: ScriptedNode
    ) -> None:
        archive.answers["eth_getTransactionCount"] = fail(-32005, "request rate limited")
        for urls in [(full.url(), archive.url()), (archive.url(), full.url())]:
            assert set(chain_of(*urls).transactions_of(ADDRESS, [0, 1])) == {1}

    def test_that_nobody_can_tell_is_said_only_when_all_have_answered(
        self, full: ScriptedNode, archive: ScriptedNode
    ) -> None:
        archive.answers["eth_getTransactionCount"] = fail(-32005, "request rate limited")
        chain = chain_of(full.url(), archive.url())
        for _ in range(2):
            # The second time it is set aside.
            with pytest.raises(ChainUnavailableError):
                chain.transactions_of(ADDRESS, [0])
        assert chain_of(full.url()).transactions_of(ADDRESS, [0]) == {}

    def test_when_all_fail_nothing_is_known(self, full: ScriptedNode, archive: ScriptedNode) -> None:
        for each in (full, archive):
            each.answers["eth_getTransactionCount"] = fail(-32005, "request rate limited")
        with pytest.raises(ChainUnavailableError):
            chain_of(full.url(), archive.url()).transactions_of(ADDRESS, [0])


def counts_of(blocks: Sequence[int], number: int) -> str:
    """Return how many of the nonces that these blocks used are used up to a block."""
    return hex(sum(block <= number for block in blocks))


def receipts_asked(node: ScriptedNode) -> int:
    return sum(trip.count("eth_getTransactionReceipt") for trip in node.trips)
