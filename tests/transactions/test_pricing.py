"""What is offered for a transfer: enough for the next block, never more than the user paid."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.desk import FEE, GWEI
from transactions.chain import FeeQuote
from transactions.services.pricing import Price, price_transfer, reserve_for_move

PLAIN = 21_000


def price(base_fee: int, tip: int, *, gas: int = PLAIN, fee: int = FEE) -> Price | None:
    return price_transfer(FeeQuote(base_fee, tip), gas_limit=gas, fee_paid_in_wei=fee)


def test_the_usual_offer_is_twice_the_base_fee_plus_the_tip() -> None:
    assert price(30 * GWEI, 2 * GWEI) == Price(62 * GWEI, 2 * GWEI)


def test_four_times_the_usual_fee_is_kept_back_for_a_move() -> None:
    assert reserve_for_move(FeeQuote(30 * GWEI, 2 * GWEI)) == 4 * PLAIN * 62 * GWEI


def test_the_fee_paid_is_a_ceiling_for_gas_times_price() -> None:
    # 0.008 ether for 21,000 gas is 380.952380952 gwei a gas, rounded down.
    assert price(200 * GWEI, 3 * GWEI) == Price(380_952_380_952, 3 * GWEI)
    assert price(200 * GWEI, 3 * GWEI, gas=42_000) is None


def test_the_least_that_will_do_outlives_the_next_block() -> None:
    # EIP-1559 raises the base fee by at most an eighth: 800 + 100 + 7, times 21,000.
    assert price(800, 7, fee=907 * PLAIN) == Price(907, 7)
    assert price(800, 7, fee=907 * PLAIN - 1) is None
    # An eighth is rounded up.
    assert price(801, 7, fee=909 * PLAIN) == Price(909, 7)
    assert price(801, 7, fee=908 * PLAIN) is None


@pytest.mark.parametrize("fee", [0, 1, PLAIN - 1])
def test_a_fee_that_buys_no_gas_buys_nothing(fee: int) -> None:
    assert price(1, 0, fee=fee) is None


def test_a_chain_without_fees() -> None:
    assert price(0, 0, fee=0) == Price(0, 0)


@given(
    base_fee=st.integers(0, 10**13),
    tip=st.integers(0, 10**12),
    gas=st.integers(PLAIN, 30_000_000),
    fee=st.integers(0, 10**19),
)
def test_whatever_the_market_asks(base_fee: int, tip: int, gas: int, fee: int) -> None:
    offer = price(base_fee, tip, gas=gas, fee=fee)
    needed = base_fee + -(-base_fee // 8) + tip
    if offer is None:
        assert needed * gas > fee
        return
    assert offer.max_fee_per_gas_in_wei * gas <= fee, "never above what the user paid"
    assert needed <= offer.max_fee_per_gas_in_wei <= 2 * base_fee + tip or base_fee == 0
    assert offer.max_priority_fee_per_gas_in_wei == tip <= offer.max_fee_per_gas_in_wei
