"""The check of the ledger finds what was done behind the ledger's back, and names the rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection
from django.db import transaction as db_transaction

from accounts.ledger import place_hold, post, system_account
from accounts.models import Account, AccountKind, Entry, Journal
from accounts.services import verify
from accounts.services.verify import LEDGER_TABLES, Report, check_ledger, ids_to_go, read_snapshot
from tests.desk import ETHER, NOW, credit, make_account

# The check reads on a connection of its own, which sees only what is committed.
pytestmark = pytest.mark.django_db(transaction=True)


def check(on_progress: Any = lambda _ids: None) -> Report:
    report = Report()
    with read_snapshot() as cursor:
        check_ledger(cursor, report, on_progress)
    return report


@contextmanager
def behind_the_ledgers_back() -> Iterator[Any]:
    """Write without the triggers that refuse it, as somebody with the database's password could."""
    with db_transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        yield cursor


def only(report: Report) -> verify.Difference:
    """Return the one difference of a report."""
    assert report.differences_total == 1, [str(difference) for difference in report.differences]
    return report.differences[0]


@pytest.fixture
def account() -> Account:
    """An account of 6 ether in three entries, one ether of it held."""
    account = make_account(balance_in_wei=ETHER)
    credit(account, 2 * ETHER)
    credit(account, 3 * ETHER)
    place_hold(account_id=account.pk, amount_in_wei=ETHER, kind="payment", source="1", now=NOW)
    return account


def test_an_empty_ledger_adds_up() -> None:
    assert check().is_clean


def test_what_the_ledger_wrote_adds_up(account: Account) -> None:
    report = check()
    assert report.is_clean
    assert report.checked == {"accounts": 2, "entries": 6, "journals": 3}


def test_a_balance_changed_by_hand(account: Account) -> None:
    with behind_the_ledgers_back() as cursor:
        cursor.execute(
            "UPDATE accounts_account SET current_balance_in_wei = current_balance_in_wei + 5,"
            " available_balance_in_wei = available_balance_in_wei + 5 WHERE id = %s",
            [account.pk],
        )
    found = {difference.rule: difference for difference in check().differences}
    assert set(found) == {
        "current is the sum of its entries",
        "current is what its last entry says",
        "all accounts sum to zero",
    }
    difference = found["current is the sum of its entries"]
    assert difference.subject == f"account #{account.pk} (Main)"
    assert (difference.expected, difference.found) == (f"{6 * ETHER} wei", f"{6 * ETHER + 5} wei")
    last = Entry.objects.filter(account=account).order_by("-id")[0]
    assert difference.rows[0] == (
        f"entry={last.pk} journal={last.journal_id} amount={3 * ETHER} balance_after={6 * ETHER}"
    )
    assert found["all accounts sum to zero"].found == "5 wei"


def test_available_changed_by_hand(account: Account) -> None:
    with behind_the_ledgers_back() as cursor:
        cursor.execute("UPDATE accounts_account SET available_balance_in_wei = 7 WHERE id = %s", [account.pk])
    difference = only(check())
    assert difference.rule == "available is current less holds"
    assert (difference.expected, difference.found) == (f"{5 * ETHER} wei", "7 wei")
    assert difference.rows[0].endswith(f"kind=payment source=1 amount={ETHER}")


def test_a_hold_that_vanished(account: Account) -> None:
    with behind_the_ledgers_back() as cursor:
        cursor.execute("DELETE FROM accounts_hold")
    difference = only(check())
    assert (difference.rule, difference.expected) == ("available is current less holds", f"{6 * ETHER} wei")
    assert difference.rows == ()


def test_an_entry_changed_in_the_middle(account: Account) -> None:
    """Two entries changed so that the sum stays: only the chain of balances tells."""
    first, second, _ = Entry.objects.filter(account=account).order_by("id")
    with behind_the_ledgers_back() as cursor:
        cursor.execute("UPDATE accounts_entry SET amount_in_wei = amount_in_wei + 9 WHERE id = %s", [first.pk])
        cursor.execute("UPDATE accounts_entry SET amount_in_wei = amount_in_wei - 9 WHERE id = %s", [second.pk])
    found = {difference.rule: difference for difference in check().differences}
    assert set(found) == {"each entry goes on from the one before", "a journal sums to zero"}
    broken = found["each entry goes on from the one before"]
    assert broken.found == "2 breaks"
    assert broken.rows[0] == (
        f"entry={first.pk} journal={first.journal_id} before=0 amount={ETHER + 9} balance_after={ETHER}"
    )


def test_an_entry_that_vanished(account: Account) -> None:
    last = Entry.objects.filter(account=account).order_by("-id")[0]
    with behind_the_ledgers_back() as cursor:
        cursor.execute("DELETE FROM accounts_entry WHERE id = %s", [last.pk])
    found = {(difference.rule, difference.found) for difference in check().differences}
    assert found == {
        ("current is the sum of its entries", f"{6 * ETHER} wei"),
        ("current is what its last entry says", f"{6 * ETHER} wei"),
        ("a journal sums to zero", f"-{3 * ETHER} wei"),
    }


def test_a_journal_that_is_not_balanced(account: Account) -> None:
    journal = Journal.objects.order_by("id")[0]
    income = system_account(AccountKind.FEE_INCOME)
    with behind_the_ledgers_back() as cursor:
        cursor.execute(
            "INSERT INTO accounts_entry (journal_id, account_id, amount_in_wei, balance_after_in_wei)"
            " VALUES (%s, %s, 4, 4)",
            [journal.pk, income.pk],
        )
        cursor.execute(
            "UPDATE accounts_account SET current_balance_in_wei = 4, available_balance_in_wei = 4 WHERE id = %s",
            [income.pk],
        )
    found = {difference.rule: difference for difference in check().differences}
    assert set(found) == {"a journal sums to zero", "all accounts sum to zero"}
    difference = found["a journal sums to zero"]
    assert difference.subject == f"journal #{journal.pk} (adjustment {journal.source})"
    assert difference.found == "4 wei"
    assert len(difference.rows) == 3
    assert difference.rows[-1].endswith(f"account={income.pk} amount=4")


def test_a_journal_without_entries(account: Account) -> None:
    journal = Journal.objects.create(kind="adjustment", source="nothing", created_at=NOW)
    difference = only(check())
    assert difference.rule == "a journal has entries"
    assert difference.subject == f"journal #{journal.pk} (adjustment nothing)"


def test_what_is_posted_meanwhile_is_not_seen(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each chunk reads the same instant, so that a posting between two of them can't look like a difference."""
    monkeypatch.setattr(verify, "ACCOUNTS_AT_ONCE", 1)
    posted = []

    def post_something(_ids: int) -> None:
        credit(account, 1)
        posted.append(1)

    report = check(post_something)
    assert len(posted) >= 3
    assert report.is_clean
    assert report.checked["entries"] == 6
    assert check().checked["entries"] == 6 + 2 * len(posted)


@pytest.mark.parametrize("width", [1, 2, 1000])
def test_chunks_leave_nothing_out(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "ACCOUNTS_AT_ONCE", width)
    monkeypatch.setattr(verify, "JOURNALS_AT_ONCE", width)
    accounts = [make_account(balance_in_wei=ETHER) for _ in range(5)]
    # A hole in the numbers, as a transaction that was rolled back leaves it.
    Account.objects.filter(pk=make_account().pk).delete()
    accounts.append(make_account(balance_in_wei=ETHER))
    with behind_the_ledgers_back() as cursor:
        cursor.execute("UPDATE accounts_account SET available_balance_in_wei = 3 WHERE kind = 'user'")
    steps: list[int] = []
    report = check(steps.append)
    assert {difference.subject for difference in report.differences} == {
        f"account #{row.pk} (Main)" for row in accounts
    }
    assert report.checked == {"accounts": 7, "entries": 12, "journals": 6}
    with read_snapshot() as cursor:
        assert sum(steps) == ids_to_go(cursor, *LEDGER_TABLES)


def test_all_differences_are_counted_and_some_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "DIFFERENCES_KEPT", 2)
    for _ in range(5):
        make_account(balance_in_wei=ETHER)
    with behind_the_ledgers_back() as cursor:
        cursor.execute("UPDATE accounts_account SET available_balance_in_wei = 3 WHERE kind = 'user'")
    report = check()
    assert (report.differences_total, len(report.differences)) == (5, 2)
    assert not report.is_clean


def test_the_snapshot_can_only_read() -> None:
    with pytest.raises(Exception, match="read-only transaction"), read_snapshot() as cursor:
        cursor.execute("DELETE FROM accounts_account")


def test_amounts_beyond_any_machine_word_add_up() -> None:
    account = make_account(balance_in_wei=2**256 - 1)
    other = make_account()
    credit(account, -1)
    credit(other, 2**255)
    assert check().is_clean
    post(now=NOW, journals=[])
    assert check().is_clean
