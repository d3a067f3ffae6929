"""The faults of the fake chain do what other tests count on."""

import pytest

from accounts.keys import sign_transfers
from tests.chain.harness import ETHER, fresh_signer, raw_and_hashes, transfer
from tests.fakes.chain import FakeChain
from transactions.chain import Chain, ChainUnavailableError, EstimateOutcome, NonceCount, SendOutcome, Transfer

SIGNER = fresh_signer()
RECIPIENT = fresh_signer().address


@pytest.fixture
def fake() -> FakeChain:
    chain = FakeChain()
    chain.set_balance(SIGNER.address, 10 * ETHER)
    return chain


def send(fake: FakeChain, *nonces: int, gas_limit: int = 21_000) -> tuple[list[str], list[SendOutcome]]:
    signed = sign_transfers(
        SIGNER, [transfer(nonce=n, to_address=RECIPIENT, value_in_wei=5, gas_limit=gas_limit) for n in nonces]
    )
    raw, hashes = raw_and_hashes(signed)
    return hashes, [result.outcome for result in fake.send_raw(raw, hashes)]


def test_the_same_story_gives_the_same_hashes() -> None:
    def story() -> list[str]:
        chain = FakeChain()
        chain.set_balance(SIGNER.address, ETHER)
        send(chain, 0)
        chain.mine(3)
        chain.reorg(1)
        return [block.header.hash for block in chain.blocks]

    assert story() == story()
    assert len(set(story())) == 4


def test_an_outage_ends(fake: FakeChain) -> None:
    chain: Chain = fake
    with fake.outage():
        with pytest.raises(ChainUnavailableError):
            chain.chain_id()
        assert send(fake, 0)[1] == [SendOutcome.UNKNOWN]
    assert chain.chain_id() == 31337
    assert fake.pool == {}
    assert fake.asked["chain_id"] == 2


def test_a_lost_answer_is_a_transaction_taken(fake: FakeChain) -> None:
    fake.lose_answers()
    hashes, outcomes = send(fake, 0)
    assert outcomes == [SendOutcome.UNKNOWN]
    assert list(fake.pool) == hashes
    assert send(fake, 0) == (hashes, [SendOutcome.ACCEPTED])
    fake.mine()
    assert fake.paid(RECIPIENT) == [5]


def test_a_refusal_takes_nothing(fake: FakeChain) -> None:
    fake.refuse("txpool is full", times=2)
    hashes, outcomes = send(fake, 0, 1, 2)
    assert outcomes == [SendOutcome.UNKNOWN, SendOutcome.UNKNOWN, SendOutcome.ACCEPTED]
    assert list(fake.pool) == hashes[2:]


def test_receipts_can_lag(fake: FakeChain) -> None:
    fake.receipts_lag_blocks = 2
    hashes, _ = send(fake, 0)
    mined = fake.mine()
    assert fake.view([SIGNER.address], with_finalized=False).nonces == {SIGNER.address: NonceCount(1, 1)}
    fake.mine()
    assert fake.receipts(hashes) == {}
    assert fake.block_receipts([mined.number]) == {}
    fake.mine()
    assert set(fake.receipts(hashes)) == set(hashes)
    assert len(fake.block_receipts([mined.number])[mined.number]) == 1


def test_a_node_can_lack_block_receipts_and_the_finalized_tag(fake: FakeChain) -> None:
    fake.has_block_receipts = fake.has_finalized = False
    fake.mine(70)
    assert fake.block_receipts([1]) == {}
    assert fake.view([], with_finalized=True).finalized_number is None


def test_blocks_can_leave_transactions_waiting(fake: FakeChain) -> None:
    hashes, _ = send(fake, 0, 1, 2)
    fake.mine(empty=True)
    assert set(fake.pool) == set(hashes)
    fake.mine(only=hashes[:2])
    assert list(fake.pool) == hashes[2:]
    fake.base_fee_per_gas_in_wei = 10**12
    fake.mine()
    assert list(fake.pool) == hashes[2:]


def test_a_reorg_can_put_transactions_back_into_the_pool(fake: FakeChain) -> None:
    hashes, _ = send(fake, 0)
    fake.mine(2)
    fake.reorg(2, back_to_pool=True)
    assert fake.view([], with_finalized=False).head.number == 2
    assert fake.paid(RECIPIENT) == []
    assert list(fake.pool) == hashes
    assert fake.mine().number == 3
    assert fake.paid(RECIPIENT) == [5]


def test_a_recipient_can_turn_to_reverting_after_the_estimate(fake: FakeChain) -> None:
    [estimate] = fake.terms([Transfer(SIGNER.address, RECIPIENT, 1)], []).estimates
    assert estimate.outcome is EstimateOutcome.OK
    hashes, _ = send(fake, 0)
    fake.reverting.add(RECIPIENT)
    fake.mine()
    receipt = fake.receipts(hashes)[hashes[0]]
    assert not receipt.succeeded
    assert fake.balances([SIGNER.address, RECIPIENT], block_number=None) == {
        SIGNER.address: 10 * ETHER - receipt.network_fee_in_wei,
        RECIPIENT: 0,
    }


def test_too_little_gas_fails_on_chain(fake: FakeChain) -> None:
    fake.gas_by_recipient[RECIPIENT] = 45_000
    short, _ = send(fake, 0)
    enough, _ = send(fake, 1, gas_limit=45_000)
    fake.mine()
    receipts = fake.receipts([*short, *enough])
    assert [receipts[hash_].succeeded for hash_ in (*short, *enough)] == [False, True]
    assert [receipts[hash_].gas_used for hash_ in (*short, *enough)] == [21_000, 45_000]


def test_an_estimate_can_say_nothing(fake: FakeChain) -> None:
    fake.unknown_recipients.add(RECIPIENT)
    [estimate] = fake.terms([Transfer(SIGNER.address, RECIPIENT, 1)], []).estimates
    assert (estimate.gas, estimate.outcome) == (None, EstimateOutcome.UNKNOWN)


def test_an_op_stack_fee_is_charged(fake: FakeChain) -> None:
    fake.l1_fee_in_wei = 77
    hashes, _ = send(fake, 0)
    fake.mine()
    receipt = fake.receipts(hashes)[hashes[0]]
    assert receipt.network_fee_in_wei == 21_000 * receipt.effective_gas_price_in_wei + 77
    assert fake.balances([SIGNER.address], block_number=None) == {
        SIGNER.address: 10 * ETHER - 5 - receipt.network_fee_in_wei
    }


def test_a_block_has_a_gas_limit(fake: FakeChain) -> None:
    fake.gas_limit = 42_000
    hashes, _ = send(fake, 0, 1, 2)
    fake.mine()
    assert list(fake.pool) == hashes[2:]
    fake.mine()
    assert fake.paid(RECIPIENT) == [5, 5, 5]
