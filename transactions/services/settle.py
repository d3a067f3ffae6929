"""Settle: when a transaction's block is final, the ledger says so, once and for all."""

import datetime as dt
import logging
from collections.abc import Mapping, Sequence

from django.conf import settings
from django.db import connection
from django.db import transaction as db_transaction

from accounts.exceptions import AccountsError
from accounts.ledger import post, system_account
from accounts.models import AccountKind
from transactions.chain.types import ChainView
from transactions.models import Block, Transaction
from transactions.services.journals import OPPOSITE, Settled, settlement_of
from transactions.services.moves import move_transactions
from transactions.services.reverse import recoveries_of
from transactions.states import Kind, Stage, Status, WaitReason
from txnsite.faults import fault_point

logger = logging.getLogger(__name__)

CHUNK = 1_000


def final_block_number(view: ChainView) -> int:
    """Return the newest block that counts as final.

    By depth, the block that holds a transaction is its first confirmation; only blocks that the follower has walked
    count, since only of those it is certain that they connect. A node that knows no `finalized` block falls back to
    depth.
    """
    walked = min(view.head.number, Block.newest_number() or 0)
    if settings.CHAIN_FINALITY == "finalized" and view.finalized_number is not None:
        return min(view.finalized_number, walked)
    return walked - settings.CONFIRMATIONS + 1


def settle_final(final_number: int, now: dt.datetime, *, only_ids: Sequence[int] | None = None) -> int:
    """Settle every mined transaction whose block is final and still canonical; return how many.

    Success and revert wait for the same depth. Chunks of 1,000, each its own database transaction.

    :param only_ids: settle these and no others.
    """
    try:
        return _settle_in_chunks(final_number, now, only_ids)
    except AccountsError as error:
        if only_ids is not None:
            raise
        logger.error("Settling in chunks failed (%s); settling one by one.", error.code)  # noqa: TRY400
        return _settle_one_by_one(final_number, now)


def _settle_one_by_one(final_number: int, now: dt.datetime) -> int:
    """Settle what can be settled, so that one payment whose books are broken does not hold up all others."""
    rows = Transaction.objects.filter(stage=Stage.MINED, block_number__lte=final_number).order_by("pk")
    settled = 0
    for row_id in rows.values_list("pk", flat=True)[:CHUNK]:
        try:
            settled += _settle_in_chunks(final_number, now, [row_id])
        except AccountsError:
            logger.exception("Payment #%s can't be settled: its books need a look.", row_id)
            Transaction.objects.filter(pk=row_id).update(needs_attention=True)
    return settled


def _settle_in_chunks(final_number: int, now: dt.datetime, only_ids: Sequence[int] | None) -> int:
    own_accounts = {kind: system_account(kind).pk for kind in OPPOSITE}
    settled = 0
    while True:
        with db_transaction.atomic():
            rows = _lock_final(final_number, only_ids)
            if rows:
                _settle_rows(rows, own_accounts, now)
            fault_point("settle.before_commit")
        settled += len(rows)
        if rows:
            fault_point("settle.posted")
        if len(rows) < CHUNK:
            return settled


def _lock_final(final_number: int, only_ids: Sequence[int] | None) -> list[Settled]:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT row.id, row.kind, attempt.purpose, row.reversals, row.user_account_id,
                   wallet.account_id, row.transaction_amount_in_wei, row.transaction_fee_total_in_wei,
                   row.transaction_fee_blockchain_in_wei, coalesce(attempt.value_in_wei, 0), row.succeeded_on_chain
            FROM transactions_transaction AS row
            JOIN transactions_wallet AS wallet ON wallet.id = row.wallet_id
            JOIN transactions_block AS block ON block.number = row.block_number AND block.hash = row.block_hash
            JOIN transactions_attempt AS attempt ON attempt.hash = row.transaction_hash
            WHERE row.stage = 'MINED' AND row.block_number <= %(final)s
              AND (%(only)s::bigint[] IS NULL OR row.id = ANY(%(only)s::bigint[]))
            ORDER BY row.id LIMIT %(chunk)s FOR NO KEY UPDATE OF row SKIP LOCKED
            """,
            {"final": final_number, "only": None if only_ids is None else list(only_ids), "chunk": CHUNK},
        )
        return [
            Settled(
                id=row[0],
                kind=row[1],
                purpose=row[2],
                reversals=row[3],
                account_id=row[4],
                wallet_account_id=row[5],
                amount_in_wei=int(row[6]),
                fee_total_in_wei=int(row[7]),
                fee_blockchain_in_wei=int(row[8]),
                strangers_value_in_wei=int(row[9]),
                succeeded=row[10],
            )
            for row in cursor.fetchall()
        ]


def _settle_rows(rows: list[Settled], own_accounts: Mapping[AccountKind, int], now: dt.datetime) -> None:
    drafts = [settlement_of(row, own_accounts) for row in rows]
    payments = [row for row in rows if row.kind == Kind.PAYMENT]
    recovered = recoveries_of(
        [source for row in payments if row.reversals and not row.is_paid for source in row.rounds]
    )
    post(
        now=now,
        journals=[*(draft for draft in drafts if draft is not None), *recovered],
        settle_holds=[row.source for row in payments if row.is_paid],
        release_holds=[row.source for row in payments if not row.is_paid],
    )
    moved = move_transactions(
        [row.id for row in rows],
        old=[Stage.MINED],
        new=Stage.SETTLED,
        columns={
            "status": [(Status.FAILED if row.failure_reason else Status.SUCCESSFUL).value for row in rows],
            "failure_reason": [row.failure_reason for row in rows],
        },
        constants={
            "settled_at": now,
            "next_check_at": None,
            "needs_attention": False,
            "wait_reason": WaitReason.NOTHING.value,
        },
    )
    assert len(moved) == len(rows), "locked rows can't have moved"
