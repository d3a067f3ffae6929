"""The check of the books holds each payment against its hold and its settlement."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection
from django.db import transaction as db_transaction

from accounts.ledger import place_hold
from accounts.models import Hold, Journal, JournalKind
from accounts.services.verify import Difference
from tests.desk import ETHER, FEE, NETWORK_FEE, NOW, Desk, make_account, make_address, make_officer
from transactions.models import Transaction
from transactions.services import verify
from transactions.services.approvals import refuse_payment
from transactions.services.verify import check_books

# The check reads on a connection of its own, which sees only what is committed.
pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def behind_the_desks_back() -> Iterator[Any]:
    """Write without the triggers that refuse it, as somebody with the database's password could."""
    with db_transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        yield cursor


def about_payments() -> list[Difference]:
    """Return what differs, leaving aside what only the ledger's own check says."""
    return [
        row for row in check_books().differences if row.subject.startswith(("payment", "hold", "journal", "settlement"))
    ]


def settled(desk: Desk) -> Transaction:
    """Return a payment of one ether that was settled."""
    row = desk.accept(ETHER)
    desk.run_to_the_end()
    row.refresh_from_db()
    assert row.status == "SUCCESSFUL"
    return row


def hold_of(row: Transaction) -> Hold:
    return Hold.objects.get(kind="payment", source=str(row.pk))


def settlement_of(row: Transaction) -> Journal:
    return Journal.objects.get(kind=JournalKind.SETTLEMENT, source=str(row.pk))


def test_a_desk_at_work_adds_up(desk: Desk) -> None:
    refusing = make_address()
    settled(desk)
    desk.accept(ETHER, to=refusing)
    desk.broadcast()
    desk.chain.reverting.add(refusing)
    desk.run_to_the_end()
    desk.accept(ETHER, to=refusing)
    desk.run_to_the_end()
    desk.accept(2 * ETHER)
    desk.accept(3 * ETHER)
    desk.broadcast()
    desk.accept(4 * ETHER)
    desk.accept_for_review(5 * ETHER)
    refused = desk.accept_for_review(6 * ETHER)
    refuse_payment(actor=make_officer(), transaction_id=refused.pk, reason="x", now=NOW)
    states = set(Transaction.objects.values_list("status", "stage", "failure_reason"))
    assert states == {
        ("SUCCESSFUL", "SETTLED", ""),
        ("FAILED", "SETTLED", "reverted"),
        ("FAILED", "SETTLED", "rejected"),
        ("PENDING", "BROADCAST", ""),
        ("PENDING", "ACCEPTED", ""),
        ("PENDING", "REVIEW", ""),
        ("FAILED", "SETTLED", "refused"),
    }
    report = check_books()
    assert report.is_clean, [str(difference) for difference in report.differences]
    assert report.checked["payments"] == 8


def test_progress_ends_at_its_total(desk: Desk) -> None:
    settled(desk)
    totals: list[int] = []
    steps: list[int] = []
    check_books(on_total=totals.append, on_progress=steps.append)
    assert totals == [sum(steps)]


@pytest.mark.parametrize("width", [1, 2])
def test_chunks_leave_nothing_out(desk: Desk, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "ROWS_AT_ONCE", width)
    rows = desk.accept_many(3)
    with behind_the_desks_back() as cursor:
        cursor.execute("DELETE FROM accounts_hold")
    assert {row.subject for row in about_payments()} == {f"payment #{row.pk} (ACCEPTED)" for row in rows}


def test_a_pending_payment_without_its_hold(desk: Desk) -> None:
    row = desk.accept(ETHER)
    with behind_the_desks_back() as cursor:
        cursor.execute("DELETE FROM accounts_hold")
    (difference,) = about_payments()
    assert difference.subject == f"payment #{row.pk} (ACCEPTED)"
    assert (difference.rule, difference.expected, difference.found) == (
        "the hold of a PENDING payment",
        "held",
        "no hold",
    )


def test_a_pending_payment_whose_hold_was_released(desk: Desk) -> None:
    row = desk.accept(ETHER)
    Hold.objects.filter(pk=hold_of(row).pk).update(status="released", resolved_at=NOW)
    (difference,) = about_payments()
    assert (difference.expected, difference.found) == ("held", "released")
    assert f"hold={hold_of(row).pk} status=released" in difference.rows[0]


def test_a_final_payment_whose_hold_is_still_held(desk: Desk) -> None:
    row = settled(desk)
    with behind_the_desks_back() as cursor:
        cursor.execute("UPDATE accounts_hold SET status = 'held', resolved_at = NULL")
    (difference,) = about_payments()
    assert difference.subject == f"payment #{row.pk} (SETTLED)"
    assert (difference.expected, difference.found) == ("settled", "held")


def test_a_hold_of_another_amount(desk: Desk) -> None:
    row = desk.accept(ETHER)
    with behind_the_desks_back() as cursor:
        cursor.execute("UPDATE accounts_hold SET amount_in_wei = amount_in_wei - 1")
    (difference,) = about_payments()
    assert difference.rule == "the hold covers amount and fee on the paying account"
    assert difference.expected == f"{ETHER + FEE} wei on account #{row.user_account_id}"
    assert difference.found == f"{ETHER + FEE - 1} wei on account #{row.user_account_id}"


def test_a_hold_on_another_account(desk: Desk) -> None:
    desk.accept(ETHER)
    other = make_account()
    with behind_the_desks_back() as cursor:
        cursor.execute("UPDATE accounts_hold SET account_id = %s", [other.pk])
    (difference,) = about_payments()
    assert difference.found.endswith(f"on account #{other.pk}")


def test_a_successful_payment_that_was_never_settled(desk: Desk) -> None:
    row = settled(desk)
    journal = settlement_of(row)
    with behind_the_desks_back() as cursor:
        cursor.execute("DELETE FROM accounts_entry WHERE journal_id = %s", [journal.pk])
        cursor.execute("DELETE FROM accounts_journal WHERE id = %s", [journal.pk])
    (difference,) = about_payments()
    assert difference.rule == "the settlement of a SUCCESSFUL payment"
    assert difference.expected == f"user {-(ETHER + FEE)} wei, wallet {ETHER + NETWORK_FEE} wei"
    assert difference.found == "no settlement"


def test_a_settlement_that_took_too_little(desk: Desk) -> None:
    row = settled(desk)
    journal = settlement_of(row)
    with behind_the_desks_back() as cursor:
        cursor.execute(
            "UPDATE accounts_entry SET amount_in_wei = amount_in_wei + 1 WHERE journal_id = %s AND account_id = %s",
            [journal.pk, row.user_account_id],
        )
    found = {difference.rule: difference.found for difference in about_payments()}
    assert found == {
        "a journal sums to zero": "1 wei",
        "the settlement of a SUCCESSFUL payment": f"user {-(ETHER + FEE) + 1} wei, wallet {ETHER + NETWORK_FEE} wei",
    }


def test_a_pending_payment_that_was_settled_already(desk: Desk) -> None:
    row = settled(desk)
    with behind_the_desks_back() as cursor:
        cursor.execute("UPDATE transactions_transaction SET status = 'PENDING', stage = 'MINED', settled_at = NULL")
    (difference,) = about_payments()
    assert difference.subject == f"payment #{row.pk} (MINED)"
    assert (difference.expected, difference.found) == ("held", "settled")


def test_a_failed_payment_that_was_paid_for(desk: Desk) -> None:
    row = settled(desk)
    with behind_the_desks_back() as cursor:
        cursor.execute("UPDATE transactions_transaction SET status = 'FAILED', failure_reason = 'expired'")
        cursor.execute("UPDATE accounts_hold SET status = 'released'")
    (difference,) = about_payments()
    assert difference.subject == f"payment #{row.pk} (expired)"
    assert difference.expected == "user 0 wei, wallet 0 wei"
    assert difference.found == f"user {-(ETHER + FEE)} wei, wallet {ETHER + NETWORK_FEE} wei"


@pytest.mark.parametrize("source", ["999999", "made up", "9" * 30])
def test_holds_and_settlements_of_no_payment(desk: Desk, source: str) -> None:
    place_hold(account_id=desk.account.pk, amount_in_wei=1, kind="payment", source=source, now=NOW)
    Journal.objects.create(kind=JournalKind.SETTLEMENT, source=source, created_at=NOW)
    found = {difference.rule: difference for difference in about_payments()}
    assert set(found) == {
        "a hold belongs to a payment",
        "a settlement belongs to a payment",
        "a journal has entries",
    }
    assert found["a settlement belongs to a payment"].expected == f"payment #{source}"


def test_holds_for_other_purposes_are_left_alone(desk: Desk) -> None:
    place_hold(account_id=desk.account.pk, amount_in_wei=1, kind="card", source="1", now=NOW)
    assert check_books().is_clean
