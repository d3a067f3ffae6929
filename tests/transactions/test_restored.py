"""A database restored from a backup: no wallet pays, and nothing is taken for clear, before it was looked at."""

import datetime as dt

import pytest
from django.db import transaction as db_transaction
from django.utils import timezone

from tests.desk import ETHER, NOW, Desk, make_address, make_officer, stages
from tests.transactions.test_nonces import send_elsewhere
from transactions.exceptions import MayBePaidError
from transactions.models import Transaction, Wallet
from transactions.services.approvals import approve_payment, refuse_payment
from transactions.services.cancel import cancel_transaction, cancel_wished
from transactions.services.restored import REASON, hold_wallets
from transactions.services.wallet_care import pause, resume


def seconds_ago(seconds: int) -> dt.datetime:
    return timezone.now() - dt.timedelta(seconds=seconds)


class TestHoldWallets:
    def test_what_was_called_off_since_is_not_paid_before_staff_have_called_it_off_again(self, desk: Desk) -> None:
        payment = desk.accept(2 * ETHER)
        backup = db_transaction.savepoint()
        assert cancel_transaction(actor=make_officer(), transaction_id=payment.pk, now=NOW).failure_reason
        db_transaction.savepoint_rollback(backup)
        hold_wallets(timezone.now())
        desk.mine()
        desk.broadcast()
        desk.mine()
        assert cancel_transaction(actor=make_officer(), transaction_id=payment.pk, now=NOW).failure_reason
        desk.wallet.refresh_from_db()
        resume(actor=make_officer(), wallet_id=desk.wallet.pk, reason="done again", now=NOW)
        other = desk.accept(3 * ETHER)
        desk.run_to_the_end()
        desk.assert_paid_once([other])
        assert desk.chain.paid(payment.to_public_address) == [3 * ETHER]

    def test_nothing_is_given_back_before_the_desk_has_looked(self, desk: Desk) -> None:
        payment = desk.accept(2 * ETHER)
        hold_wallets(timezone.now())
        cancelled = cancel_transaction(actor=make_officer(), transaction_id=payment.pk, now=NOW)
        assert (cancelled.stage, cancelled.cancel_requested_at) == ("ACCEPTED", NOW)
        desk.mine()
        assert cancel_wished(NOW) == 1

    def test_each_hot_wallet_is_being_checked_until_it_was_compared(self, desk: Desk) -> None:
        paused = desk.add_wallet()
        pause(actor=make_officer(), wallet_id=paused.pk, reason="for a while", now=NOW)
        desk.add_deposit_address()
        for _ in range(2):
            hold_wallets(timezone.now())
            hot = Wallet.objects.filter(role="hot").order_by("pk")
            assert [wallet.paused_reason for wallet in hot] == [REASON, "for a while"]
            assert Wallet.objects.filter(unknown_since__isnull=False, role="hot").count() == 2
        with desk.chain.outage():
            desk.broadcast()
        assert Wallet.objects.filter(unknown_since__isnull=False).count() == 2, "nobody has told"
        desk.mine()
        assert not Wallet.objects.filter(unknown_since__isnull=False).exists()


class TestABackupMadeWhileAWalletWasChecked:
    """What was accepted since that check has begun may have been paid after the backup, too."""

    @pytest.fixture
    def later(self, desk: Desk) -> Transaction:
        """A payment accepted while another was unclear; approved and made after the backup, which is restored then."""
        desk.add_wallet(balance_in_wei=500 * ETHER)
        first = desk.accept(2 * ETHER, to=make_address())
        send_elsewhere(desk, 0, to=first.to_public_address, value_in_wei=2 * ETHER)
        desk.mine()
        desk.broadcast()
        Wallet.objects.filter(unknown_since__isnull=False).update(unknown_since=seconds_ago(60))
        desk.set_policy(approval_above_in_wei=2 * ETHER)
        later = desk.accept(3 * ETHER, to=make_address(), now=seconds_ago(30))
        assert stages([later]) == ["REVIEW"]
        backup = db_transaction.savepoint()
        officer = make_officer()
        desk.identify(actor=officer, wallet_id=desk.wallet.pk, payment_id=first.pk, reason="x", now=NOW)
        resume(actor=officer, wallet_id=desk.wallet.pk, reason="x", now=NOW)
        approve_payment(actor=officer, transaction_id=later.pk, now=timezone.now())
        desk.broadcast()
        later.refresh_from_db()
        assert later.wallet_id == desk.wallet.pk
        desk.mine(12)
        db_transaction.savepoint_rollback(backup)
        for _ in range(3):
            desk.broadcast()
            desk.mine()
        assert desk.chain.paid(later.to_public_address) == [3 * ETHER]
        return Transaction.objects.get(pk=later.pk)

    def test_it_is_not_paid_again(self, desk: Desk, later: Transaction) -> None:
        approve_payment(actor=make_officer(), transaction_id=later.pk, now=timezone.now())
        desk.broadcast()
        desk.mine()
        assert desk.chain.paid(later.to_public_address) == [3 * ETHER]

    def test_nor_given_back(self, desk: Desk, later: Transaction) -> None:
        with pytest.raises(MayBePaidError):
            refuse_payment(actor=make_officer(), transaction_id=later.pk, reason="No", now=timezone.now())
