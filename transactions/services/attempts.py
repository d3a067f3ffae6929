"""Attempts as rows: save what was signed before it is sent, and note what came of sending it."""

import datetime as dt
from collections.abc import Iterable, Sequence

from django.db import connection

from accounts.keys import SignedTransfer, UnsignedTransfer
from transactions.models import Attempt, Block, Transaction, Wallet
from transactions.states import Purpose

_COLUMNS = {
    "wallet_id": "bigint",
    "nonce": "bigint",
    "transaction_id": "bigint",
    "purpose": "text",
    "value_in_wei": "numeric",
    "hash": "text",
    "raw_transaction": "bytea",
    "gas_limit": "bigint",
    "max_fee_per_gas_in_wei": "numeric",
    "max_priority_fee_per_gas_in_wei": "numeric",
    "signed_at": "timestamptz",
}
_AS_TEXT = {"numeric"}

_INSERT = """
INSERT INTO transactions_attempt ({names}, signed_block, sent_block, sends, last_error)
SELECT {names}, %s, 0, 0, '' FROM unnest({arrays}) WITH ORDINALITY AS data({names}, position) ORDER BY position
RETURNING id, hash
""".format(names=", ".join(_COLUMNS), arrays=", ".join(f"%s::{kind}[]" for kind in _COLUMNS.values()))


def signed_attempt(
    row: Transaction, wallet: Wallet, transfer: UnsignedTransfer, signed: SignedTransfer, purpose: Purpose
) -> Attempt:
    """Return the attempt that a signed transfer is, not saved yet."""
    return Attempt(
        wallet=wallet,
        nonce=transfer.nonce,
        transaction=row,
        purpose=purpose,
        hash=signed.hash,
        raw_transaction=signed.raw,
        gas_limit=transfer.gas_limit,
        max_fee_per_gas_in_wei=transfer.max_fee_per_gas_in_wei,
        max_priority_fee_per_gas_in_wei=transfer.max_priority_fee_per_gas_in_wei,
    )


def insert_attempts(attempts: Sequence[Attempt]) -> None:
    """Insert rows and give them their ids; arrays take a fifth of the time of as many parameters."""
    arrays = [_array(attempts, name, kind) for name, kind in _COLUMNS.items()]
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, [Block.newest_number() or 0, *arrays])
        ids = {tx_hash: attempt_id for attempt_id, tx_hash in cursor.fetchall()}
    for attempt in attempts:
        attempt.pk = ids[attempt.hash]


def note_sends(answers: Iterable[tuple[int, str]], now: dt.datetime) -> None:
    """Count a send of each attempt.

    :param answers: pairs of an attempt's id and the node's words when it did not simply accept.
    """
    ids, errors = zip(*answers, strict=True)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE transactions_attempt AS attempt SET sends = sends + 1, sent_at = coalesce(sent_at, %s), "
            "sent_block = %s, last_error = answer.error FROM unnest(%s::bigint[], %s::text[]) AS answer(id, error) "
            "WHERE attempt.id = answer.id",
            [now, Block.newest_number() or 0, list(ids), [error[:500] for error in errors]],
        )


def newest_attempts(transaction_ids: Sequence[int]) -> list[Attempt]:
    """Return the newest attempt with bytes of each transaction, in the order of wallets and nonces."""
    newest: dict[int, Attempt] = {}
    for attempt in Attempt.objects.filter(transaction_id__in=transaction_ids).order_by("wallet_id", "nonce", "id"):
        if attempt.raw_transaction:
            newest[attempt.transaction_id] = attempt
    return list(newest.values())


def _array(attempts: Sequence[Attempt], name: str, kind: str) -> list[object]:
    values = [getattr(attempt, name) for attempt in attempts]
    if kind == "bytea":
        return [bytes(value) for value in values]
    return [None if value is None else str(value) for value in values] if kind in _AS_TEXT else values
