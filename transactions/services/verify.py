"""Prove the books: the ledger by itself, each payment against its hold and its settlement, each deposit."""

from typing import Any

from django.db.backends.utils import CursorWrapper

from accounts.services.verify import (
    LEDGER_TABLES,
    Difference,
    OnProgress,
    Report,
    check_ledger,
    fetch,
    id_ranges,
    ids_to_go,
    read_snapshot,
)
from transactions.services.verify_deposits import TABLES as DEPOSIT_TABLES
from transactions.services.verify_deposits import check_deposits
from transactions.services.verify_found import check_found
from transactions.services.verify_losses import check_losses

ROWS_AT_ONCE = 20_000

# `holds` and `settlements` of a payment are found by (kind, source), which the database keeps unique.
_PAYMENT_DIFFERENCES = """
WITH judged AS (
    SELECT payment.id, payment.status, payment.stage, payment.failure_reason, payment.user_account_id,
           hold.id AS hold, hold.status AS hold_status, hold.amount_in_wei AS held, hold.account_id AS hold_account,
           payment.transaction_amount_in_wei + payment.transaction_fee_total_in_wei AS total,
           settlement.id AS settlement, settlement.users_change, settlement.wallets_change,
           CASE WHEN payment.kind <> 'payment' THEN NULL WHEN payment.status = 'PENDING' THEN 'held'
                WHEN payment.status = 'SUCCESSFUL' THEN 'settled' ELSE 'released' END AS hold_status_expected,
           CASE WHEN payment.status = 'SUCCESSFUL'
                         OR payment.failure_reason IN ('reverted', 'cancelled', 'displaced')
                    -- In no block: cancelled before it was signed, or given up.
                    THEN coalesce(payment.transaction_fee_blockchain_in_wei, 0)
                         + CASE WHEN attempt.purpose = 'stranger' AND payment.succeeded_on_chain
                                    THEN attempt.value_in_wei
                                WHEN payment.kind IN ('payment', 'sweep') AND payment.status = 'SUCCESSFUL'
                                    THEN payment.transaction_amount_in_wei
                                ELSE 0 END
                    ELSE 0 END AS wallets_change_expected,
           CASE WHEN payment.status = 'SUCCESSFUL' AND payment.kind = 'payment'
                    THEN -(payment.transaction_amount_in_wei + payment.transaction_fee_total_in_wei)
                ELSE 0 END AS users_change_expected
    FROM transactions_transaction AS payment
    CROSS JOIN LATERAL (
        SELECT payment.id || CASE WHEN payment.reversals > 0 THEN '.' || payment.reversals ELSE '' END AS source
    ) AS round
    LEFT JOIN transactions_attempt AS attempt ON attempt.hash = payment.transaction_hash
    LEFT JOIN accounts_hold AS hold ON hold.kind = 'payment' AND hold.source = round.source
    LEFT JOIN LATERAL (
        SELECT journal.id,
               coalesce(sum(entry.amount_in_wei) FILTER (WHERE entry.account_id = payment.user_account_id
                                                            AND payment.kind = 'payment'), 0)
                   AS users_change,
               coalesce(sum(entry.amount_in_wei) FILTER (WHERE entry.account_id = wallet.account_id), 0)
                   AS wallets_change
        FROM accounts_journal AS journal
        LEFT JOIN accounts_entry AS entry ON entry.journal_id = journal.id
        LEFT JOIN transactions_wallet AS wallet ON wallet.id = payment.wallet_id
        WHERE journal.kind = 'settlement' AND journal.source = round.source
        GROUP BY journal.id
    ) AS settlement ON TRUE
    WHERE payment.id BETWEEN %(first)s AND %(last)s
), size AS (
    SELECT count(*) AS checked FROM judged
)
SELECT size.checked, judged.* FROM size LEFT JOIN judged
    ON judged.hold_status IS DISTINCT FROM judged.hold_status_expected
       OR judged.held <> judged.total OR judged.hold_account <> judged.user_account_id
       OR coalesce(judged.users_change, 0) <> judged.users_change_expected
       OR coalesce(judged.wallets_change, 0) <> judged.wallets_change_expected
       OR (judged.settlement IS NOT NULL) <> (judged.wallets_change_expected <> 0)
ORDER BY judged.id
"""

# What claims to belong to a payment that isn't there; a source that is no number can't be one.
_ORPHANS = """
SELECT {table}.id, {table}.source FROM {table}
WHERE {table}.kind = %(kind)s AND {table}.id BETWEEN %(first)s AND %(last)s
  AND NOT EXISTS (
      SELECT FROM transactions_transaction AS payment
      WHERE payment.id = CASE WHEN {table}.source ~ '^[0-9]{{1,18}}([.][0-9]{{1,4}})?$'
                              THEN split_part({table}.source, '.', 1)::bigint END
        AND payment.reversals >= CASE WHEN {table}.source ~ '[.][0-9]{{1,4}}$'
                                      THEN split_part({table}.source, '.', 2)::int ELSE 0 END
  )
ORDER BY {table}.id
"""
_OWNED = (("accounts_hold", "payment", "hold"), ("accounts_journal", "settlement", "settlement"))


def check_books(*, on_total: OnProgress = lambda _ids: None, on_progress: OnProgress = lambda _ids: None) -> Report:
    """Check everything that `check_books_of` does in a snapshot of its own; return what was checked and what differs.

    :param on_total: told once how many ids there are to go through.
    :param on_progress: told how many were gone through since the last time.
    """
    report = Report()
    with read_snapshot() as cursor:
        on_total(books_to_go(cursor))
        check_books_of(cursor, report, on_progress)
    return report


def books_to_go(cursor: CursorWrapper) -> int:
    """Return how many ids `check_books_of` goes through."""
    owned = [table for table, _, _ in _OWNED]
    return ids_to_go(cursor, *LEDGER_TABLES, "transactions_transaction", *owned, *DEPOSIT_TABLES)


def check_books_of(cursor: CursorWrapper, report: Report, on_progress: OnProgress) -> None:
    """Check the ledger, every payment and every deposit against it; add what is wrong to the report.

    - A pending payment has its hold, held, for amount and fee, on the account that pays.
    - A successful one has its hold settled and one settlement that takes amount and fee off the account and amount
      and network fee off the wallet.
    - A failed one has its hold released, and a settlement only for the network fee that a revert burned.
    - No hold or settlement belongs to a payment that doesn't exist.
    - Deposits: see `check_deposits`. What staff found or missed: see `check_found`. What the desk made up for: see
      `check_losses`.

    :param cursor: of `read_snapshot`.
    """
    check_ledger(cursor, report, on_progress)
    _check_payments(cursor, report, on_progress)
    for table, kind, noun in _OWNED:
        _check_owners(cursor, report, on_progress, table, kind, noun)
    check_deposits(cursor, report, on_progress)
    check_found(cursor, report)
    check_losses(cursor, report)


def _check_payments(cursor: CursorWrapper, report: Report, on_progress: OnProgress) -> None:
    for first, last in id_ranges(cursor, "transactions_transaction", ROWS_AT_ONCE):
        rows = fetch(cursor, _PAYMENT_DIFFERENCES, {"first": first, "last": last})
        report.count("payments", rows[0]["checked"])
        for row in rows:
            if row["id"] is not None:
                report.add(_describe(row))
        on_progress(last - first + 1)


def _describe(row: dict[str, Any]) -> Difference:
    """Say which of a payment's rows isn't as its state demands."""
    subject = f"payment #{row['id']} ({row['failure_reason'] or row['stage']})"
    evidence = (
        f"hold={row['hold']} status={row['hold_status']} amount={row['held']} account={row['hold_account']}",
        f"settlement={row['settlement']} users_change={row['users_change']} wallets_change={row['wallets_change']}",
    )
    if row["hold_status"] != row["hold_status_expected"]:
        expected, found = row["hold_status_expected"], row["hold_status"] or "no hold"
        return Difference(f"the hold of a {row['status']} payment", subject, expected, found, evidence)
    held, wanted = (row["held"], row["hold_account"]), (row["total"], row["user_account_id"])
    if row["hold"] is not None and held != wanted:
        return Difference(
            "the hold covers amount and fee on the paying account",
            subject,
            f"{row['total']} wei on account #{row['user_account_id']}",
            f"{row['held']} wei on account #{row['hold_account']}",
            evidence,
        )
    return Difference(
        f"the settlement of a {row['status']} payment",
        subject,
        _changes(row, "_expected"),
        "no settlement" if row["settlement"] is None else _changes(row),
        evidence,
    )


def _changes(row: dict[str, Any], which: str = "") -> str:
    return f"user {row[f'users_change{which}']} wei, wallet {row[f'wallets_change{which}']} wei"


def _check_owners(
    cursor: CursorWrapper, report: Report, on_progress: OnProgress, table: str, kind: str, noun: str
) -> None:
    for first, last in id_ranges(cursor, table, ROWS_AT_ONCE):
        for row in fetch(cursor, _ORPHANS.format(table=table), {"kind": kind, "first": first, "last": last}):
            subject = f"{noun} #{row['id']}"
            report.add(
                Difference(f"a {noun} belongs to a payment", subject, f"payment #{row['source']}", "no such row")
            )
        on_progress(last - first + 1)
