"""Payments that have waited too long are called off, if nothing of them is signed, and their money is back."""

import datetime as dt

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from tests.desk import ETHER, FEE, NOW, Desk, make_officer, stages
from tests.transactions.test_cancel import available
from tests.transactions.test_nonces import send_elsewhere, wallet
from transactions.models import Approval, Transaction
from transactions.services.approvals import approve_payment
from transactions.services.cancel import cancel_wished
from transactions.services.expire import expire_payments
from transactions.services.restored import hold_wallets
from transactions.services.wallet_care import resume

LATER = NOW + dt.timedelta(hours=12, seconds=1)


@pytest.fixture(autouse=True)
def twelve_hours(settings: Settings) -> None:
    settings.EXPIRE_AFTER_HOURS = 12


def test_one_that_waited_too_long_is_over_and_its_money_is_back(desk: Desk) -> None:
    late, in_time = desk.accept(), desk.accept(now=NOW + dt.timedelta(seconds=1))
    assert expire_payments(LATER) == 1
    late.refresh_from_db()
    assert (late.stage, late.status, late.failure_reason) == ("SETTLED", "FAILED", "expired")
    assert stages([in_time]) == ["ACCEPTED"]
    assert available(desk) == 99 * ETHER - FEE
    assert expire_payments(LATER) == 0
    desk.broadcast()
    assert len(desk.chain.pool) == 1
    desk.assert_books_balance()


def test_a_request_for_approval_is_withdrawn_with_it(desk: Desk) -> None:
    payment = desk.accept_for_review()
    assert expire_payments(LATER) == 1
    payment.refresh_from_db()
    assert (payment.stage, payment.failure_reason) == ("SETTLED", "expired")
    approval = Approval.objects.get()
    assert (approval.verdict, approval.decided_at, approval.decided_by) == ("withdrawn", LATER, None)
    assert available(desk) == 100 * ETHER


@pytest.mark.parametrize("mine", [False, True])
def test_what_is_signed_goes_on(desk: Desk, *, mine: bool) -> None:
    payment = desk.accept()
    desk.broadcast()
    if mine:
        desk.mine()
    before = stages([payment])
    assert expire_payments(LATER) == 0
    assert stages([payment]) == before
    desk.run_to_the_end()
    assert stages([payment]) == ["SETTLED"]
    assert Transaction.objects.get().status == "SUCCESSFUL"


def test_what_may_have_been_paid_waits_for_that(desk: Desk) -> None:
    payment = desk.accept(3 * ETHER)
    send_elsewhere(desk, 0, to=payment.to_public_address, value_in_wei=3 * ETHER)
    desk.mine()
    desk.broadcast()
    assert expire_payments(timezone.now() + dt.timedelta(days=1)) == 0
    assert stages([payment]) == ["ACCEPTED"]
    assert available(desk) == 97 * ETHER - FEE


def test_nothing_is_given_back_while_no_wallet_pays(desk: Desk) -> None:
    payment = desk.accept()
    hold_wallets(NOW)
    desk.mine()
    desk.broadcast()
    assert wallet(desk).unknown_since is None, "all is compared"
    assert expire_payments(LATER) == 0
    assert stages([payment]) == ["ACCEPTED"]
    resume(actor=make_officer(), wallet_id=desk.wallet.pk, reason="Looked", now=NOW)
    assert expire_payments(LATER) == 1


def test_what_its_owner_calls_off_is_cancelled(desk: Desk) -> None:
    payment = desk.accept()
    Transaction.objects.filter(pk=payment.pk).update(cancel_requested_at=NOW)
    assert expire_payments(LATER) == 0
    assert cancel_wished(LATER) == 1


def test_what_was_approved_just_now_has_its_time(desk: Desk) -> None:
    payment = desk.accept_for_review()
    approve_payment(actor=make_officer(), transaction_id=payment.pk, reason="Called the owner", now=LATER)
    assert expire_payments(LATER) == 0
    assert stages([payment]) == ["ACCEPTED"]
    assert expire_payments(LATER + dt.timedelta(hours=12, seconds=1)) == 1


def test_without_a_limit_all_wait(desk: Desk, settings: Settings) -> None:
    settings.EXPIRE_AFTER_HOURS = 0
    payment = desk.accept()
    assert expire_payments(LATER + dt.timedelta(days=1_000)) == 0
    assert stages([payment]) == ["ACCEPTED"]
