"""Cancel: at once while nothing is signed, afterwards by a replacement; whichever a block takes decides."""

import pytest
from pytest_django.fixtures import Settings

from accounts.exceptions import ReasonRequiredError
from accounts.models import Account, AccountKind, AuditEvent, Hold, User
from tests.desk import ETHER, FEE, NOW, Desk, make_user, stages
from transactions.exceptions import NotCancellableError, TransactionNotFoundError
from transactions.models import Attempt, Transaction
from transactions.services.cancel import cancel_transaction


def owner(desk: Desk) -> User:
    assert desk.account.owner is not None
    return desk.account.owner


def cancel(desk: Desk, payment: Transaction) -> Transaction:
    return cancel_transaction(actor=owner(desk), transaction_id=payment.pk, reason="changed my mind", now=NOW)


def available(desk: Desk) -> int:
    desk.account.refresh_from_db()
    return desk.account.available_balance_in_wei


def events() -> list[str]:
    return list(AuditEvent.objects.order_by("at").values_list("action", flat=True))


class TestUnsigned:
    def test_it_is_over_at_once_and_the_money_is_back(self, desk: Desk) -> None:
        payment = desk.accept()
        row = cancel(desk, payment)
        assert (row.stage, row.status, row.failure_reason) == ("SETTLED", "FAILED", "cancelled")
        assert available(desk) == 100 * ETHER
        assert Hold.objects.get().status == "released"
        assert events() == ["payment.cancelled"]
        desk.broadcast()
        assert not desk.chain.pool
        desk.assert_books_balance()

    def test_a_reason_that_is_too_long_changes_nothing(self, desk: Desk) -> None:
        payment = desk.accept()
        with pytest.raises(ReasonRequiredError):
            cancel_transaction(actor=owner(desk), transaction_id=payment.pk, reason=501 * "x", now=NOW)
        assert stages([payment]) == ["ACCEPTED"]

    def test_asked_twice_it_is_done_once(self, desk: Desk) -> None:
        payment = desk.accept()
        cancel(desk, payment)
        assert cancel(desk, payment).failure_reason == "cancelled"
        assert events() == ["payment.cancelled"]


class TestSent:
    def test_a_cancel_takes_its_place_and_the_money_is_back_when_it_is_final(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        row = cancel(desk, payment)
        assert (row.stage, row.cancel_requested_at) == ("BROADCAST", NOW)
        assert available(desk) == 99 * ETHER - FEE
        assert desk.broadcast() == 1
        [waiting] = desk.chain.pool.values()
        assert (waiting.nonce, waiting.to_address, waiting.value_in_wei) == (0, desk.wallet.address, 0)
        desk.mine()
        assert stages([payment]) == ["MINED"]
        assert available(desk) == 99 * ETHER - FEE, "a cancel waits for the same depth"
        desk.run_to_the_end()
        payment.refresh_from_db()
        assert (payment.status, payment.failure_reason) == ("FAILED", "cancelled")
        assert available(desk) == 100 * ETHER
        burned = payment.transaction_fee_blockchain_in_wei
        assert burned
        assert Account.objects.get(kind=AccountKind.NETWORK_FEES).current_balance_in_wei == -burned
        assert events() == ["payment.cancel_requested"]
        desk.assert_paid_once([])
        desk.assert_books_balance()

    def test_the_payment_that_is_mined_first_decides(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        cancel(desk, payment)
        desk.chain.mine()
        desk.broadcast()
        desk.run_to_the_end()
        payment.refresh_from_db()
        assert (payment.status, payment.failure_reason) == ("SUCCESSFUL", "")
        desk.assert_paid_once([payment])
        desk.assert_books_balance()

    def test_one_mined_after_its_cancel_was_sent_decides_too(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        cancel(desk, payment)
        desk.broadcast()
        paying, cancelling = Attempt.objects.order_by("id")
        assert (paying.purpose, cancelling.purpose) == ("payment", "cancel")
        desk.chain.drop(cancelling.hash)
        desk.chain.put_back(bytes(paying.raw_transaction))
        desk.run_to_the_end()
        payment.refresh_from_db()
        assert (payment.status, payment.transaction_hash) == ("SUCCESSFUL", paying.hash)
        desk.assert_paid_once([payment])
        desk.assert_books_balance()

    def test_a_cancel_that_is_stuck_is_replaced_by_another_cancel(self, desk: Desk, settings: Settings) -> None:
        settings.REPLACE_AFTER_BLOCKS = 2
        payment = desk.accept()
        desk.broadcast()
        cancel(desk, payment)
        desk.broadcast()
        for _ in range(2):
            desk.chain.mine(empty=True)
            desk.follow()
        desk.broadcast()
        assert [each.purpose for each in Attempt.objects.order_by("id")] == ["payment", "cancel", "cancel"]
        desk.run_to_the_end()
        payment.refresh_from_db()
        assert payment.failure_reason == "cancelled"
        desk.assert_books_balance()

    def test_a_cancel_may_cost_more_than_the_fee_paid_and_is_ours_to_pay(self, desk: Desk) -> None:
        desk.chain.base_fee_per_gas_in_wei = FEE // 21_000 // 2 - 10**9
        payment = desk.accept()
        desk.broadcast()
        cancel(desk, payment)
        assert desk.broadcast() == 1
        desk.run_to_the_end()
        assert available(desk) == 100 * ETHER
        desk.assert_books_balance()

    def test_asked_twice_there_is_one_cancel(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        cancel(desk, payment)
        cancel(desk, payment)
        desk.broadcast()
        cancel(desk, payment)
        desk.broadcast()
        assert Attempt.objects.filter(purpose="cancel").count() == 1
        assert events() == ["payment.cancel_requested"]


class TestTooLate:
    def test_in_a_block(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        desk.mine()
        with pytest.raises(NotCancellableError):
            cancel(desk, payment)
        assert events() == []
        desk.run_to_the_end()
        desk.assert_paid_once([payment])

    def test_when_it_is_over(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.run_to_the_end()
        with pytest.raises(NotCancellableError):
            cancel(desk, payment)

    def test_there_is_none(self, desk: Desk) -> None:
        with pytest.raises(TransactionNotFoundError):
            cancel_transaction(actor=make_user(), transaction_id=1, now=NOW)
