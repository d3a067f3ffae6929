"""Follow: one question a block tells how far every wallet's payments have come."""

import datetime as dt
from collections.abc import Mapping

from django.conf import settings
from django.db.models import Exists, OuterRef
from django.utils import timezone

from accounts.locks import advisory_lock
from transactions.chain.client import Chain, get_chain
from transactions.chain.types import Receipt
from transactions.detail import announce_head
from transactions.models import Attempt, Transaction, Wallet
from transactions.services.blocks import forget_old, record_head, record_numbers
from transactions.services.moves import move_transactions
from transactions.services.send import resend
from transactions.services.settle import final_block_number, settle_final
from transactions.states import Stage, WaitReason
from txnsite.faults import fault_point

ATTEMPTS_MAX = 10_000
ONE_BY_ONE_MAX = 10
"""Up to this many receipts are asked for by hash; above, whole blocks' receipts may be fewer calls."""

PAYMENTS_PER_BLOCK_MIN = 10
"""Whole blocks are fetched only if they hold at least this many of our payments each, on average."""


def follow_chain(chain: Chain | None = None) -> int:
    """Take in the newest block: find mined payments, settle final ones; return how many were settled.

    Only one process follows at a time; another one returns at once.

    :raises ChainError: when the node doesn't answer; nothing is concluded from that.
    """
    with advisory_lock("follow") as held:
        if not held:
            return 0
        chain = chain or get_chain()
        in_flight = Transaction.objects.filter(wallet=OuterRef("pk"), stage__in=[Stage.SIGNED, Stage.BROADCAST])
        wallets = {wallet.address: wallet for wallet in Wallet.objects.filter(Exists(in_flight)).order_by("id")}
        view = chain.view(list(wallets), with_finalized=settings.CHAIN_FINALITY == "finalized")
        taken_back = record_head(chain, view.head)
        announce_head(view.head.number)
        if taken_back:
            resend(taken_back, chain)
        for address, wallet in wallets.items():
            find_mined(wallet, view.nonces[address], chain)
        fault_point("follow.before_settle")
        settled = settle_final(final_block_number(view), timezone.now())
        if view.head.number % 100 == 0:
            forget_old(view.head.number)
        return settled


def find_mined(wallet: Wallet, nonce_count: int, chain: Chain) -> int:
    """Record the receipts of payments whose nonce a block has used; return how many were found.

    A receipt that isn't there says nothing: the node may lag. The payment is looked at again with the next block.

    :param nonce_count: the wallet's transaction count at the head; smaller nonces are mined.
    """
    attempts = dict(
        Attempt.objects.filter(
            wallet=wallet, nonce__lt=nonce_count, transaction__stage__in=[Stage.SIGNED, Stage.BROADCAST]
        )
        .order_by("nonce", "id")
        .values_list("hash", "transaction_id")[:ATTEMPTS_MAX]
    )
    if not attempts:
        return 0
    receipts = _fetch_receipts(list(attempts), chain)
    found = {attempts[tx_hash]: receipt for tx_hash, receipt in receipts.items() if tx_hash in attempts}
    return record_mined(found, chain)


def record_mined(receipts: Mapping[int, Receipt], chain: Chain, now: dt.datetime | None = None) -> int:
    """Move payments to MINED with what their receipts say; return how many moved.

    :param receipts: by transaction id.
    """
    if not receipts:
        return 0
    record_numbers(chain, {receipt.block_number for receipt in receipts.values()})
    ids = sorted(receipts)
    ordered = [receipts[row_id] for row_id in ids]
    moved = move_transactions(
        ids,
        old=[Stage.SIGNED, Stage.BROADCAST],
        new=Stage.MINED,
        columns={
            "transaction_hash": [receipt.transaction_hash for receipt in ordered],
            "block_number": [receipt.block_number for receipt in ordered],
            "block_hash": [receipt.block_hash for receipt in ordered],
            "succeeded_on_chain": [receipt.succeeded for receipt in ordered],
            "transaction_fee_blockchain_in_wei": [receipt.network_fee_in_wei for receipt in ordered],
        },
        constants={"mined_at": now or timezone.now(), "wait_reason": WaitReason.NOTHING.value},
    )
    fault_point("follow.mined")
    return len(moved)


def _fetch_receipts(hashes: list[str], chain: Chain) -> dict[str, Receipt]:
    """Fetch receipts by hash or by whole blocks, whichever takes fewer calls.

    Hashes come in nonce order and nonces are mined in order, so the first and the last one tell which blocks hold
    all those between.
    """
    if len(hashes) <= ONE_BY_ONE_MAX:
        return chain.receipts(hashes)
    receipts = chain.receipts([hashes[0], hashes[-1]])
    if len(receipts) == 2:
        first, last = receipts[hashes[0]].block_number, receipts[hashes[-1]].block_number
        if 0 <= last - first < len(hashes) // PAYMENTS_PER_BLOCK_MIN:
            for of_block in chain.block_receipts(range(first, last + 1)).values():
                receipts.update((receipt.transaction_hash, receipt) for receipt in of_block)
    missing = [tx_hash for tx_hash in hashes if tx_hash not in receipts]
    return receipts | chain.receipts(missing) if missing else receipts
