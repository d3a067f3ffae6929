"""The queries that prove the ledger. Each gives what differs, beside how much it went through."""

ACCOUNT_DIFFERENCES = """
WITH chained AS (
    SELECT account_id, amount_in_wei, balance_after_in_wei,
           lag(balance_after_in_wei, 1, 0::numeric) OVER walk AS balance_before_in_wei,
           lead(id) OVER walk IS NULL AS is_last
    FROM accounts_entry WHERE account_id BETWEEN %(first)s AND %(last)s
    WINDOW walk AS (PARTITION BY account_id ORDER BY id)
), posted AS (
    SELECT account_id, count(*) AS entries, sum(amount_in_wei) AS total,
           max(balance_after_in_wei) FILTER (WHERE is_last) AS last_balance,
           count(*) FILTER (WHERE balance_after_in_wei <> balance_before_in_wei + amount_in_wei) AS breaks
    FROM chained GROUP BY account_id
), reserved AS (
    SELECT account_id, sum(amount_in_wei) AS total
    FROM accounts_hold WHERE status = 'held' AND account_id BETWEEN %(first)s AND %(last)s GROUP BY account_id
), judged AS (
    SELECT account.id, account.name, account.current_balance_in_wei AS current,
           account.available_balance_in_wei AS available, coalesce(posted.total, 0) AS posted,
           coalesce(posted.last_balance, 0) AS last_balance, coalesce(posted.breaks, 0) AS breaks,
           coalesce(reserved.total, 0) AS held, coalesce(posted.entries, 0) AS entries
    FROM accounts_account AS account
    LEFT JOIN posted ON posted.account_id = account.id
    LEFT JOIN reserved ON reserved.account_id = account.id
    WHERE account.id BETWEEN %(first)s AND %(last)s
), size AS (
    SELECT count(*) AS accounts_checked, coalesce(sum(entries), 0) AS entries_checked FROM judged
)
SELECT size.*, judged.* FROM size LEFT JOIN judged
    ON judged.current <> judged.posted OR judged.current <> judged.last_balance OR judged.breaks > 0
       OR judged.available <> judged.current - judged.held
ORDER BY judged.id
"""

JOURNAL_DIFFERENCES = """
WITH judged AS (
    SELECT journal.id, journal.kind, journal.source, count(entry.id) AS entries,
           coalesce(sum(entry.amount_in_wei), 0) AS total
    FROM accounts_journal AS journal LEFT JOIN accounts_entry AS entry ON entry.journal_id = journal.id
    WHERE journal.id BETWEEN %(first)s AND %(last)s
    GROUP BY journal.id
), size AS (
    SELECT count(*) AS journals_checked FROM judged
)
SELECT size.*, judged.* FROM size LEFT JOIN judged ON judged.total <> 0 OR judged.entries = 0
ORDER BY judged.id
"""

ALL_BALANCES = "SELECT coalesce(sum(current_balance_in_wei), 0) AS total FROM accounts_account"

# What explains a difference: the rows a person would look at first.
LAST_ENTRIES = """
SELECT id AS entry, journal_id AS journal, amount_in_wei AS amount, balance_after_in_wei AS balance_after
FROM accounts_entry WHERE account_id = %(id)s ORDER BY id DESC LIMIT 3
"""

BROKEN_CHAIN = """
SELECT entry, journal, before, amount, balance_after FROM (
    SELECT id AS entry, journal_id AS journal, amount_in_wei AS amount, balance_after_in_wei AS balance_after,
           lag(balance_after_in_wei, 1, 0::numeric) OVER (ORDER BY id) AS before
    FROM accounts_entry WHERE account_id = %(id)s
) AS chained WHERE balance_after <> before + amount ORDER BY entry LIMIT 3
"""

OPEN_HOLDS = """
SELECT id AS hold, kind, source, amount_in_wei AS amount FROM accounts_hold
WHERE account_id = %(id)s AND status = 'held' ORDER BY id DESC LIMIT 5
"""

JOURNAL_ENTRIES = """
SELECT id AS entry, account_id AS account, amount_in_wei AS amount FROM accounts_entry
WHERE journal_id = %(id)s ORDER BY id LIMIT 10
"""
