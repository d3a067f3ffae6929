"""Follow: one question a block tells how far every wallet's payments have come."""

import datetime as dt
import logging
from collections.abc import Mapping, Sequence

from django.conf import settings
from django.db.models import Exists, OuterRef, Subquery
from django.utils import timezone

from accounts.locks import advisory_lock
from transactions.chain.client import Chain, get_chain
from transactions.chain.exceptions import ChainError
from transactions.chain.types import NonceCount, Receipt
from transactions.detail import announce_head
from transactions.models import Attempt, Block, Transaction, Wallet
from transactions.services.blocks import forget_old, is_recorded, record_head, record_numbers
from transactions.services.deposits import credit_final
from transactions.services.displaced import explain_used_nonces
from transactions.services.intake import forget_old_contents
from transactions.services.moves import move_transactions
from transactions.services.nonces import agrees, note_strangers
from transactions.services.replace import tell_outpriced
from transactions.services.send import resend, resend_dropped
from transactions.services.settle import final_block_number, settle_final
from transactions.services.wallets import deposit_wallets_under_way
from transactions.states import Stage, WaitReason, WalletRole
from txnsite.faults import fault_point

logger = logging.getLogger(__name__)

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
        wallets = _wallets_to_watch()
        view = chain.view([wallet.address for wallet in wallets], with_finalized=settings.CHAIN_FINALITY == "finalized")
        last_number = Block.newest_number()
        is_new = not is_recorded(view.head)
        taken_back = record_head(chain, view.head)
        announce_head(view.head.number)
        if taken_back:
            resend(taken_back, chain)
        new_blocks = range(0) if last_number is None else range(last_number + 1, view.head.number + 1)
        for wallet, newest_sent in wallets.items():
            count = view.nonces[wallet.address]
            if find_mined(wallet, count.latest, chain, new_blocks):
                Wallet.objects.filter(pk=wallet.pk).update(progress_block=view.head.number)
            if is_new:
                _look_for_the_missing(wallet, newest_sent, count, view.head.number, chain)
        if is_new:
            tell_outpriced(view.head)
        fault_point("follow.before_settle")
        final_number = final_block_number(view)
        settled = settle_final(final_number, timezone.now())
        credit_final(final_number, timezone.now())
        if view.head.number % 100 == 0:
            forget_old(view.head.number)
            forget_old_contents(view.head.number)
        return settled


def _wallets_to_watch() -> dict[Wallet, int | None]:
    """Return the hot wallets and whatever else has something under way, in id order, with a nonce each.

    The nonce is the newest that had been sent before the chain is asked, of those under way.
    """
    under_way = Transaction.objects.filter(wallet=OuterRef("pk"), stage__in=[Stage.SIGNED, Stage.BROADCAST])
    sent = under_way.filter(stage=Stage.BROADCAST).order_by("-nonce").values("nonce")[:1]
    hot = Wallet.objects.filter(role=WalletRole.HOT)
    deposit = deposit_wallets_under_way().filter(Exists(under_way))
    found = [wallet for wallets in (hot, deposit) for wallet in wallets.annotate(newest_sent=Subquery(sent))]
    return {wallet: wallet.newest_sent for wallet in sorted(found, key=lambda wallet: wallet.pk)}


def _look_for_the_missing(
    wallet: Wallet, newest_sent: int | None, count: NonceCount, head_number: int, chain: Chain
) -> None:
    """Look for what a wallet has sent and the node has not, and for what the chain has and no row of ours."""
    if newest_sent is not None:
        resend_dropped(wallet, range(count.pending, newest_sent + 1), head_number, chain)
    try:
        explain_used_nonces(wallet, count.latest, head_number, chain)
    except ChainError as error:
        # Searched for again with the next block: neither what other wallets did nor what is final waits for it.
        logger.warning("What used nonces of %s can't be told now, as a node can't be asked: %s", wallet, error)
    if wallet.paused_at is None:
        note_strangers(wallet, count, timezone.now())
    else:
        # The broadcaster, which looks into the others, has nothing to sign for it.
        wallet.read_nonces_again()
        agrees(wallet, count, chain)


def find_mined(wallet: Wallet, nonce_count: int, chain: Chain, new_blocks: Sequence[int] = ()) -> int:
    """Record the receipts of payments whose nonce a block has used; return how many were found.

    A receipt that isn't there says nothing: the node may lag. The payment is looked at again with the next block.

    :param nonce_count: the wallet's transaction count at the head; smaller nonces are mined.
    :param new_blocks: numbers of blocks that nobody has looked into yet.
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
    receipts = _fetch_receipts(list(attempts), chain, new_blocks)
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


def _fetch_receipts(hashes: list[str], chain: Chain, new_blocks: Sequence[int]) -> dict[str, Receipt]:
    """Fetch receipts by hash or by whole blocks, whichever takes fewer calls.

    Most are in the blocks just mined. For the rest: hashes come in nonce order and nonces are mined in order, so the
    first and the last one tell which blocks hold all those between.
    """
    receipts: dict[str, Receipt] = {}
    missing = hashes
    if len(missing) > ONE_BY_ONE_MAX and _is_worth(new_blocks, hashes):
        receipts, missing = _look_into(new_blocks, hashes, chain)
    if len(missing) > ONE_BY_ONE_MAX:
        bounds = chain.receipts([missing[0], missing[-1]])
        if len(bounds) == 2:
            blocks = range(bounds[missing[0]].block_number, bounds[missing[-1]].block_number + 1)
            if _is_worth(blocks, missing):
                found, missing = _look_into(blocks, missing, chain)
                receipts |= found
    return receipts | chain.receipts(missing) if missing else receipts


def _is_worth(blocks: Sequence[int], hashes: Sequence[str]) -> bool:
    """Say whether whole blocks are fewer calls than as many hashes, by far."""
    return 0 < len(blocks) * PAYMENTS_PER_BLOCK_MIN <= len(hashes)


def _look_into(blocks: Sequence[int], hashes: list[str], chain: Chain) -> tuple[dict[str, Receipt], list[str]]:
    """Return the receipts that these blocks hold, and the hashes that they don't."""
    wanted = set(hashes)
    found = {
        receipt.transaction_hash: receipt
        for of_block in chain.block_receipts(blocks).values()
        for receipt in of_block
        if receipt.transaction_hash in wanted
    }
    return found, [tx_hash for tx_hash in hashes if tx_hash not in found]
