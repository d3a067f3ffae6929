"""Settle: when a transaction's block is final, the ledger says so, once and for all."""

import datetime as dt
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db import connection
from django.db import transaction as db_transaction

from accounts.exceptions import AccountsError
from accounts.ledger import JournalDraft, post, system_account
from accounts.models import AccountKind, JournalKind
from transactions.chain.types import ChainView
from transactions.models import Block, Transaction
from transactions.services.moves import move_transactions
from transactions.states import FailureReason, Stage, Status, WaitReason
from txnsite.faults import fault_point

logger = logging.getLogger(__name__)

CHUNK = 1_000


@dataclass(frozen=True, slots=True)
class _Final:
    """A mined transaction whose block is deep enough."""

    id: int
    account_id: int
    wallet_account_id: int
    amount_in_wei: int
    fee_total_in_wei: int
    fee_blockchain_in_wei: int
    succeeded: bool


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
        if only_ids is not None and len(only_ids) == 1:
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
    accounts = system_account(AccountKind.FEE_INCOME).pk, system_account(AccountKind.NETWORK_FEES).pk
    settled = 0
    while True:
        with db_transaction.atomic():
            rows = _lock_final(final_number, only_ids)
            if rows:
                _settle_rows(rows, *accounts, now)
            fault_point("settle.before_commit")
        settled += len(rows)
        if rows:
            fault_point("settle.posted")
        if len(rows) < CHUNK:
            return settled


def _lock_final(final_number: int, only_ids: Sequence[int] | None) -> list[_Final]:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT row.id, row.user_account_id, wallet.account_id, row.transaction_amount_in_wei,
                   row.transaction_fee_total_in_wei, row.transaction_fee_blockchain_in_wei, row.succeeded_on_chain
            FROM transactions_transaction AS row
            JOIN transactions_wallet AS wallet ON wallet.id = row.wallet_id
            JOIN transactions_block AS block ON block.number = row.block_number AND block.hash = row.block_hash
            WHERE row.stage = 'MINED' AND row.block_number <= %(final)s
              AND (%(only)s::bigint[] IS NULL OR row.id = ANY(%(only)s::bigint[]))
            ORDER BY row.id LIMIT %(chunk)s FOR NO KEY UPDATE OF row SKIP LOCKED
            """,
            {"final": final_number, "only": None if only_ids is None else list(only_ids), "chunk": CHUNK},
        )
        return [
            _Final(row[0], row[1], row[2], int(row[3]), int(row[4]), int(row[5]), row[6]) for row in cursor.fetchall()
        ]


def _settle_rows(rows: list[_Final], fee_income_id: int, network_fees_id: int, now: dt.datetime) -> None:
    succeeded = [row for row in rows if row.succeeded]
    reverted = [row for row in rows if not row.succeeded]
    post(
        now=now,
        journals=[_journal_of_success(row, fee_income_id) for row in succeeded]
        + [_journal_of_revert(row, network_fees_id) for row in reverted if row.fee_blockchain_in_wei],
        settle_holds=[str(row.id) for row in succeeded],
        release_holds=[str(row.id) for row in reverted],
    )
    moved = move_transactions(
        [row.id for row in rows],
        old=[Stage.MINED],
        new=Stage.SETTLED,
        columns={
            "status": [(Status.SUCCESSFUL if row.succeeded else Status.FAILED).value for row in rows],
            "failure_reason": ["" if row.succeeded else FailureReason.REVERTED.value for row in rows],
        },
        constants={
            "settled_at": now,
            "next_check_at": None,
            "needs_attention": False,
            "wait_reason": WaitReason.NOTHING.value,
        },
    )
    assert len(moved) == len(rows), "locked rows can't have moved"


def _journal_of_success(row: _Final, fee_income_id: int) -> JournalDraft:
    """Amount and total fee leave the user; amount and network fee left the wallet; the rest is fee income."""
    income = row.fee_total_in_wei - row.fee_blockchain_in_wei
    entries = [
        (row.account_id, -(row.amount_in_wei + row.fee_total_in_wei)),
        (row.wallet_account_id, row.amount_in_wei + row.fee_blockchain_in_wei),
    ]
    if income:
        entries.append((fee_income_id, income))
    return JournalDraft(JournalKind.SETTLEMENT, str(row.id), entries, "Payment successful")


def _journal_of_revert(row: _Final, network_fees_id: int) -> JournalDraft:
    """The network keeps its fee of a reverted transaction: our expense, not the user's."""
    entries = [(row.wallet_account_id, row.fee_blockchain_in_wei), (network_fees_id, -row.fee_blockchain_in_wei)]
    return JournalDraft(JournalKind.SETTLEMENT, str(row.id), entries, "Payment reverted: network fee")
