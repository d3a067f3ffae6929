"""Plan: what is signed has no more gas than a transaction may have, or no node would take it, nor what comes after."""

import pytest
from pytest_django.fixtures import Settings

from tests.desk import ETHER, GWEI, Desk, make_address, stages
from transactions.models import Attempt

MOST = 16_777_216


@pytest.fixture(autouse=True)
def cheap_gas(desk: Desk) -> None:
    """So cheap that the fee paid covers all of a block's gas."""
    desk.chain.base_fee_per_gas_in_wei = desk.chain.max_priority_fee_per_gas_in_wei = GWEI // 100


@pytest.mark.parametrize(
    ("estimated", "limit"), [(60_000, 72_000), (14_000_000, MOST), (MOST, MOST)], ids=["less", "a fifth", "most"]
)
def test_the_limit_is_a_fifth_above_the_estimate_and_no_more_than_allowed(
    desk: Desk, estimated: int, limit: int
) -> None:
    contract = make_address()
    desk.chain.gas_by_recipient[contract] = estimated
    desk.accept(to=contract)
    assert desk.broadcast() == 1
    assert Attempt.objects.get().gas_limit == limit


def test_who_needs_more_is_not_paid_and_nobody_waits_for_it(desk: Desk) -> None:
    hungry = make_address()
    desk.chain.gas_by_recipient[hungry] = 26_000_000
    payment = desk.accept(to=hungry)
    others = desk.accept_many(2)
    desk.broadcast()
    payment.refresh_from_db()
    assert (payment.status, payment.failure_reason) == ("FAILED", "rejected")
    assert payment.failure_detail == (
        "The recipient needs more gas than a transaction may have (26,000,000 of 16,777,216)."
    )
    assert stages(others) == ["BROADCAST"] * 2
    desk.run_to_the_end()
    desk.account.refresh_from_db()
    assert desk.account.available_balance_in_wei == 100 * ETHER - sum(other.total_in_wei for other in others)
    desk.assert_paid_once(others)
    desk.assert_books_balance()


def test_a_chain_with_another_limit_is_told_by_a_setting(desk: Desk, settings: Settings) -> None:
    settings.GAS_LIMIT_MAX = 30_000_000
    contract = make_address()
    desk.chain.gas_by_recipient[contract] = 26_000_000
    desk.accept(to=contract)
    assert desk.broadcast() == 1
    assert Attempt.objects.get().gas_limit == 30_000_000
