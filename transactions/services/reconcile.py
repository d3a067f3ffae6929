"""Reconcile one transaction: take whatever its next step is. The watchdog's and the staff's tool."""

import datetime as dt

from django.conf import settings

from accounts.locks import advisory_lock
from transactions.chain.client import Chain, get_chain
from transactions.exceptions import TransactionNotFoundError
from transactions.models import Attempt, Transaction
from transactions.services.blocks import is_recorded, record_head, record_numbers
from transactions.services.broadcast import broadcast_payments
from transactions.services.follow import record_mined
from transactions.services.send import resend
from transactions.services.settle import final_block_number, settle_final
from transactions.states import Stage


def reconcile_transaction(transaction_id: int, now: dt.datetime, *, chain: Chain | None = None) -> Stage:
    """Bring one transaction as far as the chain allows now, and return the stage it has then.

    Safe to run at any time, twice, and beside the follower: each step is a conditional move.

    :raises TransactionNotFoundError: when there is none.
    :raises ChainError: when the node doesn't answer; nothing is concluded from that.
    """
    chain = chain or get_chain()
    row = _get(transaction_id)
    if row.stage == Stage.ACCEPTED:
        broadcast_payments(chain)
        row = _get(transaction_id)
    if row.stage in (Stage.SIGNED, Stage.BROADCAST):
        _look_for(row, chain, now)
        row = _get(transaction_id)
    if row.stage == Stage.MINED:
        _settle_or_take_back(row, chain, now)
        row = _get(transaction_id)
    return Stage(row.stage)


def _get(transaction_id: int) -> Transaction:
    row = Transaction.objects.select_related("wallet").filter(pk=transaction_id).first()
    if row is None:
        raise TransactionNotFoundError()
    return row


def _look_for(row: Transaction, chain: Chain, now: dt.datetime) -> None:
    """Record a receipt of any attempt; if there is none and the nonce is free, send the saved bytes again."""
    assert row.wallet is not None, "a CHECK guarantees it from SIGNED on"
    assert row.nonce is not None, "a CHECK guarantees it from SIGNED on"
    address = row.wallet.address
    # The count is read before the receipts: if it leaves the nonce free and a receipt turns up after all, good.
    count = chain.view([address], with_finalized=False).nonces[address].latest
    hashes = list(Attempt.objects.filter(transaction=row).order_by("id").values_list("hash", flat=True))
    receipts = chain.receipts(hashes)
    if receipts:
        record_mined({row.pk: next(iter(receipts.values()))}, chain, now)
    elif row.nonce >= count:
        resend([row.pk], chain)


def _settle_or_take_back(row: Transaction, chain: Chain, now: dt.datetime) -> None:
    """Settle if the block is final and still canonical; send the bytes again if it has left the chain."""
    assert row.block_number is not None, "a CHECK guarantees it in MINED"
    view = chain.view([], with_finalized=settings.CHAIN_FINALITY == "finalized")
    if not is_recorded(view.head):
        with advisory_lock("follow") as held:
            # If it isn't free, the follower takes the head in at this very moment.
            if held:
                resend(record_head(chain, view.head), chain)
    record_numbers(chain, [row.block_number])
    settle_final(final_block_number(view), now, only_ids=[row.pk])
