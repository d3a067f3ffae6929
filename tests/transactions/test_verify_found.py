"""The check of the books holds what staff booked as found or missing against whom it belongs to."""

import pytest

from accounts.ledger import JournalDraft, post, system_account
from accounts.models import AccountKind, Journal, JournalKind
from accounts.services.verify import Difference
from tests.desk import NOW, Desk, make_account
from transactions.services.verify import check_books

# The check reads on a connection of its own, which sees only what is committed.
pytestmark = pytest.mark.django_db(transaction=True)


def funding() -> int:
    return system_account(AccountKind.EXTERNAL_FUNDING).pk


def book(kind: JournalKind, *entries: tuple[int, int]) -> Journal:
    source = f"form {Journal.objects.count()}"
    post(now=NOW, journals=[JournalDraft(kind, source, entries)])
    return Journal.objects.get(kind=kind, source=source)


def in_words(*entries: tuple[int, int]) -> str:
    return " ".join(f"{account}:{wei}" for account, wei in sorted(entries, key=lambda row: row[1]))


def test_what_belongs_to_whom_its_address_is_for_adds_up(desk: Desk) -> None:
    address = desk.add_deposit_address().account_id
    book(JournalKind.FOUND, (desk.account.pk, 5), (address, -5))
    book(JournalKind.FOUND, (funding(), 5), (desk.wallet.account_id, -5))
    book(JournalKind.MISSING, (desk.wallet.account_id, 7), (funding(), -7))
    book(JournalKind.MISSING, (address, 3), (funding(), -3))
    book(JournalKind.FOUND, (funding(), 1), (address, -1))
    book(JournalKind.FOUND, (funding(), 2), (desk.account.pk, 4), (address, -6))
    report = check_books()
    assert report.is_clean, [str(row) for row in report.differences]


@pytest.mark.parametrize("to", ["another", "nobody's address", "two", "of two"])
def test_what_was_found_and_given_to_others(desk: Desk, to: str) -> None:
    address, other = desk.add_deposit_address().account_id, make_account().pk
    entries = {
        "another": [(other, 5), (address, -5)],
        "nobody's address": [(desk.account.pk, 5), (funding(), -5)],
        "two": [(desk.account.pk, 3), (other, 2), (address, -5)],
        "of two": [(desk.account.pk, 5), (address, -2), (desk.wallet.account_id, -3)],
    }[to]
    journal = book(JournalKind.FOUND, *entries)
    [difference] = check_books().differences
    assert difference.rule == "what was found belongs to whom its address is for"
    assert (difference.subject, difference.found) == (f"journal #{journal.pk} (found)", in_words(*entries))


@pytest.mark.parametrize("by", ["its account", "another", "nobody's address", "two"])
def test_what_is_missing_and_borne_by_others(desk: Desk, by: str) -> None:
    address, other = desk.add_deposit_address().account_id, make_account(balance_in_wei=9).pk
    entries = {
        "its account": [(address, 5), (desk.account.pk, -5)],
        "another": [(address, 5), (other, -5)],
        "nobody's address": [(desk.account.pk, 5), (funding(), -5)],
        "two": [(address, 5), (funding(), -3), (other, -2)],
    }[by]
    journal = book(JournalKind.MISSING, *entries)
    [difference] = [row for row in check_books().differences if row.subject.startswith("journal")]
    assert difference.rule == "what is missing is borne by the desk"
    assert (difference.subject, difference.found) == (f"journal #{journal.pk} (missing)", in_words(*entries))


def test_the_desk_takes_back_no_more_than_it_has_borne_there(desk: Desk) -> None:
    wallet = desk.add_deposit_address()
    other = desk.add_deposit_address(make_account())
    book(JournalKind.MISSING, (other.account_id, 9), (funding(), -9))
    book(JournalKind.MISSING, (wallet.account_id, 3), (funding(), -3))
    book(JournalKind.FOUND, (funding(), 2), (wallet.account_id, -2))
    journal = book(JournalKind.FOUND, (funding(), 5), (wallet.account_id, -5))
    assert check_books().differences == [
        Difference(
            "the desk takes back no more than it has borne",
            f"journal #{journal.pk} (found) at {wallet.address}",
            "1 wei at most",
            "5 wei",
        )
    ]
