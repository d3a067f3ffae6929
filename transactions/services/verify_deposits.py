"""Prove the books of deposits: each credit has its journal, each that a reorg has undone its reversal, and no other is.

What staff book by hand and what a wallet held when it was opened are journals of `wallet_funding` too; those of a
deposit are known by its transaction's hash.
"""

from typing import Any

from django.db.backends.utils import CursorWrapper

from accounts.services.verify import Difference, OnProgress, Report, fetch, id_ranges

TABLES = ("transactions_deposit", "accounts_journal")
ROWS_AT_ONCE = 20_000

# A row for each time that a deposit was credited. Entries are told as `account:wei`, the wallet's (below zero) first.
_CREDITS = """
SELECT deposit.id, deposit.status, round.number AS credit, deposit.credits,
       deposit.transaction_hash || CASE WHEN round.number > 1 THEN '.' || round.number ELSE '' END AS source,
       CASE WHEN wallet.credits_id IS NULL THEN 'wallet_funding' ELSE 'deposit' END AS kind,
       round.number < deposit.credits OR deposit.status <> 'credited' AS is_undone,
       wallet.account_id AS asset, coalesce(wallet.credits_id, funding.id) AS opposite, deposit.amount_in_wei AS wei
FROM transactions_deposit AS deposit
JOIN transactions_wallet AS wallet ON wallet.id = deposit.wallet_id
LEFT JOIN accounts_account AS funding ON funding.kind = 'external_funding'
CROSS JOIN LATERAL generate_series(1, deposit.credits) AS round(number)
"""

_DEPOSIT_DIFFERENCES = f"""
WITH credited AS (
    {_CREDITS} WHERE deposit.id BETWEEN %(first)s AND %(last)s
), judged AS (
    SELECT credited.*, journal.id AS journal, reversal.id AS reversal,
           (asset || ':' || -wei) || ' ' || (opposite || ':' || wei) AS entries_expected,
           (opposite || ':' || -wei) || ' ' || (asset || ':' || wei) AS reversed_expected,
           (SELECT string_agg(account_id || ':' || amount_in_wei, ' ' ORDER BY amount_in_wei, id)
            FROM accounts_entry WHERE journal_id = journal.id) AS entries,
           (SELECT string_agg(account_id || ':' || amount_in_wei, ' ' ORDER BY amount_in_wei, id)
            FROM accounts_entry WHERE journal_id = reversal.id) AS reversed
    FROM credited
    LEFT JOIN accounts_journal AS journal ON journal.kind = credited.kind AND journal.source = credited.source
    LEFT JOIN accounts_journal AS reversal
        ON reversal.kind = 'deposit_reversal' AND reversal.source = credited.source AND credited.is_undone
), size AS (
    SELECT count(*) AS checked FROM transactions_deposit WHERE id BETWEEN %(first)s AND %(last)s
)
SELECT size.checked, judged.* FROM size LEFT JOIN judged
    ON judged.entries IS DISTINCT FROM judged.entries_expected
       OR judged.is_undone AND judged.reversed IS DISTINCT FROM judged.reversed_expected
ORDER BY judged.id, judged.credit
"""

_ORPHANS = f"""
SELECT journal.id, journal.kind, journal.source FROM accounts_journal AS journal
WHERE journal.id BETWEEN %(first)s AND %(last)s
  AND (journal.kind IN ('deposit', 'deposit_reversal')
       OR journal.kind = 'wallet_funding' AND journal.source ~ '^0x[0-9a-f]{{64}}([.][0-9]+)?$')
  AND NOT EXISTS (
      SELECT FROM ({_CREDITS} WHERE deposit.transaction_hash = split_part(journal.source, '.', 1)) AS credited
      WHERE credited.source = journal.source
        AND (credited.kind = journal.kind OR journal.kind = 'deposit_reversal' AND credited.is_undone)
  )
ORDER BY journal.id
"""


def check_deposits(cursor: CursorWrapper, report: Report, on_progress: OnProgress) -> None:
    """Check deposits against the ledger; add what is wrong to the report.

    - Each credit of a deposit has one journal, which moves its amount from the wallet that got it to the account that
      it belongs to, or to external funding where it came to a hot wallet.
    - Each credit but that of a deposit which is credited now has its reversal, the same entries the other way round.
    - No such journal belongs to no credit of a deposit.

    :param cursor: of `read_snapshot`.
    """
    for first, last in id_ranges(cursor, "transactions_deposit", ROWS_AT_ONCE):
        rows = fetch(cursor, _DEPOSIT_DIFFERENCES, {"first": first, "last": last})
        report.count("deposits", rows[0]["checked"])
        for row in rows:
            if row["id"] is not None:
                report.add(_describe(row))
        on_progress(last - first + 1)
    for first, last in id_ranges(cursor, "accounts_journal", ROWS_AT_ONCE):
        for row in fetch(cursor, _ORPHANS, {"first": first, "last": last}):
            rule = "a journal of a deposit belongs to one of its credits"
            subject = f"journal #{row['id']} ({row['kind']})"
            report.add(Difference(rule, subject, f"a credit of deposit {row['source']}", "no such credit"))
        on_progress(last - first + 1)


def _describe(row: dict[str, Any]) -> Difference:
    """Say which of the two journals of a credit isn't as it must be."""
    subject = f"deposit #{row['id']} ({row['status']}), credit {row['credit']} of {row['credits']}"
    evidence = (
        f"{row['kind']}={row['journal']} source={row['source']} entries={row['entries']}",
        f"deposit_reversal={row['reversal']} entries={row['reversed']}",
    )
    if row["entries"] != row["entries_expected"]:
        rule, expected, found = "a credit has its journal", row["entries_expected"], row["entries"]
    else:
        rule, expected, found = "a credit that came undone has its reversal", row["reversed_expected"], row["reversed"]
    return Difference(rule, subject, expected, found or "no journal", evidence)
