"""What the desk relies on in any chain, shown on the real node and on the fake that other tests use in its place."""

from collections.abc import Callable

import pytest

from accounts.keys import sign_transfers
from tests.chain.harness import (
    CHAIN_ID,
    ETHER,
    GWEI,
    RUNTIME_COSTLY,
    RUNTIME_REVERTING,
    AnvilHarness,
    ChainHarness,
    FakeHarness,
    fresh_signer,
    raw_and_hashes,
    transfer,
)
from transactions.chain import (
    BlockTransfer,
    ChainUnavailableError,
    EstimateOutcome,
    MinedTransaction,
    NonceCount,
    SendOutcome,
    Transfer,
    read_transfers,
)

UNKNOWN_HASH = "0x" + "ab" * 32
UNKNOWN_ADDRESS = "0x" + "00" * 19 + "01"


@pytest.fixture(params=["fake", "anvil"])
def harness(request: pytest.FixtureRequest) -> ChainHarness:
    if request.param == "fake":
        return FakeHarness()
    return AnvilHarness(request.getfixturevalue("anvil"))


class Payer:
    """A funded address that signs and sends."""

    def __init__(self, harness: ChainHarness, balance_in_wei: int = 10 * ETHER) -> None:
        self.harness = harness
        self.signer = fresh_signer()
        self.address = self.signer.address
        harness.set_balance(self.address, balance_in_wei)

    def send(self, **fields: int | str) -> tuple[str, SendOutcome]:
        """Send one transfer and return its hash and what became of it."""
        [signed] = sign_transfers(self.signer, [transfer(**fields)])  # type: ignore[arg-type]
        [result] = self.harness.chain.send_raw([signed.raw], [signed.hash])
        return signed.hash, result.outcome


@pytest.fixture
def payer(harness: ChainHarness) -> Payer:
    return Payer(harness)


@pytest.fixture
def recipient() -> str:
    return fresh_signer().address


def head_number(harness: ChainHarness) -> int:
    return harness.chain.view([], with_finalized=False).head.number


def test_chain_id(harness: ChainHarness) -> None:
    assert harness.chain.chain_id() == CHAIN_ID


def test_view_follows_the_head_and_counts_transactions(harness: ChainHarness, payer: Payer, recipient: str) -> None:
    before = harness.chain.view([payer.address, recipient], with_finalized=True)
    payer.send(nonce=0, to_address=recipient)
    waiting = harness.chain.view([payer.address, recipient], with_finalized=False)
    harness.mine()
    after = harness.chain.view([payer.address, recipient], with_finalized=True)

    unused = NonceCount(latest=0, pending=0)
    assert before.nonces == {payer.address: unused, recipient: unused}
    assert waiting.nonces == {payer.address: NonceCount(latest=0, pending=1), recipient: unused}
    assert after.nonces == {payer.address: NonceCount(latest=1, pending=1), recipient: unused}
    assert after.head.number == before.head.number + 1
    assert after.head.parent_hash == before.head.hash
    assert after.head.timestamp >= before.head.timestamp
    assert after.head.gas_limit == 30_000_000
    assert after.head.base_fee_per_gas_in_wei > 0
    assert waiting.finalized_number is None
    assert before.finalized_number is not None
    assert after.finalized_number is not None
    assert before.finalized_number <= after.finalized_number < after.head.number


def test_finalized_block_trails_the_head(harness: ChainHarness) -> None:
    harness.mine(70)
    view = harness.chain.view([], with_finalized=True)
    assert view.finalized_number is not None
    assert 0 < view.finalized_number < view.head.number


def test_headers_are_linked_and_missing_blocks_are_absent(harness: ChainHarness) -> None:
    harness.mine(2)
    head = harness.chain.view([], with_finalized=False).head
    found = harness.chain.headers([head.number - 1, head.number, head.number + 1000])
    assert set(found) == {head.number - 1, head.number}
    assert found[head.number] == head
    assert found[head.number - 1].hash == head.parent_hash


def test_terms_of_plain_transfers(harness: ChainHarness, payer: Payer) -> None:
    other = Payer(harness, balance_in_wei=5)
    transfers = [Transfer(payer.address, fresh_signer().address, value + 1) for value in range(20)]
    terms = harness.chain.terms(transfers, [other.address])
    assert [(estimate.gas, estimate.outcome) for estimate in terms.estimates] == [(21_000, EstimateOutcome.OK)] * 20
    assert terms.balances == {payer.address: 10 * ETHER, other.address: 5}
    assert terms.nonces == {payer.address: NonceCount(0, 0), other.address: NonceCount(0, 0)}
    assert terms.quote.base_fee_per_gas_in_wei > 0
    assert terms.quote.max_priority_fee_per_gas_in_wei > 0


def test_terms_count_what_is_mined_and_what_waits(harness: ChainHarness, payer: Payer, recipient: str) -> None:
    payer.send(nonce=0, to_address=recipient)
    harness.mine()
    payer.send(nonce=1, to_address=recipient)
    payer.send(nonce=2, to_address=recipient)
    payer.send(nonce=4, to_address=recipient)
    transfers = [Transfer(payer.address, recipient, 1)]
    assert harness.chain.terms(transfers, []).nonces == {payer.address: NonceCount(latest=1, pending=3)}


def test_quote_is_the_base_fee_of_the_next_block(harness: ChainHarness) -> None:
    quote = harness.chain.terms([], []).quote
    harness.mine()
    assert harness.chain.view([], with_finalized=False).head.base_fee_per_gas_in_wei == quote.base_fee_per_gas_in_wei


def test_terms_tell_contracts_apart_from_plain_recipients(harness: ChainHarness, payer: Payer, recipient: str) -> None:
    reverting, costly = harness.deploy(RUNTIME_REVERTING), harness.deploy(RUNTIME_COSTLY)
    transfers = [Transfer(payer.address, to, 1) for to in (recipient, reverting, costly, recipient)]
    plain, reverted, bounded, last = harness.chain.terms(transfers, []).estimates
    assert (plain.gas, plain.outcome) == (last.gas, last.outcome) == (21_000, EstimateOutcome.OK)
    assert (reverted.gas, reverted.outcome) == (None, EstimateOutcome.REVERTED)
    assert "execution reverted" in reverted.error
    assert bounded.outcome is EstimateOutcome.OK
    assert bounded.gas is not None
    assert 40_000 < bounded.gas < 100_000


def test_a_poor_wallet_is_never_a_revert(harness: ChainHarness, payer: Payer, recipient: str) -> None:
    reverting = harness.deploy(RUNTIME_REVERTING)
    transfers = [
        Transfer(payer.address, recipient, 10 * ETHER),
        Transfer(payer.address, recipient, 10 * ETHER + 1),
        Transfer(payer.address, reverting, 11 * ETHER),
        Transfer(payer.address, recipient, 10 * ETHER),
        Transfer(payer.address, recipient, 2**256 - 1),
    ]
    outcomes = [estimate.outcome for estimate in harness.chain.terms(transfers, []).estimates]
    ok, unknown = EstimateOutcome.OK, EstimateOutcome.UNKNOWN
    assert outcomes == [ok, unknown, unknown, ok, unknown]


def test_a_sent_transaction_waits_then_has_a_receipt(harness: ChainHarness, payer: Payer, recipient: str) -> None:
    hash_, outcome = payer.send(nonce=0, to_address=recipient, value_in_wei=12345)
    assert outcome is SendOutcome.ACCEPTED
    assert harness.chain.known([hash_, UNKNOWN_HASH]) == {hash_}
    assert harness.chain.receipts([hash_, UNKNOWN_HASH]) == {}
    assert harness.chain.view([payer.address], with_finalized=False).nonces[payer.address].pending == 1

    harness.mine()
    head = harness.chain.view([], with_finalized=False).head
    receipts = harness.chain.receipts([hash_, UNKNOWN_HASH])
    assert set(receipts) == {hash_}
    receipt = receipts[hash_]
    assert receipt.transaction_hash == hash_
    assert (receipt.block_number, receipt.block_hash) == (head.number, head.hash)
    assert receipt.succeeded
    assert receipt.gas_used == 21_000
    assert receipt.effective_gas_price_in_wei == head.base_fee_per_gas_in_wei + GWEI
    assert receipt.network_fee_in_wei == 21_000 * receipt.effective_gas_price_in_wei
    assert harness.chain.known([hash_]) == {hash_}
    assert harness.chain.balances([payer.address, recipient], block_number=None) == {
        payer.address: 10 * ETHER - 12345 - receipt.network_fee_in_wei,
        recipient: 12345,
    }


def test_many_sends_keep_their_order(harness: ChainHarness, payer: Payer) -> None:
    signed = sign_transfers(payer.signer, [transfer(nonce=n, to_address=fresh_signer().address) for n in range(30)])
    raw, hashes = raw_and_hashes(signed)
    assert [result.outcome for result in harness.chain.send_raw(raw, hashes)] == [SendOutcome.ACCEPTED] * 30
    harness.mine()
    assert set(harness.chain.receipts(hashes)) == set(hashes)


def test_sending_again_is_accepted_in_the_pool_and_after_the_block(
    harness: ChainHarness, payer: Payer, recipient: str
) -> None:
    first = payer.send(nonce=0, to_address=recipient, value_in_wei=7)
    assert payer.send(nonce=0, to_address=recipient, value_in_wei=7) == first
    harness.mine()
    assert payer.send(nonce=0, to_address=recipient, value_in_wei=7) == first
    harness.mine()
    assert harness.chain.balances([recipient], block_number=None) == {recipient: 7}


def test_a_used_nonce_is_too_low_for_another_transaction(harness: ChainHarness, payer: Payer, recipient: str) -> None:
    payer.send(nonce=0, to_address=recipient, value_in_wei=1)
    harness.mine()
    hash_, outcome = payer.send(nonce=0, to_address=recipient, value_in_wei=2)
    assert outcome is SendOutcome.NONCE_TOO_LOW
    assert harness.chain.known([hash_]) == set()


def test_a_nonce_gap_waits_until_it_is_filled(harness: ChainHarness, payer: Payer, recipient: str) -> None:
    late, outcome = payer.send(nonce=1, to_address=recipient)
    assert outcome is SendOutcome.ACCEPTED
    harness.mine()
    assert harness.chain.receipts([late]) == {}
    assert harness.chain.known([late]) == {late}
    assert harness.chain.view([payer.address], with_finalized=False).nonces[payer.address].pending == 0

    early, _ = payer.send(nonce=0, to_address=recipient)
    harness.mine()
    assert set(harness.chain.receipts([early, late])) == {early, late}


def test_a_replacement_needs_a_higher_fee(harness: ChainHarness, payer: Payer, recipient: str) -> None:
    first, _ = payer.send(nonce=0, to_address=recipient, max_fee_in_gwei=100, tip_in_gwei=8)
    # anvil lets any higher fee pass, other nodes want 10 % more: an equal fee is too little for all of them.
    cheap, outcome = payer.send(nonce=0, to_address=recipient, value_in_wei=2, max_fee_in_gwei=100, tip_in_gwei=8)
    assert outcome is SendOutcome.UNDERPRICED
    assert harness.chain.known([first, cheap]) == {first}

    better, outcome = payer.send(nonce=0, to_address=recipient, max_fee_in_gwei=113, tip_in_gwei=9)
    assert outcome is SendOutcome.ACCEPTED
    assert harness.chain.known([first, better]) == {better}
    harness.mine()
    assert set(harness.chain.receipts([first, better])) == {better}


def test_a_fee_below_the_base_fee_is_underpriced(harness: ChainHarness, payer: Payer, recipient: str) -> None:
    _, outcome = payer.send(nonce=0, to_address=recipient, max_fee_in_gwei=0, tip_in_gwei=0)
    assert outcome is SendOutcome.UNDERPRICED


def test_a_wallet_that_cannot_pay(harness: ChainHarness, payer: Payer, recipient: str) -> None:
    hash_, outcome = payer.send(nonce=0, to_address=recipient, value_in_wei=10 * ETHER)
    assert outcome is SendOutcome.INSUFFICIENT_FUNDS
    assert harness.chain.known([hash_]) == set()


def test_a_bad_item_loses_none_of_the_others(harness: ChainHarness, payer: Payer, recipient: str) -> None:
    good, other_chain, late = sign_transfers(
        payer.signer,
        [
            transfer(nonce=0, to_address=recipient),
            transfer(nonce=1, to_address=recipient, chain_id=1),
            transfer(nonce=1, to_address=recipient),
        ],
    )
    results = harness.chain.send_raw(
        [good.raw, b"\x02\xff", other_chain.raw, good.raw, late.raw],
        [good.hash, UNKNOWN_HASH, other_chain.hash, good.hash, late.hash],
    )
    accepted, unknown = SendOutcome.ACCEPTED, SendOutcome.UNKNOWN
    assert [result.outcome for result in results] == [accepted, unknown, unknown, accepted, accepted]
    assert all(result.error for result in results if result.outcome is unknown)


def test_a_revert_costs_the_fee_and_moves_nothing(harness: ChainHarness, payer: Payer) -> None:
    reverting = harness.deploy(RUNTIME_REVERTING)
    hash_, outcome = payer.send(nonce=0, to_address=reverting, value_in_wei=1000, gas_limit=50_000)
    assert outcome is SendOutcome.ACCEPTED
    harness.mine()
    receipt = harness.chain.receipts([hash_])[hash_]
    assert not receipt.succeeded
    assert 21_000 < receipt.gas_used < 22_000
    assert receipt.network_fee_in_wei == receipt.gas_used * receipt.effective_gas_price_in_wei
    assert harness.chain.balances([payer.address, reverting], block_number=None) == {
        payer.address: 10 * ETHER - receipt.network_fee_in_wei,
        reverting: 0,
    }
    counts = harness.chain.view([payer.address], with_finalized=False).nonces
    assert counts == {payer.address: NonceCount(latest=1, pending=1)}


def test_receipts_of_whole_blocks(harness: ChainHarness, payer: Payer, recipient: str) -> None:
    hashes = [payer.send(nonce=nonce, to_address=recipient)[0] for nonce in range(3)]
    harness.mine(2)
    empty = head_number(harness)
    found = harness.chain.block_receipts([empty - 1, empty, empty + 1000])
    assert set(found) == {empty - 1, empty}
    assert found[empty] == []
    assert [receipt.transaction_hash for receipt in found[empty - 1]] == hashes
    assert {receipt.transaction_hash: receipt for receipt in found[empty - 1]} == harness.chain.receipts(hashes)


def test_transactions_are_found_by_sender_and_nonce(harness: ChainHarness, payer: Payer, recipient: str) -> None:
    other = Payer(harness)
    reverting = harness.deploy(RUNTIME_REVERTING)
    hashes, numbers = [], []
    for nonce, (to, gas_limit, blocks) in enumerate(
        [(recipient, 21_000, 3), (reverting, 50_000, 7), (recipient, 21_000, 1)]
    ):
        hashes.append(payer.send(nonce=nonce, to_address=to, value_in_wei=nonce + 5, gas_limit=gas_limit)[0])
        other.send(nonce=nonce, to_address=recipient)
        harness.mine()
        numbers.append(head_number(harness))
        harness.mine(blocks)
    payer.send(nonce=3, to_address=recipient)

    block_hashes = [harness.chain.headers([number])[number].hash for number in numbers]
    found = harness.chain.transactions_of(payer.address, [2, 0, 1, 3, 4])
    assert found == {
        0: MinedTransaction(hashes[0], 0, recipient, 5, numbers[0], block_hashes[0], True),
        1: MinedTransaction(hashes[1], 1, reverting, 6, numbers[1], block_hashes[1], False),
        2: MinedTransaction(hashes[2], 2, recipient, 7, numbers[2], block_hashes[2], True),
    }
    assert harness.chain.transactions_of(recipient, [0]) == {}


def test_many_nonces_of_one_block_are_found(harness: ChainHarness, payer: Payer, recipient: str) -> None:
    hashes = [payer.send(nonce=nonce, to_address=recipient)[0] for nonce in range(20)]
    harness.mine()
    found = harness.chain.transactions_of(payer.address, range(25))
    assert [found[nonce].hash for nonce in range(20)] == hashes
    assert set(found) == set(range(20))


def test_a_nonce_used_before_the_nodes_memory_is_absent(harness: ChainHarness, payer: Payer, recipient: str) -> None:
    payer.send(nonce=0, to_address=recipient)
    harness.mine()
    old, _ = payer.send(nonce=1, to_address=recipient)
    harness.mine()
    new, _ = payer.send(nonce=2, to_address=recipient)
    harness.mine()
    # A full node answers for the newest block and the 128 before it.
    harness.mine(127)
    assert {nonce: tx.hash for nonce, tx in harness.chain.transactions_of(payer.address, [0, 1, 2]).items()} == {
        1: old,
        2: new,
    }
    harness.mine()
    assert set(harness.chain.transactions_of(payer.address, [0, 1, 2])) == {2}


def test_balances_at_a_block(harness: ChainHarness, payer: Payer, recipient: str) -> None:
    harness.mine()
    before = head_number(harness)
    payer.send(nonce=0, to_address=recipient, value_in_wei=3)
    harness.mine()
    assert harness.chain.balances([payer.address, recipient], block_number=before) == {
        payer.address: 10 * ETHER,
        recipient: 0,
    }
    assert harness.chain.balances([recipient], block_number=before + 1) == {recipient: 3}
    assert harness.chain.balances([recipient], block_number=None) == {recipient: 3}


def test_a_reorg_changes_hashes_and_takes_receipts_back(harness: ChainHarness, payer: Payer, recipient: str) -> None:
    harness.mine()
    hash_, outcome = payer.send(nonce=0, to_address=recipient, value_in_wei=9)
    harness.mine(2)
    head = head_number(harness)
    numbers = [head - 2, head - 1, head]
    before = harness.chain.headers(numbers)
    assert set(harness.chain.receipts([hash_])) == {hash_}

    harness.reorg(2)
    after = harness.chain.headers(numbers)
    assert head_number(harness) == head
    assert after[head - 2] == before[head - 2]
    assert after[head - 1].hash != before[head - 1].hash
    assert after[head].hash != before[head].hash
    assert harness.chain.receipts([hash_]) == {}
    assert harness.chain.known([hash_]) == set()
    assert harness.chain.transactions_of(payer.address, [0]) == {}
    counts = harness.chain.view([payer.address], with_finalized=False).nonces
    assert counts == {payer.address: NonceCount(latest=0, pending=0)}

    assert payer.send(nonce=0, to_address=recipient, value_in_wei=9) == (hash_, outcome)
    harness.mine()
    assert harness.chain.receipts([hash_])[hash_].block_number == head + 1
    assert harness.chain.balances([recipient], block_number=None) == {recipient: 9}


def test_a_dropped_transaction_can_be_sent_again(harness: ChainHarness, payer: Payer, recipient: str) -> None:
    hash_, outcome = payer.send(nonce=0, to_address=recipient)
    harness.drop(hash_)
    assert harness.chain.known([hash_]) == set()
    harness.mine()
    assert harness.chain.receipts([hash_]) == {}
    assert payer.send(nonce=0, to_address=recipient) == (hash_, outcome)
    harness.mine()
    assert set(harness.chain.receipts([hash_])) == {hash_}


def test_a_node_that_is_down(harness: ChainHarness, recipient: str) -> None:
    chain = harness.unreachable
    questions: list[Callable[[], object]] = [
        chain.chain_id,
        lambda: chain.view([recipient], with_finalized=True),
        lambda: chain.headers([1]),
        lambda: chain.terms([Transfer(recipient, recipient, 1)], [recipient]),
        lambda: chain.receipts([UNKNOWN_HASH]),
        lambda: chain.block_receipts([1]),
        lambda: chain.known([UNKNOWN_HASH]),
        lambda: chain.balances([recipient], block_number=None),
        lambda: chain.nonces([recipient], block_number=0),
        lambda: chain.transactions_of(recipient, [0]),
    ]
    for question in questions:
        with pytest.raises(ChainUnavailableError):
            question()
    results = chain.send_raw([b"\x02\xff"] * 2, [UNKNOWN_HASH] * 2)
    assert [result.outcome for result in results] == [SendOutcome.UNKNOWN] * 2


def test_nothing_asked_is_nothing_answered(harness: ChainHarness) -> None:
    chain = harness.chain
    assert chain.headers([]) == {}
    assert chain.receipts([]) == {}
    assert chain.block_receipts([]) == {}
    assert chain.known([]) == set()
    assert chain.balances([], block_number=None) == {}
    assert chain.nonces([], block_number=0) == {}
    assert chain.transactions_of(UNKNOWN_ADDRESS, []) == {}
    assert chain.send_raw([], []) == []
    assert chain.terms([], []).estimates == []
    assert chain.view([], with_finalized=False).nonces == {}


class TestBlockBody:
    def test_it_tells_who_paid_whom(self, harness: ChainHarness, payer: Payer, recipient: str) -> None:
        paid, _ = payer.send(nonce=0, to_address=recipient, value_in_wei=5 * GWEI)
        nothing, _ = payer.send(nonce=1, to_address=recipient, value_in_wei=0)
        harness.mine()
        number = head_number(harness)
        body = harness.chain.block_body(number)
        assert body is not None
        assert body.header == harness.chain.headers([number])[number]
        transfer = BlockTransfer(paid, payer.address.lower(), recipient.lower(), 5 * GWEI)
        assert read_transfers(body.json) == [transfer]
        assert nothing in harness.chain.receipts([nothing]), "mined too, but it carried nothing"

    def test_there_is_none_of_the_future(self, harness: ChainHarness) -> None:
        assert harness.chain.block_body(head_number(harness) + 10) is None
