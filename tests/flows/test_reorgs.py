"""Reorgs of a real node: a payment lands in another block, ends otherwise there, or comes undone when it was final."""

import pytest
from pytest_django.fixtures import Settings

from accounts.models import Account, AccountKind, Alert, AlertKind, Journal
from chaos.cast import CODE, REVERTS_AT_TIMES
from tests.desk import ETHER, make_address
from tests.flows.conftest import LiveDesk
from tests.flows.test_deposits import balance
from transactions.models import Attempt, Transaction
from transactions.services.broadcast import broadcast_payments
from transactions.services.follow import follow_chain

CONFIRMATIONS = 3


@pytest.fixture
def desk(live_desk: LiveDesk, settings: Settings) -> LiveDesk:
    """A desk before a block with an even number, in which REVERTS_AT_TIMES can be paid; in the next one it reverts."""
    settings.CONFIRMATIONS = CONFIRMATIONS
    live_desk.anvil.rpc("anvil_setCode", REVERTS_AT_TIMES, CODE[REVERTS_AT_TIMES])
    live_desk.anvil.mine(1 + live_desk.anvil.block_number() % 2)
    follow_chain()
    return live_desk


def mine(desk: LiveDesk, blocks: int = 1) -> None:
    """Mine blocks, the follower looking at each."""
    for _ in range(blocks):
        desk.anvil.mine()
        follow_chain()


def send(desk: LiveDesk, to: str) -> tuple[Transaction, int]:
    """Return a payment that waits in the node's pool, and the number of the next block."""
    [payment] = desk.accept(1, [to])
    assert broadcast_payments() == 1
    return payment, desk.anvil.block_number() + 1


def move(desk: LiveDesk, payment: Transaction, *, depth: int, place: int) -> None:
    """Replace the last blocks by others, the payment in one of those (from 0), and let the follower look."""
    desk.anvil.reorg(depth, [("0x" + Attempt.objects.get(transaction=payment).raw_transaction.hex(), place)])
    follow_chain()


def assert_stands(desk: LiveDesk, payment: Transaction, stage: str, *, block: int, succeeded: bool) -> None:
    """Check that the desk knows of a payment what the chain says now."""
    payment.refresh_from_db()
    assert (payment.stage, payment.block_number, payment.succeeded_on_chain) == (stage, block, succeeded)
    on_chain = desk.anvil.block(block)
    assert (payment.block_hash, [payment.transaction_hash]) == (on_chain["hash"], on_chain["transactions"])


def assert_paid(desk: LiveDesk, payment: Transaction) -> None:
    """Check that a payment is final as successful, and that the recipient has its amount once."""
    desk.assert_paid_once([payment])
    assert desk.anvil.balance(payment.to_public_address) == payment.transaction_amount_in_wei


def assert_reverted(desk: LiveDesk, payment: Transaction) -> None:
    """Check that a payment is final as reverted: the funds are free again, and the desk has borne the network fee."""
    payment.refresh_from_db()
    assert (payment.stage, payment.status, payment.failure_reason) == ("SETTLED", "FAILED", "reverted")
    receipt = desk.anvil.receipt(payment.transaction_hash or "")
    assert receipt is not None
    burned = int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)
    assert balance(Account.objects.get(kind=AccountKind.NETWORK_FEES)) == -burned
    assert balance(desk.account) == desk.account.available_balance_in_wei == 100 * ETHER
    assert desk.anvil.balance(payment.to_public_address) == 0
    desk.assert_books_equal_chain()


def assert_settled(payment: Transaction, *, anew: bool) -> None:
    """Check that a payment was settled once, or that it was taken back, which staff are told of, and settled anew."""
    journals = Journal.objects.filter(kind__in=["settlement", "reversal"]).order_by("pk")
    expected = [("settlement", f"{payment.pk}")]
    if anew:
        expected += [("reversal", f"{payment.pk}"), ("settlement", f"{payment.pk}.1")]
    assert list(journals.values_list("kind", "source")) == expected
    assert [alert.kind for alert in Alert.objects.all()] == ([AlertKind.DEEP_REORG] if anew else [])


def test_a_payment_that_the_node_forgot_is_sent_again_and_lands_in_another_block(desk: LiveDesk) -> None:
    payment, first = send(desk, make_address())
    mine(desk, 2)
    assert_stands(desk, payment, "MINED", block=first, succeeded=True)

    desk.anvil.reorg(2)
    assert desk.anvil.rpc("eth_getTransactionByHash", payment.transaction_hash) is None
    follow_chain()
    payment.refresh_from_db()
    assert (payment.stage, payment.block_number, payment.block_hash) == ("BROADCAST", None, "")
    assert Attempt.objects.get().sends == 2

    mine(desk, CONFIRMATIONS)
    assert_stands(desk, payment, "SETTLED", block=first + 2, succeeded=True)
    assert_settled(payment, anew=False)
    assert_paid(desk, payment)


def test_a_success_that_becomes_a_revert_in_another_block_is_a_failure(desk: LiveDesk) -> None:
    payment, first = send(desk, REVERTS_AT_TIMES)
    mine(desk, 2)
    assert_stands(desk, payment, "MINED", block=first, succeeded=True)

    move(desk, payment, depth=2, place=1)
    assert_stands(desk, payment, "MINED", block=first + 1, succeeded=False)
    mine(desk, 2)
    assert_reverted(desk, payment)
    assert_settled(payment, anew=False)


def test_a_revert_that_becomes_a_success_in_another_block_is_paid(desk: LiveDesk) -> None:
    payment, first = send(desk, REVERTS_AT_TIMES)
    # It would not have been sent if it reverted in the next block, so that is replaced before the follower looks.
    desk.anvil.mine(2)
    move(desk, payment, depth=2, place=1)
    assert_stands(desk, payment, "MINED", block=first + 1, succeeded=False)

    move(desk, payment, depth=2, place=0)
    assert_stands(desk, payment, "MINED", block=first, succeeded=True)
    mine(desk)
    assert_stands(desk, payment, "SETTLED", block=first, succeeded=True)
    assert_settled(payment, anew=False)
    assert_paid(desk, payment)


def test_a_final_success_that_becomes_a_revert_is_taken_back_and_refunded(desk: LiveDesk) -> None:
    payment, first = send(desk, REVERTS_AT_TIMES)
    mine(desk, CONFIRMATIONS)
    assert_stands(desk, payment, "SETTLED", block=first, succeeded=True)

    move(desk, payment, depth=CONFIRMATIONS, place=1)
    assert_stands(desk, payment, "MINED", block=first + 1, succeeded=False)
    assert (payment.status, payment.reversals) == ("PENDING", 1)
    assert balance(desk.account) == 100 * ETHER
    assert desk.account.available_balance_in_wei == 100 * ETHER - payment.total_in_wei, "held again"
    mine(desk)
    assert_reverted(desk, payment)
    assert_settled(payment, anew=True)


def test_a_final_payment_that_the_node_forgot_is_followed_anew_and_paid_once(desk: LiveDesk) -> None:
    payment, first = send(desk, make_address())
    mine(desk, CONFIRMATIONS + 1)
    assert_stands(desk, payment, "SETTLED", block=first, succeeded=True)

    desk.anvil.reorg(CONFIRMATIONS + 1)
    follow_chain()
    payment.refresh_from_db()
    assert (payment.stage, payment.block_number, payment.reversals) == ("BROADCAST", None, 1)
    mine(desk, CONFIRMATIONS)
    assert_stands(desk, payment, "SETTLED", block=first + CONFIRMATIONS + 1, succeeded=True)
    assert_settled(payment, anew=True)
    assert_paid(desk, payment)
