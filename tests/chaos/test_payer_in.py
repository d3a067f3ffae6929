"""Somebody pays in, whatever becomes of the node and of what was sent."""

from collections.abc import Callable
from random import Random

import pytest

from chaos import payer_in
from chaos.cast import Cast, Payer
from chaos.payer_in import LAST_AMOUNT_IN_WEI, PayerIn
from txnsite.stack.anvil import Anvil
from txnsite.stack.process import wait_for

ADDRESSES = {number: f"0x{0xDD00 + number:040x}" for number in (1, 2, 3)}
WALLET = f"0x{0xAA00:040x}"
NOBODY = Payer("nobody", "secret", [])
CAST = Cast([NOBODY], NOBODY, NOBODY, [WALLET], {}, ADDRESSES)

Start = Callable[..., PayerIn]


@pytest.fixture
def start(own_anvil: Anvil, monkeypatch: pytest.MonkeyPatch) -> Start:
    monkeypatch.setattr(payer_in, "PAUSE_SECONDS", 0.01)

    def run(*, pays_last: bool = False) -> PayerIn:
        thread = PayerIn(CAST, own_anvil, Random(1), pays_last=pays_last)
        thread.start()
        return thread

    return run


def waiting(anvil: Anvil) -> int:
    status = anvil.rpc("txpool_status")
    return int(status["pending"], 16) + int(status["queued"], 16)


def mined(anvil: Anvil) -> list[tuple[str, int]]:
    """Return recipient and amount of all that is in blocks."""
    blocks = [anvil.block(number, full=True) for number in range(anvil.mine() + 1)]
    return [(each["to"], int(each["value"], 16)) for block in blocks for each in block["transactions"]]


def test_each_transfer_has_an_amount_of_its_own(own_anvil: Anvil, start: Start) -> None:
    payer = start()
    wait_for(lambda: waiting(own_anvil) > 60, what="transfers", timeout_seconds=30, every_seconds=0.05)
    payer.finish()
    payer.join(10)
    came = mined(own_anvil)
    assert {to for to, _ in came} == {*ADDRESSES.values(), WALLET}
    assert len({amount for _, amount in came}) == len(came) > 60
    assert sum(to == WALLET for to, _ in came) < len(came) / 3, "mostly to deposit addresses"


def test_it_goes_on_after_a_restart_and_a_lost_mempool(own_anvil: Anvil, start: Start) -> None:
    payer = start()
    wait_for(lambda: waiting(own_anvil) > 5, what="transfers", timeout_seconds=30, every_seconds=0.05)
    own_anvil.rpc("anvil_dropAllTransactions")
    wait_for(lambda: waiting(own_anvil) > 5, what="new transfers", timeout_seconds=30, every_seconds=0.05)
    own_anvil.mine()
    own_anvil.stop()
    own_anvil.start()
    before = len(mined(own_anvil))
    assert before > 5
    wait_for(lambda: waiting(own_anvil) > 5, what="transfers again", timeout_seconds=30, every_seconds=0.05)
    payer.finish()
    payer.join(10)
    assert len(mined(own_anvil)) > before


def test_at_the_end_each_deposit_address_may_be_paid_once_more(own_anvil: Anvil, start: Start) -> None:
    payer = start(pays_last=True)
    payer.finish()
    payer.join(10)
    last = [to for to, amount in mined(own_anvil) if amount > LAST_AMOUNT_IN_WEI]
    assert sorted(last) == sorted(ADDRESSES.values())
