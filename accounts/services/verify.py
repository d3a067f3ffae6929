"""Prove the ledger: every balance, journal and hold against the entries, by set-based SQL in one snapshot."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.utils import CursorWrapper

from accounts.ledger_checks import (
    ACCOUNT_DIFFERENCES,
    ALL_BALANCES,
    BROKEN_CHAIN,
    JOURNAL_DIFFERENCES,
    JOURNAL_ENTRIES,
    LAST_ENTRIES,
    OPEN_HOLDS,
)

LEDGER_TABLES = ("accounts_account", "accounts_journal")
ACCOUNTS_AT_ONCE = 5_000
JOURNALS_AT_ONCE = 50_000
DIFFERENCES_KEPT = 10_000
"""How many differences are kept with their rows; all of them are counted."""
STATEMENT_TIMEOUT_MS = 600_000

OnProgress = Callable[[int], None]
"""Called with the number of ids that were gone through since the last call."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is not as the books demand, with the rows that explain it."""

    rule: str
    subject: str
    expected: str
    found: str
    rows: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"{self.subject}: {self.rule}: expected {self.expected}, found {self.found}"
        return f"{text} [{'; '.join(self.rows)}]" if self.rows else text


@dataclass(slots=True)
class Report:
    """What a check went through and what it found."""

    checked: dict[str, int] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    differences_total: int = 0

    @property
    def is_clean(self) -> bool:
        return self.differences_total == 0

    @property
    def checked_in_words(self) -> str:
        return list_checked(self.checked)

    @property
    def has_room(self) -> bool:
        return len(self.differences) < DIFFERENCES_KEPT

    def add(self, difference: Difference) -> None:
        """Count a difference, and keep it while there is room."""
        self.differences_total += 1
        if self.has_room:
            self.differences.append(difference)

    def count(self, what: str, rows: int) -> None:
        self.checked[what] = self.checked.get(what, 0) + rows


def list_checked(checked: Mapping[str, int]) -> str:
    """Return what a check went through in words: `wallets: 3, accounts: 9`."""
    return ", ".join(f"{what}: {count:,}" for what, count in checked.items())


@contextmanager
def read_snapshot() -> Iterator[CursorWrapper]:
    """Yield a cursor that sees the database as it was at one instant, however long it is used.

    REPEATABLE READ and READ ONLY, on a connection of its own, so that progress can be written and seen meanwhile.
    """
    snapshot = connections.create_connection(DEFAULT_DB_ALIAS)
    try:
        with snapshot.cursor() as cursor:
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            cursor.execute(f"SET LOCAL statement_timeout = {STATEMENT_TIMEOUT_MS}")
            # Between two chunks the reader writes progress elsewhere, and may wait a while for it.
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            yield cursor
            cursor.execute("ROLLBACK")
    finally:
        snapshot.close()


def ids_to_go(cursor: CursorWrapper, *tables: str) -> int:
    """Return how many ids lie between the first and the last of each table: the total of a check's progress."""
    ranges = [id_range for table in tables for id_range in id_ranges(cursor, table, 2**62)]
    return sum(last - first + 1 for first, last in ranges)


def check_ledger(cursor: CursorWrapper, report: Report, on_progress: OnProgress) -> None:
    """Check accounts, entries, journals and the sum of everything; add what is wrong to the report.

    - An account's current balance is the sum of its entries, and what its last entry says.
    - Each entry's balance is the one before plus its amount.
    - Available is current less the holds that are held.
    - A journal has entries, and they sum to zero; so do all accounts.

    :param cursor: of `read_snapshot`.
    """
    for first, last in id_ranges(cursor, "accounts_account", ACCOUNTS_AT_ONCE):
        _check_accounts(cursor, report, first, last)
        on_progress(last - first + 1)
    for first, last in id_ranges(cursor, "accounts_journal", JOURNALS_AT_ONCE):
        _check_journals(cursor, report, first, last)
        on_progress(last - first + 1)
    total = int(fetch(cursor, ALL_BALANCES)[0]["total"])
    if total:
        report.add(Difference("all accounts sum to zero", "the ledger", "0 wei", f"{total} wei"))


def id_ranges(cursor: CursorWrapper, table: str, width: int) -> Iterator[tuple[int, int]]:
    """Yield (first, last) ids that together cover a table.

    :param table: a name from our own code, never from outside.
    """
    (bounds,) = fetch(cursor, f"SELECT min(id) AS low, max(id) AS high FROM {table}")
    if bounds["low"] is None:
        return
    for first in range(bounds["low"], bounds["high"] + 1, width):
        yield first, min(first + width - 1, bounds["high"])


def fetch(cursor: CursorWrapper, sql: str, parameters: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """Run a query and return its rows as dicts."""
    cursor.execute(sql, parameters)
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _check_accounts(cursor: CursorWrapper, report: Report, first: int, last: int) -> None:
    rows = fetch(cursor, ACCOUNT_DIFFERENCES, {"first": first, "last": last})
    report.count("accounts", rows[0]["accounts_checked"])
    report.count("entries", int(rows[0]["entries_checked"]))
    for row in rows:
        if row["id"] is None:
            continue
        current, held = int(row["current"]), int(row["held"])
        for rule, expected, found, why in (
            ("current is the sum of its entries", int(row["posted"]), current, LAST_ENTRIES),
            ("current is what its last entry says", int(row["last_balance"]), current, LAST_ENTRIES),
            ("each entry goes on from the one before", 0, int(row["breaks"]), BROKEN_CHAIN),
            ("available is current less holds", current - held, int(row["available"]), OPEN_HOLDS),
        ):
            if expected != found:
                unit = "breaks" if why is BROKEN_CHAIN else "wei"
                report.add(
                    Difference(
                        rule,
                        f"account #{row['id']} ({row['name']})",
                        f"{expected} {unit}",
                        f"{found} {unit}",
                        explain(cursor, report, why, row["id"]),
                    )
                )


def _check_journals(cursor: CursorWrapper, report: Report, first: int, last: int) -> None:
    rows = fetch(cursor, JOURNAL_DIFFERENCES, {"first": first, "last": last})
    report.count("journals", rows[0]["journals_checked"])
    for row in rows:
        if row["id"] is None:
            continue
        subject = f"journal #{row['id']} ({row['kind']} {row['source']})"
        if row["entries"] == 0:
            report.add(Difference("a journal has entries", subject, "2 or more", "none"))
        else:
            rows_behind = explain(cursor, report, JOURNAL_ENTRIES, row["id"])
            report.add(Difference("a journal sums to zero", subject, "0 wei", f"{row['total']} wei", rows_behind))


def explain(cursor: CursorWrapper, report: Report, why: str, row_id: int) -> tuple[str, ...]:
    """Return the rows behind a difference, while the report still keeps them."""
    rows = fetch(cursor, why, {"id": row_id}) if report.has_room else []
    return tuple(describe_row(row) for row in rows)


def describe_row(row: dict[str, Any]) -> str:
    """Return a row as `column=value …`, for people who will look it up."""
    return " ".join(f"{name}={value}" for name, value in row.items())
