"""The desk's rows, read straight from PostgreSQL: nothing here asks the desk's own code."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.rows import class_row

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Payment:
    """A row of transactions_transaction: a payment, or a sweep."""

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
    kind: str = "payment"


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
class Deposit:
    """A row of transactions_deposit."""

    id: int
    wallet_id: int
    transaction_hash: str
    amount_in_wei: int
    status: str
    block_number: int | None
    block_hash: str


@dataclass(frozen=True, slots=True)
class Account:
    """A row of accounts_account."""

    id: int
    kind: str
    current_balance_in_wei: int
    available_balance_in_wei: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of accounts_entry with its journal's kind, source and time (seconds of the epoch)."""

    id: int
    journal_id: int
    kind: str
    source: str
    account_id: int
    amount_in_wei: int
    balance_after_in_wei: int
    posted_at: float = 0.0


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
    """The desk's tables. What is no sweep has to be a payment."""

    payments: Sequence[Payment]
    sweeps: Sequence[Payment]
    attempts: Sequence[Attempt]
    wallets: Sequence[Wallet]
    deposits: Sequence[Deposit]
    accounts: Sequence[Account]
    entries: Sequence[Entry]
    holds: Sequence[Hold]


class _WholeNumber(Loader):
    """Every NUMERIC of the desk is a whole number of wei."""

    def load(self, data: Buffer) -> int:
        return int(bytes(data))


def read_rows(database_url: str) -> Rows:
    """Read all tables as they are at one instant."""
    with psycopg.connect(database_url) as connection:
        connection.adapters.register_loader("numeric", _WholeNumber)
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        transactions = _all(connection, Payment, "transactions_transaction")
        return Rows(
            payments=[each for each in transactions if each.kind != "sweep"],
            sweeps=[each for each in transactions if each.kind == "sweep"],
            attempts=_all(connection, Attempt, "transactions_attempt"),
            wallets=_all(connection, Wallet, "transactions_wallet"),
            deposits=_all(connection, Deposit, "transactions_deposit"),
            accounts=_all(connection, Account, "accounts_account"),
            entries=_fetch(
                connection,
                Entry,
                "SELECT entry.id, journal_id, kind, source, account_id, amount_in_wei, balance_after_in_wei, "
                "extract(epoch FROM created_at)::float8 AS posted_at "
                "FROM accounts_entry AS entry JOIN accounts_journal AS journal ON journal.id = journal_id "
                "ORDER BY entry.id",
            ),
            holds=_all(connection, Hold, "accounts_hold"),
        )


def all_are_mined(database_url: str, up_to_id: int) -> bool:
    """Say whether the desk knows the blocks of all payments up to this one; without PostgreSQL nobody can."""
    statement = (
        "SELECT NOT EXISTS (SELECT FROM transactions_transaction WHERE kind <> 'sweep' "
        "AND status = 'PENDING' AND stage IN ('ACCEPTED', 'SIGNED', 'BROADCAST') AND id <= %s)"
    )
    try:
        with psycopg.connect(database_url) as connection:
            return connection.execute(statement, [up_to_id]).fetchone() == (True,)
    except psycopg.OperationalError:
        return False


def _all(connection: psycopg.Connection[Any], row_class: type[T], table: str) -> list[T]:
    """Return a table's rows; columns that the class doesn't name are left out.

    :param table: a name from our own code.
    """
    columns = ", ".join(field.name for field in fields(row_class))  # type: ignore[arg-type]
    return _fetch(connection, row_class, f"SELECT {columns} FROM {table} ORDER BY id")


def _fetch(connection: psycopg.Connection[Any], row_class: type[T], statement: str) -> list[T]:
    with connection.cursor(row_factory=class_row(row_class)) as cursor:
        return cursor.execute(statement.encode()).fetchall()
