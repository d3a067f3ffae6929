"""What is told about one transaction, read through the cache and never stale.

A reader that finds nothing leaves a lease in the cache before it reads the database, and its answer replaces the lease
only if the lease is still there; a writer puts a barrier over the entry before it commits and clears it afterwards, so
that an answer read before a change can't stay after it. Why that holds, whatever dies or fails when, is told in
`accounts.cache_barriers`. If the cache itself is unreachable, everything is read from the database.
"""

import datetime as dt
import secrets
import time
from collections.abc import Iterable, Mapping
from typing import Any, TypedDict, cast

from django.conf import settings

from accounts.cache import cache_commands
from accounts.cache_barriers import raise_barriers
from transactions.models import Block, Transaction
from transactions.states import Stage

HEAD_KEY = "chain:head"
HEAD_CACHE_SECONDS = 5
BARRIER_SECONDS = 90
LEASE_SECONDS = 10
_MISSING = {"missing": True}


class Detail(TypedDict):
    """One transaction as JSON: wei as decimal strings, times in ISO 8601."""

    id: int
    owner_id: int
    user_account_id: int
    status: str
    stage: str
    failure_reason: str
    failure_detail: str
    wait_reason: str
    to_public_address: str
    from_public_address: str
    transaction_hash: str | None
    transaction_amount_in_wei: str
    transaction_fee_total_in_wei: str
    transaction_fee_blockchain_in_wei: str | None
    nonce: int | None
    block_number: int | None
    block_hash: str
    confirmations: int
    confirmations_required: int
    accepted_at: str
    approved_at: str | None
    cancel_requested_at: str | None
    signed_at: str | None
    broadcast_at: str | None
    mined_at: str | None
    settled_at: str | None


def read_detail(transaction_id: int, cached: Mapping[str, Any] | None = None) -> Detail | None:
    """Return one transaction, or nothing if there is none.

    :param cached: what the cache holds under `detail_keys`, if that was read along with something else.
    """
    if cached is None:
        cached = cache_commands().read(detail_keys(transaction_id))
    entry = cached.get(_key(transaction_id))
    if entry is None:
        return _read_and_remember(transaction_id)
    if entry == _MISSING:
        return None
    if "id" not in entry:  # a lease or a barrier
        return _from_database(transaction_id)
    return _with_confirmations(cast(Detail, entry), cached.get(HEAD_KEY))


def detail_keys(transaction_id: int) -> list[str]:
    """Return the cache's keys that `read_detail` reads."""
    return [_key(transaction_id), HEAD_KEY]


def wait_for_hash(transaction_id: int, timeout_seconds: float) -> Detail | None:
    """Return the transaction once it has a hash or is final, or as it is when the time is over.

    For one that waits for approval nobody waits here: people take longer.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        detail = read_detail(transaction_id)
        if detail is None or detail["stage"] != Stage.ACCEPTED or time.monotonic() >= deadline:
            return detail
        time.sleep(0.05)


def announce_change(transaction_ids: Iterable[int], *, insist: bool = True) -> None:
    """Keep the cache true while these transactions change; call it in the database transaction that changes them.

    :param insist: try even while this process leaves the cache alone after a failure: others may be reading from it.
    """
    keys = [_key(transaction_id) for transaction_id in transaction_ids]
    raise_barriers(keys, BARRIER_SECONDS, insist=insist)


def announce_head(number: int) -> None:
    """Tell readers the newest block's number."""
    cache_commands().write_all({HEAD_KEY: {"number": number}}, HEAD_CACHE_SECONDS)


def describe(transaction: Transaction, owner_id: int, head_number: int | None = None) -> Detail:
    """Return a row as a detail."""
    fee_blockchain = transaction.transaction_fee_blockchain_in_wei
    detail = Detail(
        id=transaction.pk,
        owner_id=owner_id,
        user_account_id=transaction.user_account_id,
        status=str(transaction.status),
        stage=str(transaction.stage),
        failure_reason=str(transaction.failure_reason),
        failure_detail=transaction.failure_detail,
        wait_reason=str(transaction.wait_reason),
        to_public_address=transaction.to_public_address,
        from_public_address=transaction.from_public_address,
        transaction_hash=transaction.transaction_hash,
        transaction_amount_in_wei=str(transaction.transaction_amount_in_wei),
        transaction_fee_total_in_wei=str(transaction.transaction_fee_total_in_wei),
        transaction_fee_blockchain_in_wei=None if fee_blockchain is None else str(fee_blockchain),
        nonce=transaction.nonce,
        block_number=transaction.block_number,
        block_hash=transaction.block_hash,
        confirmations=0,
        confirmations_required=settings.CONFIRMATIONS,
        accepted_at=_iso(transaction.accepted_at) or "",
        approved_at=_iso(transaction.approved_at),
        cancel_requested_at=_iso(transaction.cancel_requested_at),
        signed_at=_iso(transaction.signed_at),
        broadcast_at=_iso(transaction.broadcast_at),
        mined_at=_iso(transaction.mined_at),
        settled_at=_iso(transaction.settled_at),
    )
    return _with_confirmations(detail, None if head_number is None else {"number": head_number})


def _iso(at: dt.datetime | None) -> str | None:
    return None if at is None else at.isoformat().replace("+00:00", "Z")


def _key(transaction_id: int) -> str:
    return f"transaction:{transaction_id}"


def _read_and_remember(transaction_id: int) -> Detail | None:
    commands = cache_commands()
    lease = {"lease": secrets.token_hex(8)}
    leased = commands.write_if_absent(_key(transaction_id), lease, LEASE_SECONDS)
    detail = _from_database(transaction_id)
    if leased:
        if detail is None:
            commands.replace(_key(transaction_id), lease, _MISSING, settings.TRANSACTION_MISSING_CACHE_SECONDS)
        else:
            commands.replace(_key(transaction_id), lease, detail, settings.TRANSACTION_CACHE_SECONDS)
    return detail


def _from_database(transaction_id: int) -> Detail | None:
    row = Transaction.objects.select_related("user_account").filter(pk=transaction_id).first()
    if row is None or row.user_account.owner_id is None:
        return None
    return describe(row, row.user_account.owner_id, Block.newest_number())


def _with_confirmations(detail: Detail, head: Any) -> Detail:
    """Count the confirmations up to the newest block that is known."""
    if detail["block_number"] is None:
        return detail
    if head is None:
        number = Block.newest_number()
        if number is not None:
            announce_head(number)
    else:
        number = head["number"]
    detail["confirmations"] = Block.count_confirmations(detail["block_number"], number)
    return detail
