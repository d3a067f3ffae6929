"""Compare: what the ledger says that each wallet has, allowing for what is in flight, with what the chain says.

In flight is what the ledger and the chain at one block count at different times, both rightly: what a block up to that
one has moved and no settlement has booked yet, and what was booked already and only a later block has moved.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.backends.utils import CursorWrapper

from accounts.ledger_checks import LAST_ENTRIES
from accounts.services.verify import Difference, Report, describe_row, explain, fetch
from transactions.services.holdings import Holdings

# What to add to a wallet's balance in the ledger for that on the chain at block `number`, row by row.
_IN_FLIGHT = """
WITH moved AS (
    SELECT row.id, row.kind, row.stage, row.block_number, row.wallet_id,
           CASE row.stage WHEN 'MINED' THEN -1 ELSE 1 END AS sign,
           row.transaction_fee_blockchain_in_wei AS fee,
           CASE WHEN NOT row.succeeded_on_chain THEN 0
                WHEN attempt.purpose = 'stranger' THEN attempt.value_in_wei
                WHEN attempt.purpose = 'payment' AND row.kind IN ('payment', 'sweep')
                    THEN row.transaction_amount_in_wei
                ELSE 0 END AS value
    FROM transactions_transaction AS row
    JOIN transactions_attempt AS attempt ON attempt.hash = row.transaction_hash
    WHERE row.stage = 'SETTLED' AND row.block_number > %(number)s
       OR row.stage = 'MINED' AND row.block_number <= %(number)s
          AND EXISTS (SELECT FROM transactions_block AS block
                      WHERE block.number = row.block_number AND block.hash = row.block_hash)
), in_flight AS (
    SELECT wallet_id, sign * (fee + value) AS wei, kind, id, stage, block_number FROM moved
    UNION ALL
    SELECT wallet_id, CASE status WHEN 'waiting' THEN amount_in_wei ELSE -amount_in_wei END, 'deposit', id, status,
           block_number
    FROM transactions_deposit
    WHERE status = 'waiting' AND block_number <= %(number)s OR status = 'credited' AND block_number > %(number)s
)
"""
_ROWS = f"""
{_IN_FLIGHT} SELECT kind, id, stage, block_number AS block, wei FROM in_flight
WHERE wallet_id = %(id)s ORDER BY block_number DESC, id DESC LIMIT 20
"""

# Both in one statement: it sees one instant, also where the database transaction around it doesn't.
_BOOKED = f"""
{_IN_FLIGHT}
SELECT wallet.id, wallet.address, wallet.account_id, wallet.next_nonce, -account.current_balance_in_wei AS in_ledger,
       coalesce(moving.wei, 0) AS in_flight
FROM transactions_wallet AS wallet
JOIN accounts_account AS account ON account.id = wallet.account_id
LEFT JOIN (SELECT wallet_id, sum(wei) AS wei FROM in_flight GROUP BY wallet_id) AS moving
    ON moving.wallet_id = wallet.id
WHERE %(id)s::bigint IS NULL OR wallet.id = %(id)s
ORDER BY wallet.id
"""

# What staff have given up: it is in no block, and the chain has used its nonce all the same.
_IS_GIVEN_UP = "row.stage = 'SETTLED' AND row.block_number IS NULL"

# Nonces are given out without gaps from the first one on: as many rows as from there to the last. Of those that staff
# have passed over, which have no row or one that was given up, the chain's count alone says whether they are used.
_NONCES = f"""
SELECT wallet_id, min(nonce) AS first, max(nonce) FILTER (WHERE is_mined) AS last,
       count(*) FILTER (WHERE is_mined) AS used
FROM (SELECT wallet_id, nonce, stage IN ('MINED', 'SETTLED') AND block_number <= %(number)s AS is_mined
      FROM transactions_transaction WHERE nonce IS NOT NULL
      UNION ALL
      SELECT passed.wallet_id, passed.nonce, passed.nonce < counted.nonces
      FROM unnest(%(addresses)s::text[], %(counts)s::bigint[]) AS counted(address, nonces)
      JOIN transactions_wallet AS wallet ON wallet.address = counted.address
      JOIN transactions_passednonce AS passed ON passed.wallet_id = wallet.id
      WHERE NOT EXISTS (SELECT FROM transactions_transaction AS row
                        WHERE row.wallet_id = passed.wallet_id AND row.nonce = passed.nonce
                          AND NOT ({_IS_GIVEN_UP}))) AS numbered
GROUP BY wallet_id
"""
_NONCE_ROWS = f"""
SELECT number AS nonce, row.id AS transaction, row.stage, row.block_number AS block
FROM generate_series(%(from)s::bigint, %(to)s::bigint) AS number
LEFT JOIN transactions_transaction AS row ON row.wallet_id = %(id)s AND row.nonce = number
LEFT JOIN transactions_passednonce AS passed ON passed.wallet_id = %(id)s AND passed.nonce = number
WHERE NOT (passed.id IS NOT NULL AND (row.id IS NULL OR {_IS_GIVEN_UP}))
  AND coalesce(row.stage IN ('MINED', 'SETTLED') AND row.block_number <= %(number)s, FALSE) <> (number < %(count)s)
ORDER BY number LIMIT 20
"""

_OWED = "SELECT coalesce(sum(current_balance_in_wei), 0) AS wei FROM accounts_account WHERE kind = 'user'"


@dataclass(frozen=True, slots=True)
class Booked:
    """A wallet as the ledger has it. `in_flight` is what the chain rightly has more at the block, in wei."""

    id: int
    address: str
    account_id: int
    next_nonce: int
    in_ledger: int
    in_flight: int

    @property
    def expected(self) -> int:
        """Return what the chain must say that the wallet has at the block, in wei."""
        return self.in_ledger + self.in_flight


def compare_wallets(cursor: CursorWrapper, report: Report, holdings: Holdings) -> dict[str, int]:
    """Compare each wallet with the chain, add what differs to the report, and return what is in flight.

    - What a wallet has on the chain is what the ledger says, and what is in flight.
    - The chain has used exactly those of its nonces that the desk's rows have in blocks up to that one.

    :param cursor: of `read_snapshot`.
    :return: wei by address, what the chain has more than the ledger says; wallets of which nothing is are left out.
    """
    wallets = [wallet for wallet in read_booked(cursor, holdings.block_number) if wallet.address in holdings.balances]
    for wallet in wallets:
        _compare_balance(cursor, report, holdings, wallet)
    _compare_nonces(cursor, report, holdings, wallets)
    report.count("wallets", len(wallets))
    return {wallet.address: wallet.in_flight for wallet in wallets if wallet.in_flight}


def is_recorded(cursor: CursorWrapper, holdings: Holdings) -> bool:
    """Say whether the holdings are of a block that still is the chain's."""
    sql = "SELECT FROM transactions_block WHERE number = %(number)s AND hash = %(hash)s"
    return bool(fetch(cursor, sql, {"number": holdings.block_number, "hash": holdings.block_hash}))


def measure_owed(cursor: CursorWrapper) -> int:
    """Return what the desk owes to all users' accounts together, in wei."""
    return int(fetch(cursor, _OWED)[0]["wei"])


def read_booked(cursor: CursorWrapper, number: int, wallet_id: int | None = None) -> list[Booked]:
    """Return what the books say of each wallet, or of one, at a block: all of it as it was at one instant."""
    return [
        Booked(
            id=row["id"],
            address=row["address"],
            account_id=row["account_id"],
            next_nonce=row["next_nonce"],
            in_ledger=int(row["in_ledger"]),
            in_flight=int(row["in_flight"]),
        )
        for row in fetch(cursor, _BOOKED, {"number": number, "id": wallet_id})
    ]


def _compare_balance(cursor: CursorWrapper, report: Report, holdings: Holdings, wallet: Booked) -> None:
    expected, found = wallet.expected, holdings.balances[wallet.address]
    if expected == found:
        return
    evidence = [f"ledger={wallet.in_ledger} in_flight={wallet.in_flight} difference={found - expected}"]
    if report.has_room:
        parameters = {"number": holdings.block_number, "id": wallet.id}
        evidence += [describe_row(row) for row in fetch(cursor, _ROWS, parameters)]
        evidence += explain(cursor, report, LAST_ENTRIES, wallet.account_id)
    report.add(
        Difference(
            f"its balance at block {holdings.block_number} is the ledger's and what is in flight",
            f"wallet {wallet.address}",
            f"{expected} wei",
            f"{found} wei",
            tuple(evidence),
        )
    )


def _compare_nonces(cursor: CursorWrapper, report: Report, holdings: Holdings, wallets: Sequence[Booked]) -> None:
    parameters = {
        "number": holdings.block_number,
        "addresses": list(holdings.nonces),
        "counts": list(holdings.nonces.values()),
    }
    rows_of = {row["wallet_id"]: row for row in fetch(cursor, _NONCES, parameters)}
    for wallet in wallets:
        count = holdings.nonces.get(wallet.address)
        rows = rows_of.get(wallet.id, {"first": wallet.next_nonce, "last": None, "used": 0})
        first, end = rows["first"], rows["first"] if rows["last"] is None else rows["last"] + 1
        if count is None or (count == end and rows["used"] == end - first):
            continue
        report.add(
            Difference(
                f"its nonces used at block {holdings.block_number} are those of transactions in blocks up to it",
                f"wallet {wallet.address}",
                f"{rows['used']} from nonce {first} on",
                f"{count - first}",
                _explain_nonces(cursor, report, holdings, wallet, first, max(count, end), count),
            )
        )


def _explain_nonces(
    cursor: CursorWrapper, report: Report, holdings: Holdings, wallet: Booked, first: int, end: int, count: int
) -> tuple[str, ...]:
    """Return the nonces on which rows and chain disagree, with the rows that have them, if any."""
    parameters: dict[str, Any] = {"from": first, "to": end - 1, "count": count}
    parameters |= {"id": wallet.id, "number": holdings.block_number}
    rows = fetch(cursor, _NONCE_ROWS, parameters) if report.has_room else []
    return tuple(describe_row(row) for row in rows)
