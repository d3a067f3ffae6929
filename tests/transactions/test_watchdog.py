"""The watchdog's schedule: 100 s doubling to 1,600 s, 32 tries, then flagged and never forgotten."""

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate

import pytest
from django.db import connection, connections
from django.db import transaction as db_transaction

from tests.desk import NOW, Desk, make_officer
from transactions.models import Transaction
from transactions.services import watchdog
from transactions.services.approvals import approve_payment
from transactions.services.watchdog import CHECKS_MAX, check_delay, claim_overdue, first_check_at

SECOND = dt.timedelta(seconds=1)
DELAYS = [100, 200, 400, 800] + [1_600] * 28
"""Seconds before each of the 32 checks."""


def test_the_schedule() -> None:
    assert CHECKS_MAX == 32
    assert [check_delay(done).total_seconds() for done in range(CHECKS_MAX)] == DELAYS
    assert first_check_at(NOW) == NOW + 100 * SECOND


def test_each_check_comes_on_time_and_no_earlier(desk: Desk) -> None:
    payment = desk.accept()
    due = [NOW + seconds * SECOND for seconds in accumulate(DELAYS)]
    for number, at in enumerate(due, start=1):
        assert claim_overdue(at - SECOND) == []
        assert claim_overdue(at) == [payment.pk]
        assert claim_overdue(at) == [], "claimed until the next check is due"
        payment.refresh_from_db()
        assert payment.checks_done == number
        assert payment.next_check_at == (due[number] if number < 32 else None)
        assert payment.needs_attention == (number == 32)
    assert claim_overdue(due[-1] + dt.timedelta(days=365)) == []
    # 12.9 hours, as the schedule that was asked for has it.
    assert (due[-1] - NOW).total_seconds() == 46_300


def test_a_payment_that_waits_for_approval_is_never_overdue(desk: Desk) -> None:
    payment = desk.accept_for_review()
    late = NOW + dt.timedelta(days=30)
    assert claim_overdue(late) == []
    approve_payment(actor=make_officer(), transaction_id=payment.pk, now=late)
    assert claim_overdue(late + 99 * SECOND) == []
    assert claim_overdue(late + 100 * SECOND) == [payment.pk]


def test_a_late_sweep_does_not_make_up_for_missed_checks(desk: Desk) -> None:
    payment = desk.accept()
    late = NOW + dt.timedelta(hours=5)
    assert claim_overdue(late) == [payment.pk]
    payment.refresh_from_db()
    assert (payment.checks_done, payment.next_check_at) == (1, late + 200 * SECOND)


def test_after_the_last_check_it_is_flagged_and_still_paid(desk: Desk) -> None:
    payment = desk.accept()
    Transaction.objects.update(checks_done=31)
    claim_overdue(NOW + 100 * SECOND)
    payment.refresh_from_db()
    assert (payment.needs_attention, payment.status) == (True, "PENDING")
    desk.run_to_the_end()
    payment.refresh_from_db()
    assert (payment.needs_attention, payment.status) == (False, "SUCCESSFUL")
    desk.assert_paid_once([payment])
    desk.assert_books_balance()


def test_a_flag_set_before_stays(desk: Desk) -> None:
    payment = desk.accept()
    Transaction.objects.update(needs_attention=True)
    claim_overdue(NOW + 100 * SECOND)
    payment.refresh_from_db()
    assert payment.needs_attention


def test_what_is_final_is_left_alone(desk: Desk) -> None:
    payment = desk.accept()
    desk.run_to_the_end()
    Transaction.objects.update(next_check_at=NOW)
    assert claim_overdue(NOW + dt.timedelta(days=1)) == []
    payment.refresh_from_db()
    assert payment.checks_done == 0


def test_every_stage_on_the_way_is_watched(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    payment = desk.accept()
    at = NOW + 100 * SECOND
    for step in (lambda: None, desk.chain.lose_answers, desk.broadcast, desk.broadcast, desk.mine):
        step()
        Transaction.objects.update(next_check_at=NOW)
        assert claim_overdue(at) == [payment.pk]


def test_so_many_at_a_time_and_the_rest_in_the_next_sweep(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "SWEEP_MAX", 3)
    ids = [payment.pk for payment in desk.accept_many(5)]
    at = NOW + 100 * SECOND
    assert claim_overdue(at) == ids[:3]
    assert claim_overdue(at) == ids[3:]
    assert claim_overdue(at) == []


@pytest.mark.django_db(transaction=True)
def test_two_sweeps_at_once_share_the_work(desk: Desk) -> None:
    first, second = desk.accept_many(2)
    at = NOW + 100 * SECOND

    def sweep_elsewhere() -> list[int]:
        try:
            return claim_overdue(at)
        finally:
            connections.close_all()

    with db_transaction.atomic(), connection.cursor() as cursor, ThreadPoolExecutor(1) as thread:
        cursor.execute("SELECT 1 FROM transactions_transaction WHERE id = %s FOR UPDATE", [first.pk])
        assert thread.submit(sweep_elsewhere).result(timeout=20) == [second.pk]
    assert claim_overdue(at) == [first.pk]
