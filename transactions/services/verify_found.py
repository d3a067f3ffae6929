"""Prove what staff booked by hand: found belongs to whom its address is for, missing is borne by the desk."""

from django.db.backends.utils import CursorWrapper

from accounts.services.verify import Difference, Report, fetch

# Both are rare, and found by the unique index on (kind, source): one query for each rule is enough. At a deposit
# address the desk may have taken back, of what was found, what it had borne there.
_DIFFERENCES = """
WITH booked AS (
    SELECT journal.id, journal.kind,
           array_agg(entry.account_id) FILTER (WHERE entry.amount_in_wei < 0) AS below,
           array_agg(entry.account_id) FILTER (WHERE entry.amount_in_wei > 0) AS above,
           string_agg(entry.account_id || ':' || entry.amount_in_wei, ' ' ORDER BY entry.amount_in_wei) AS entries
    FROM accounts_journal AS journal LEFT JOIN accounts_entry AS entry ON entry.journal_id = journal.id
    WHERE journal.kind IN ('found', 'missing')
    GROUP BY journal.id
)
SELECT booked.id, booked.kind, booked.entries FROM booked
LEFT JOIN transactions_wallet AS wallet
    ON wallet.account_id = CASE booked.kind WHEN 'found' THEN booked.below[1] ELSE booked.above[1] END
LEFT JOIN accounts_account AS funding ON funding.kind = 'external_funding'
WHERE CASE booked.kind
    WHEN 'found' THEN booked.below = ARRAY[wallet.account_id]
                      AND booked.above <@ ARRAY[coalesce(wallet.credits_id, funding.id), funding.id]
    ELSE booked.above = ARRAY[wallet.account_id] AND booked.below = ARRAY[funding.id]
    END IS NOT TRUE
ORDER BY booked.id
"""

_TAKEN_BACK = """
WITH desks AS (
    SELECT journal.id, wallet.id AS wallet_id, wallet.address, -entry.amount_in_wei AS wei
    FROM accounts_journal AS journal
    JOIN accounts_entry AS entry ON entry.journal_id = journal.id
    JOIN accounts_account AS funding ON funding.id = entry.account_id AND funding.kind = 'external_funding'
    JOIN accounts_entry AS asset ON asset.journal_id = journal.id
    JOIN transactions_wallet AS wallet ON wallet.account_id = asset.account_id
    WHERE journal.kind IN ('found', 'missing') AND wallet.credits_id IS NOT NULL
), running AS (
    SELECT id, address, -wei AS taken, sum(wei) OVER (PARTITION BY wallet_id ORDER BY id) AS borne FROM desks
)
SELECT id, address, taken, borne FROM running WHERE borne < 0 ORDER BY id
"""


def check_found(cursor: CursorWrapper, report: Report) -> None:
    """Check what staff booked as found or missing; add what is wrong to the report.

    - What was found at an address was booked from it to whom it is for, at a deposit address maybe in part to the desk.
    - What is missing at one was booked to it from external funding.
    - Of what is found at a deposit address the desk takes no more than it has borne there.

    :param cursor: of `read_snapshot`.
    """
    for row in fetch(cursor, _DIFFERENCES):
        rule, expected = "what is missing is borne by the desk", "external funding below zero, a wallet's account above"
        if row["kind"] == "found":
            rule = "what was found belongs to whom its address is for"
            expected = "a wallet's account below zero, its owner's above"
        report.add(Difference(rule, f"journal #{row['id']} ({row['kind']})", expected, row["entries"] or "no entries"))
    for row in fetch(cursor, _TAKEN_BACK):
        report.add(
            Difference(
                "the desk takes back no more than it has borne",
                f"journal #{row['id']} (found) at {row['address']}",
                f"{row['taken'] + row['borne']} wei at most",
                f"{row['taken']} wei",
            )
        )
