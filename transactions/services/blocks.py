"""The chain as last seen: record each block's hash, and find out when a block has left the chain (a reorg)."""

import logging
from collections.abc import Collection, Iterable

from django.db import connection
from django.db import transaction as db_transaction

from transactions.chain.client import Chain
from transactions.chain.types import BlockHeader
from transactions.models import Block, Transaction
from transactions.services.moves import move_transactions
from transactions.states import Stage

logger = logging.getLogger(__name__)

WINDOW = 128
"""How many blocks back from the head are compared when the chain doesn't connect to what was recorded."""

KEPT = 1_000


def record_head(chain: Chain, head: BlockHeader) -> list[int]:
    """Record the blocks up to the head, and return the ids of transactions whose block has left the chain.

    Those are BROADCAST again: their bytes have to be sent once more, and may be mined in another block. The newest
    recorded block is how far the chain was walked, each block connected to the one before it; only this function,
    under the follower's lock, goes further.

    :raises ChainError: when the node can't give the blocks between.
    """
    last = Block.objects.order_by("-number").first()
    if last is None:
        _save([head])
        return []
    if head.number == last.number and head.hash == last.hash:
        return []
    if last.number < head.number <= last.number + WINDOW:
        between = chain.headers(range(last.number + 1, head.number)) if head.number > last.number + 1 else {}
        path = [*(between[number] for number in sorted(between)), head]
        parents = [last.hash, *(block.hash for block in path[:-1])]
        if len(path) == head.number - last.number and [block.parent_hash for block in path] == parents:
            with db_transaction.atomic():
                _save(path)
                # A receipt may have told of one of these blocks before it was walked to, and of another hash.
                return _take_back()
    return _compare(chain, head, last.number)


def is_recorded(head: BlockHeader) -> bool:
    """Say whether the chain was walked up to this very block."""
    return Block.objects.filter(number=head.number, hash=head.hash).exists()


def record_numbers(chain: Chain, numbers: Collection[int]) -> None:
    """Record the blocks of these numbers that the follower has passed without recording, as the node has them now.

    A block beyond the last recorded one is left to the follower: recorded here, it would hide that those before it
    have changed.
    """
    last_number = Block.newest_number()
    passed = {number for number in numbers if last_number is not None and number < last_number}
    missing = sorted(passed - set(Block.objects.filter(number__in=passed).values_list("number", flat=True)))
    if missing:
        _save(chain.headers(missing).values())


def forget_old(head_number: int) -> None:
    """Delete blocks far below the head that no transaction waits in."""
    waiting = Transaction.objects.filter(stage=Stage.MINED).values("block_number")
    Block.objects.filter(number__lt=head_number - KEPT).exclude(number__in=waiting).delete()


def _compare(chain: Chain, head: BlockHeader, last_number: int) -> list[int]:
    """Ask for every block that matters again, and take back what the chain no longer holds."""
    recorded_hash = Block.objects.filter(number=head.number).values_list("hash", flat=True).first()
    if head.number < last_number and recorded_hash in (None, head.hash):
        # The node lags behind what it, or another one, told before, maybe by more than is recorded. That is no news.
        return []
    mined = set(Transaction.objects.filter(stage=Stage.MINED).values_list("block_number", flat=True).distinct())
    recorded = set(Block.objects.order_by("-number").values_list("number", flat=True)[:WINDOW])
    window = set(range(max(0, head.number - WINDOW + 1), head.number + 1))
    wanted = {number for number in mined | recorded | window if number is not None}
    headers = chain.headers(sorted(number for number in wanted if number <= head.number))
    headers[head.number] = head
    with db_transaction.atomic():
        logger.warning("Block %s does not connect to block %s; blocks compared again.", head.number, last_number)
        Block.objects.filter(number__gt=head.number).delete()
        _save(headers.values())
        return _take_back(also_unrecorded=True)


def _take_back(*, also_unrecorded: bool = False) -> list[int]:
    """Move transactions back whose block is not the recorded one of that number.

    :param also_unrecorded: and those of whose number no block is recorded, after all numbers were asked for.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT row.id FROM transactions_transaction AS row
            LEFT JOIN transactions_block AS block ON block.number = row.block_number
            WHERE row.stage = 'MINED' AND (block.hash <> row.block_hash OR %s AND block.number IS NULL)
            ORDER BY row.id
            """,
            [also_unrecorded],
        )
        ids = [row[0] for row in cursor.fetchall()]
    return return_to_broadcast(ids)


def return_to_broadcast(ids: Collection[int]) -> list[int]:
    """Move mined transactions whose block has left the chain back to BROADCAST; return the ids that moved."""
    moved = move_transactions(
        sorted(ids),
        old=[Stage.MINED],
        new=Stage.BROADCAST,
        constants={
            "block_number": None,
            "block_hash": "",
            "succeeded_on_chain": None,
            "transaction_fee_blockchain_in_wei": None,
            "mined_at": None,
        },
    )
    if moved:
        logger.warning("The blocks of %s transactions left the chain; they are followed anew.", len(moved))
    return moved


def _save(headers: Iterable[BlockHeader]) -> None:
    Block.objects.bulk_create(
        [
            Block(number=header.number, hash=header.hash, parent_hash=header.parent_hash, timestamp=header.timestamp)
            for header in headers
        ],
        update_conflicts=True,
        unique_fields=["number"],
        update_fields=["hash", "parent_hash", "timestamp"],
    )
