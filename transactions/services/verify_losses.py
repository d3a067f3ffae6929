"""Prove the books of losses: what the desk made up for is taken back of whatever gives its money after all."""

from django.db.backends.utils import CursorWrapper

from accounts.services.verify import Difference, Report, fetch

# Losses are rare, and found by the unique index on (kind, source): one query is enough. Entries are told as
# `account:wei`, those of a recovery with their signs turned, so that they are those of its loss.
_LOSS_DIFFERENCES = """
WITH moved AS (
    SELECT journal.id, journal.kind, journal.source,
           coalesce(string_agg(entry.account_id || ':' || sign.of * entry.amount_in_wei, ' '
                               ORDER BY sign.of * entry.amount_in_wei), '') AS entries
    FROM accounts_journal AS journal
    CROSS JOIN LATERAL (SELECT CASE journal.kind WHEN 'loss' THEN 1 ELSE -1 END AS of) AS sign
    LEFT JOIN accounts_entry AS entry ON entry.journal_id = journal.id
    WHERE journal.kind IN ('loss', 'recovery')
    GROUP BY journal.id
), paired AS (
    SELECT source, loss.id AS loss, recovery.id AS recovery, loss.entries AS lost, recovery.entries AS recovered
    FROM (SELECT * FROM moved WHERE kind = 'loss') AS loss
    FULL JOIN (SELECT * FROM moved WHERE kind = 'recovery') AS recovery USING (source)
)
SELECT paired.*, payment.id AS payment, deposit.id AS deposit
FROM paired
LEFT JOIN transactions_transaction AS payment
    ON payment.id = CASE WHEN source ~ '^[0-9]{1,18}[.][0-9]{1,4}$' THEN split_part(source, '.', 1)::bigint END
   AND payment.reversals >= CASE WHEN source ~ '[.][0-9]{1,4}$' THEN split_part(source, '.', 2)::int END
LEFT JOIN transactions_deposit AS deposit
    ON deposit.transaction_hash = split_part(source, '.', 1)
   AND deposit.credits >= CASE WHEN source ~ '[.][0-9]{1,4}$' THEN split_part(source, '.', 2)::int ELSE 1 END
WHERE payment.id IS NULL AND deposit.id IS NULL
   OR recovered IS NOT NULL AND recovered IS DISTINCT FROM lost
   OR recovered IS NULL AND (payment.status = 'FAILED' OR deposit.status = 'credited')
ORDER BY coalesce(loss, recovery)
"""


def check_losses(cursor: CursorWrapper, report: Report) -> None:
    """Check what the desk made up for; add what is wrong to the report.

    - A loss belongs to a round of a payment or to a credit of a deposit.
    - A payment that has failed has given all of it back, and so has a deposit that is credited.
    - What was taken back is what was made up for, to the wei and on the same accounts.

    :param cursor: of `read_snapshot`.
    """
    for row in fetch(cursor, _LOSS_DIFFERENCES):
        evidence = (f"loss={row['loss']} entries={row['lost']}", f"recovery={row['recovery']}")
        owner = f"payment #{row['payment']}" if row["payment"] else f"deposit #{row['deposit']}"
        if row["payment"] is None and row["deposit"] is None:
            rule, owner = "a loss belongs to a payment or a deposit", f"journal #{row['loss'] or row['recovery']}"
            expected, found = f"payment or deposit {row['source']}", "no such row"
        elif row["recovered"] is None:
            rule = "what was made up for is taken back of what gives its money after all"
            expected, found = row["lost"], "no recovery"
        else:
            rule = "what is taken back was made up for"
            expected, found = row["lost"] or "no recovery", row["recovered"]
        report.add(Difference(rule, f"loss {row['source']} of {owner}", expected, found, evidence))
