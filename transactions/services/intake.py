"""Take in blocks: store each whole, check it against the walked chain, and record what it brings to our addresses.

Three steps a block, each safe to repeat: what a step has done is in its row. The list of blocks to take in is that of
walked blocks without `taken_in_at`; a block that a reorg has replaced is a new row in it.
"""

import datetime as dt
import zlib
from collections.abc import Mapping
from typing import NamedTuple

from django.db import connection
from django.db import transaction as db_transaction
from django.db.models.functions import Lower
from django.utils import timezone
from eth_utils.address import to_checksum_address

from accounts.models import AlertKind
from accounts.services.alerts import raise_or_resolve
from transactions.chain.bodies import read_transfers
from transactions.chain.client import Chain, get_chain
from transactions.chain.exceptions import ChainReplyError, ChainUnavailableError
from transactions.chain.types import BlockTransfer, Receipt
from transactions.models import Block, BlockContent, BookedTransfer, Deposit, Wallet
from txnsite.faults import fault_point

TRIED_AGAIN_AFTER = dt.timedelta(seconds=20)
"""A block whose steps have not ended by then is begun anew: its message was lost, or its worker died."""

LATE_AFTER = dt.timedelta(minutes=15)

CONTENT_KEPT_BLOCKS = 1_000
COMPRESSION = 1
"""zlib's fastest: blocks are kept for a few hours, and each second counts in a long catch-up."""


class WalkedBlock(NamedTuple):
    """A block of the canonical chain, as it was when it was walked."""

    number: int
    hash: str


def claim_blocks(at_once: int, now: dt.datetime) -> list[WalkedBlock]:
    """Return blocks that are to be taken in, the oldest first, claimed so that nobody else begins them for a while.

    :param at_once: how many may be under way, those begun before included.
    """
    begun_before = now - TRIED_AGAIN_AFTER
    under_way = Block.objects.filter(taken_in_at__isnull=True, intake_from__gte=begun_before).count()
    with connection.cursor() as cursor:
        cursor.execute(
            # An array, so that the inner query runs once: as a join it might run again, and claim more.
            """
            UPDATE transactions_block SET intake_from = %(now)s WHERE number = ANY(ARRAY(
                SELECT number FROM transactions_block
                WHERE taken_in_at IS NULL AND (intake_from IS NULL OR intake_from < %(before)s)
                -- Those that nothing has been tried with first: what fails again and again must not hold up the rest.
                ORDER BY intake_from NULLS FIRST, number LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
            )) RETURNING number, hash
            """,
            {"now": now, "before": begun_before, "limit": max(0, at_once - under_way)},
        )
        claimed = sorted(WalkedBlock(*row) for row in cursor.fetchall())
    fault_point("intake.claimed")
    return claimed


def blocks_to_go() -> int:
    """Return how many walked blocks are not taken in yet."""
    return Block.objects.filter(taken_in_at__isnull=True).count()


def watch_intake(now: dt.datetime) -> None:
    """Raise an alert when the oldest block that is not taken in was made long ago, and resolve it when none was.

    Until it is, nobody is credited what came with it or later.
    """
    oldest = Block.objects.filter(taken_in_at__isnull=True).order_by("number").first()
    age = 0.0 if oldest is None else now.timestamp() - oldest.timestamp
    message = ""
    if oldest is not None and age > LATE_AFTER.total_seconds():
        message = (
            f"Block {oldest.number} is {age // 60:.0f} minutes old and not searched for deposits yet, nor are later "
            "ones. The log of the workers of queue deposits says why."
        )
    raise_or_resolve(kind=AlertKind.INTAKE_LATE, subject="intake", message=message, now=now)


def fetch_block(number: int, block_hash: str, *, chain: Chain | None = None) -> None:
    """Store the whole block as the node gives it, before anything is made of it.

    :raises ChainUnavailableError: when no node has the block of this hash now; a reorg may have replaced it.
    """
    if BlockContent.objects.filter(hash=block_hash).exists():
        return
    found = (chain or get_chain()).block_body(number)
    if found is None:
        raise ChainUnavailableError(f"No node has block {number} yet.")
    content = BlockContent(
        hash=found.header.hash,
        parent_hash=found.header.parent_hash,
        number=number,
        body=zlib.compress(found.json, COMPRESSION),
        fetched_at=timezone.now(),
    )
    BlockContent.objects.bulk_create([content], ignore_conflicts=True)
    fault_point("intake.fetched")
    if found.header.hash != block_hash:
        raise ChainUnavailableError(f"The node has another block {number} now.")


def record_block(number: int, block_hash: str) -> bool:
    """Check a stored block against the walked one; say whether it is still the chain's.

    :raises ChainReplyError: when the node gave a block that does not connect as the walked one does.
    """
    walked = Block.objects.filter(number=number, hash=block_hash).first()
    if walked is None:
        return False
    stored = BlockContent.objects.defer("body").get(hash=block_hash)
    if (stored.number, stored.parent_hash) != (walked.number, walked.parent_hash):
        _ask_again(block_hash)
        raise ChainReplyError(f"Block {number} was given with other fields than when it was walked.")
    return True


def record_transfers(number: int, block_hash: str, *, chain: Chain | None = None) -> int:
    """Record what a stored block brings to the desk's addresses, and that it is taken in; return how many deposits.

    A transfer between two of the desk's wallets is one like any other: its settlement books only what left. What is in
    the books already is none: what a wallet held when it was opened, or staff found at it, also where a reorg has put
    it into a later block.

    :raises ChainUnavailableError: when a receipt is missing; nothing is recorded then.
    """
    block = Block.objects.filter(number=number, hash=block_hash).first()
    if block is None:
        # Its receipts are gone with it: there is nothing to wait for.
        return 0
    transfers = _read_transfers(block_hash)
    receivers = {transfer.to_address for transfer in transfers.values()}
    found = Wallet.objects.annotate(lower=Lower("address")).filter(lower__in=receivers)
    wallets = {wallet.address.lower(): wallet for wallet in found}
    ours = {hash_: transfer for hash_, transfer in transfers.items() if transfer.to_address in wallets}
    for hash_ in _booked_otherwise(number, ours, wallets):
        del ours[hash_]
    receipts = (chain or get_chain()).receipts(list(ours)) if ours else {}
    missing = [hash_ for hash_ in ours if hash_ not in receipts or receipts[hash_].block_hash != block_hash]
    if missing:
        raise ChainUnavailableError(f"The node has no receipts of {len(missing)} deposits in block {number} yet.")
    return _save(block, ours, wallets, receipts)


def _booked_otherwise(number: int, transfers: Mapping[str, BlockTransfer], wallets: Mapping[str, Wallet]) -> set[str]:
    """Return the hashes of transfers that were booked when their wallet was opened, or found; of deposits, none."""
    booked = {hash_ for hash_, transfer in transfers.items() if wallets[transfer.to_address].opened_at_block >= number}
    kept = BookedTransfer.objects.filter(transaction_hash__in=transfers)
    booked |= set(kept.values_list("transaction_hash", flat=True))
    known = Deposit.objects.filter(transaction_hash__in=booked)
    return booked - set(known.values_list("transaction_hash", flat=True))


def forget_old_contents(head_number: int) -> None:
    """Delete whole blocks far below the head that were taken in."""
    waiting = Block.objects.filter(taken_in_at__isnull=True).values("hash")
    BlockContent.objects.filter(number__lt=head_number - CONTENT_KEPT_BLOCKS).exclude(hash__in=waiting).delete()


def _read_transfers(block_hash: str) -> dict[str, BlockTransfer]:
    """Return the transfers of a stored block by hash; one that can't be read is fetched anew.

    :raises ChainReplyError: when the node gave no block with full transactions.
    """
    body = BlockContent.objects.get(hash=block_hash).body
    try:
        return {transfer.hash: transfer for transfer in read_transfers(zlib.decompress(body))}
    except ChainReplyError:
        _ask_again(block_hash)
        raise


def _ask_again(block_hash: str) -> None:
    """Forget what a node gave for a block: the next try may get it from another one."""
    BlockContent.objects.filter(hash=block_hash).delete()


def _save(
    block: Block,
    transfers: Mapping[str, BlockTransfer],
    wallets: Mapping[str, Wallet],
    receipts: Mapping[str, Receipt],
) -> int:
    """Insert deposits, or put those that had left the chain into this block.

    Nothing is done if it is no longer the chain's, or was begun anew meanwhile: there may be a wallet more to find.
    """
    arrived = [transfer for hash_, transfer in transfers.items() if receipts[hash_].succeeded]
    now = timezone.now()
    with db_transaction.atomic(), connection.cursor() as cursor:
        still_there = Block.objects.filter(number=block.number, hash=block.hash, intake_from=block.intake_from)
        if not still_there.update(taken_in_at=now):
            return 0
        if arrived:
            fault_point("intake.before_commit")
            cursor.execute(
                """
                INSERT INTO transactions_deposit (wallet_id, transaction_hash, from_public_address, amount_in_wei,
                    status, block_number, block_hash, credits, seen_at)
                SELECT wallet_id, hash, from_address, amount, 'waiting', %s, %s, 0, %s
                FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::numeric[])
                    AS data(wallet_id, hash, from_address, amount)
                ON CONFLICT (transaction_hash) DO UPDATE
                SET status = 'waiting', block_number = excluded.block_number, block_hash = excluded.block_hash
                WHERE transactions_deposit.status <> 'credited'
                """,
                [
                    block.number,
                    block.hash,
                    now,
                    [wallets[transfer.to_address].pk for transfer in arrived],
                    [transfer.hash for transfer in arrived],
                    [to_checksum_address(transfer.from_address) for transfer in arrived],
                    [str(transfer.value_in_wei) for transfer in arrived],
                ],
            )
    fault_point("intake.recorded")
    return len(arrived)
