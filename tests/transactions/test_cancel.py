"""Cancel: at once while nothing is signed, afterwards by a replacement; whichever a block takes decides."""

from functools import partial

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django.fixtures import Settings

from accounts.exceptions import ReasonRequiredError
from accounts.models import Account, AccountKind, AuditEvent, Hold, User
from tests.desk import ETHER, FEE, NOW, Desk, make_officer, make_user, stages
from tests.transactions.test_broadcast import waits
from tests.transactions.test_nonces import send_elsewhere
from transactions.exceptions import NotCancellableError, TransactionNotFoundError
from transactions.models import Approval, Attempt, Transaction, Wallet
from transactions.services.approvals import approve_payment
from transactions.services.cancel import cancel_transaction, cancel_wished
from transactions.services.moves import move_transactions
from transactions.services.rotate import rotate_key
from transactions.services.wallet_care import resume
from transactions.states import Stage


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


class TestUnclear:
    """While a transaction that nobody knows may have paid it, a payment's funds are not given back."""

    @pytest.fixture
    def payment(self, desk: Desk) -> Transaction:
        """A payment that the database has forgotten to have been paid."""
        payment = desk.accept(3 * ETHER)
        self.pay_elsewhere(desk, payment)
        assert waits(payment) == ["unclear"]
        return payment

    def pay_elsewhere(self, desk: Desk, payment: Transaction) -> None:
        send_elsewhere(desk, 0, to=payment.to_public_address, value_in_wei=payment.transaction_amount_in_wei)
        desk.mine()
        desk.broadcast()

    def tell(self, desk: Desk, payment: Transaction | None) -> None:
        """Say which payment the unknown transaction has paid, as staff do, and let the wallet pay again."""
        actor, payment_id, now = make_officer(), None if payment is None else payment.pk, timezone.now()
        desk.identify(actor=actor, wallet_id=desk.wallet.pk, payment_id=payment_id, reason="Looked", now=now)
        resume(actor=actor, wallet_id=desk.wallet.pk, reason="Looked", now=now)

    def test_a_cancel_is_noted_once_and_the_money_stays_held(self, desk: Desk, payment: Transaction) -> None:
        for _ in range(2):
            row = cancel(desk, payment)
            assert (row.stage, row.status, row.cancel_requested_at) == ("ACCEPTED", "PENDING", NOW)
        assert events() == ["payment.cancel_requested"]
        assert cancel_wished(NOW) == 0
        desk.broadcast()
        assert available(desk) == 97 * ETHER - FEE

    def test_it_is_over_once_the_transaction_was_none_of_ours(self, desk: Desk, payment: Transaction) -> None:
        cancel(desk, payment)
        self.tell(desk, None)
        assert cancel_wished(NOW) == 0, "until the wallet was looked at"
        desk.broadcast()
        assert not desk.chain.pool
        assert [cancel_wished(NOW) for _ in range(2)] == [1, 0]
        payment.refresh_from_db()
        assert (payment.stage, payment.failure_reason) == ("SETTLED", "cancelled")
        assert available(desk) == 100 * ETHER
        desk.run_to_the_end()
        assert desk.chain.paid(payment.to_public_address) == [3 * ETHER], "by the stranger"
        desk.assert_books_balance()

    def test_it_is_settled_as_paid_when_it_was_this_one(self, desk: Desk, payment: Transaction) -> None:
        cancel(desk, payment)
        self.tell(desk, payment)
        desk.broadcast()
        assert cancel_wished(NOW) == 0
        assert (stages([payment]), Attempt.objects.count()) == (["SIGNED"], 1), "its nonce is used: no cancel is signed"
        desk.run_to_the_end()
        payment.refresh_from_db()
        assert (payment.status, payment.nonce, payment.cancel_requested_at) == ("SUCCESSFUL", 0, NOW)
        assert available(desk) == 97 * ETHER - FEE
        desk.assert_paid_once([payment])
        desk.assert_books_balance()

    def test_one_accepted_later_is_cancelled_at_once(self, desk: Desk, payment: Transaction) -> None:
        later = desk.accept(now=timezone.now())
        assert cancel(desk, later).stage == "SETTLED"
        assert stages([payment]) == ["ACCEPTED"]

    def test_one_that_waits_for_approval(self, desk: Desk) -> None:
        payment = desk.accept_for_review(3 * ETHER)
        self.pay_elsewhere(desk, payment)
        row = cancel(desk, payment)
        assert (row.stage, row.cancel_requested_at, row.wait_reason) == ("REVIEW", NOW, "")
        assert Approval.objects.get().verdict == ""
        self.tell(desk, None)
        desk.broadcast()
        assert cancel_wished(NOW) == 1
        assert stages([payment]) == ["SETTLED"]
        assert Approval.objects.get().verdict == "withdrawn"
        assert available(desk) == 100 * ETHER

    def test_one_that_waits_for_approval_and_was_paid(self, desk: Desk) -> None:
        payment = desk.accept_for_review(3 * ETHER)
        self.pay_elsewhere(desk, payment)
        cancel(desk, payment)
        approve_payment(actor=make_officer(), transaction_id=payment.pk, now=NOW)
        self.tell(desk, payment)
        desk.run_to_the_end()
        desk.assert_paid_once([payment])
        desk.assert_books_balance()

    def test_what_was_called_off_is_never_signed(self, desk: Desk, payment: Transaction) -> None:
        cancel(desk, payment)
        Wallet.objects.update(unknown_since=None)
        assert move_transactions([payment.pk], old=[Stage.ACCEPTED], new=Stage.SIGNED) == []
        desk.chain.reorg(1)
        for _ in range(2):
            desk.broadcast()
        assert stages([payment]) == ["ACCEPTED"]
        assert not desk.chain.pool

    def test_what_was_called_off_is_found_by_its_own_index(self, desk: Desk) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute(
                "EXPLAIN SELECT id FROM transactions_transaction WHERE stage IN ('REVIEW', 'ACCEPTED') "
                "AND cancel_requested_at IS NOT NULL ORDER BY id LIMIT 500"
            )
            plan = "\n".join(row[0] for row in cursor.fetchall())
        assert "transactions_cancel_wished" in plan

    def test_what_a_wallet_is_to_move_is_not_given_up_either(self, desk: Desk) -> None:
        """A rotation calls a move off that can't be paid any more; this one may be why."""
        new = desk.add_wallet()
        rotate = partial(
            rotate_key, actor=None, address=desk.wallet.address, to_address=new.address, now=NOW, chain=desk.chain
        )
        rotate(reason="x")
        move = Transaction.objects.get(kind="sweep")
        send_elsewhere(desk, 0, to=new.address, value_in_wei=move.transaction_amount_in_wei)
        desk.mine()
        Wallet.objects.filter(pk=desk.wallet.pk).update(unknown_since=timezone.now())
        rotate(reason="")
        assert stages([move]) == ["ACCEPTED"]


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
