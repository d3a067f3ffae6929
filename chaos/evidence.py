"""What is held against the desk at the end: its rows, the chain, and what clients were told.

Rows come straight from PostgreSQL, in one snapshot, and the chain straight from the node: nothing here asks the desk's
own code.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.rows import class_row

from chaos.cast import Cast
from chaos.onchain import ChainFacts
from chaos.told import Told

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Payment:
    """A row of transactions_transaction."""

    id: int
    user_account_id: int
    status: str
    stage: str
    failure_reason: str
    wait_reason: str
    to_public_address: str
    transaction_amount_in_wei: int
    transaction_fee_total_in_wei: int
    transaction_fee_blockchain_in_wei: int | None
    transaction_hash: str | None
    idempotency_key: str | None
    wallet_id: int | None
    nonce: int | None
    block_number: int | None
    block_hash: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """A row of transactions_attempt."""

    hash: str
    transaction_id: int | None
    wallet_id: int
    nonce: int


@dataclass(frozen=True, slots=True)
class Wallet:
    """A row of transactions_wallet."""

    id: int
    address: str
    account_id: int
    next_nonce: int


@dataclass(frozen=True, slots=True)
class Account:
    """A row of accounts_account."""

    id: int
    kind: str
    current_balance_in_wei: int
    available_balance_in_wei: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of accounts_entry with its journal's kind and source."""

    id: int
    journal_id: int
    kind: str
    source: str
    account_id: int
    amount_in_wei: int
    balance_after_in_wei: int


@dataclass(frozen=True, slots=True)
class Hold:
    """A row of accounts_hold."""

    kind: str
    source: str
    account_id: int
    amount_in_wei: int
    status: str


@dataclass
class Rows:
    """The desk's tables."""

    payments: Sequence[Payment]
    attempts: Sequence[Attempt]
    wallets: Sequence[Wallet]
    accounts: Sequence[Account]
    entries: Sequence[Entry]
    holds: Sequence[Hold]


@dataclass
class Evidence:
    """All there is to judge by.

    :param books: what the desk's own check of its books found.
    :param deep_reorgs: whether blocks were taken back that counted as final, so that a SUCCESSFUL may not have lasted.
    """

    cast: Cast
    rows: Rows
    chain: ChainFacts
    told: Told
    deep_reorgs: bool = False
    books: Sequence[str] = field(default=())

    def payments_by_id(self) -> Mapping[int, Payment]:
        return {payment.id: payment for payment in self.rows.payments}


class _WholeNumber(Loader):
    """Every NUMERIC of the desk is a whole number of wei."""

    def load(self, data: Buffer) -> int:
        return int(bytes(data))


def read_rows(database_url: str) -> Rows:
    """Read all tables as they are at one instant."""
    with psycopg.connect(database_url) as connection:
        connection.adapters.register_loader("numeric", _WholeNumber)
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        return Rows(
            payments=_all(connection, Payment, "transactions_transaction"),
            attempts=_all(connection, Attempt, "transactions_attempt"),
            wallets=_all(connection, Wallet, "transactions_wallet"),
            accounts=_all(connection, Account, "accounts_account"),
            entries=_fetch(
                connection,
                Entry,
                "SELECT entry.id, journal_id, kind, source, account_id, amount_in_wei, balance_after_in_wei "
                "FROM accounts_entry AS entry JOIN accounts_journal AS journal ON journal.id = journal_id "
                "ORDER BY entry.id",
            ),
            holds=_all(connection, Hold, "accounts_hold"),
        )


def count_unfinished(database_url: str) -> int:
    """Return how many payments are not final yet."""
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT count(*) FROM transactions_transaction WHERE status = 'PENDING'").fetchone()
        return int(row[0]) if row else 0


def _all(connection: psycopg.Connection[Any], row_class: type[T], table: str) -> list[T]:
    """Return a table's rows; columns that the class doesn't name are left out.

    :param table: a name from our own code.
    """
    columns = ", ".join(field.name for field in fields(row_class))  # type: ignore[arg-type]
    return _fetch(connection, row_class, f"SELECT {columns} FROM {table} ORDER BY id")


def _fetch(connection: psycopg.Connection[Any], row_class: type[T], statement: str) -> list[T]:
    with connection.cursor(row_factory=class_row(row_class)) as cursor:
        return cursor.execute(statement.encode()).fetchall()
