"""The chain as last seen: record each block's hash, and find out when a block has left the chain (a reorg)."""

import logging
from collections.abc import Collection, Iterable

from django.conf import settings
from django.db import connection
from django.db import transaction as db_transaction
from django.utils import timezone

from accounts.locks import advisory_lock
from transactions.chain.client import Chain
from transactions.chain.exceptions import ChainForkError
from transactions.chain.types import BlockHeader
from transactions.models import Block, Deposit, Transaction
from transactions.services import deposits
from transactions.services.booked import find_booked, keep_booked
from transactions.services.moves import move_transactions
from transactions.services.reverse import reverse_settlements, tell_of_found_ether
from transactions.states import DepositStatus, Stage

logger = logging.getLogger(__name__)

WALK_MAX = 1_000
"""How many blocks are walked at most at a time; the next tick goes on."""

STEP = 100
"""How many recorded blocks at a time are compared on the way down to where two chains part."""

KEPT = 1_000
"""How many blocks below the head stay recorded: so deep a reorg is found and followed."""


def record_head(chain: Chain, head: BlockHeader) -> list[int]:
    """Walk the chain up to the head block by block, and return the ids of transactions whose block has left it.

    Those are BROADCAST again, their settlement reversed where there was one: their bytes have to be sent once more,
    and may be mined in another block. The newest recorded block is how far the chain was walked, each block connected
    to the one before it; only this function, under the follower's lock, goes further.

    :raises ChainError: when the node can't give the blocks between, or holds none of those recorded here.
    """
    last = Block.objects.order_by("-number").first()
    if last is None:
        # Some blocks below the head, so that a reorg is understood from the start.
        _save(_walk(chain, max(0, head.number - max(STEP, settings.CONFIRMATIONS)), head))
        return []
    path = _walk(chain, last.number + 1, head)
    if path and path[0].parent_hash == last.hash:
        with db_transaction.atomic():
            _save(path)
            # A receipt may have told of one of these blocks before it was walked to, and of another hash.
            return _take_back(None)
    recorded_hash = Block.objects.filter(number=head.number).values_list("hash", flat=True).first()
    if head.number <= last.number and recorded_hash in (None, head.hash):
        # The node lags behind what it, or another one, told before, maybe by more than is recorded. That is no news.
        return []
    if head.number > last.number and not path:
        return []
    return _change_branch(chain, head, min(head.number - 1, last.number))


def walked_and_final(chain: Chain) -> int:
    """Return a block that no reorg is waited for any more, and none later than what the desk has walked.

    Of a database restored from a backup it is a block from before the backup, until somebody follows the chain: what a
    wallet opened there has sent since is found and told apart before anything is sent again.

    :raises ChainError: when the node doesn't answer.
    """
    head = chain.view([], with_finalized=False).head
    if Block.newest_number() is None:
        # The follower begins its walk at the head of the day it first runs, which may be later.
        with advisory_lock("follow") as held:
            if held:
                record_head(chain, head)
    walked = Block.newest_number()
    newest = head.number if walked is None else min(head.number, walked)
    return max(0, newest - settings.CONFIRMATIONS)


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
    deposited = Deposit.objects.filter(status=DepositStatus.WAITING).values("block_number")
    old = Block.objects.filter(number__lt=head_number - KEPT, taken_in_at__isnull=False)
    old.exclude(number__in=waiting).exclude(number__in=deposited).delete()


def _walk(chain: Chain, first_number: int, head: BlockHeader) -> list[BlockHeader]:
    """Return the blocks from this number towards the head, each connected to the one before, or none of them."""
    numbers = range(first_number, min(head.number, first_number + WALK_MAX - 1) + 1)
    if not numbers:
        return []
    between = [number for number in numbers if number != head.number]
    headers = chain.headers(between) if between else {}
    headers[head.number] = head
    path = [headers[number] for number in numbers if number in headers]
    parents = [None, *(block.hash for block in path)]
    connected = all(block.parent_hash == parent for block, parent in zip(path[1:], parents[1:], strict=False))
    # Blocks that change while they are read are read again with the next tick.
    return path if connected and len(path) == len(numbers) else []


def _change_branch(chain: Chain, head: BlockHeader, from_number: int) -> list[int]:
    """Forget the blocks that have left the chain, record those in their place, and take back what was in them."""
    fork_number = _find_fork(chain, from_number)
    path = [] if fork_number is None else _walk(chain, fork_number + 1, head)
    if fork_number is None or not path:
        return []
    logger.warning("The chain has changed above block %s: %s blocks recorded anew.", fork_number, len(path))
    with db_transaction.atomic():
        final_lost = _oldest_final_above(fork_number)
        undone = dict(Block.objects.filter(number__gt=fork_number).values_list("number", "hash"))
        Block.objects.filter(number__gt=fork_number).delete()
        _save(path)
        # While no account is locked: it takes long, and whoever waits for one gives up after five seconds.
        booked = find_booked(fork_number, undone)
        # Their rows before any account, as who settles one of them at this moment locks them.
        taken_back = _take_back(fork_number)
        deposits.take_back(fork_number, timezone.now())
        keep_booked(fork_number, booked, timezone.now())
        if final_lost is not None:
            tell_of_found_ether(final_lost, timezone.now())
        return taken_back


def _oldest_final_above(fork_number: int) -> Block | None:
    """Return the first recorded block above a fork if it was final."""
    newest_number = Block.newest_number()
    if newest_number is None or fork_number + 1 > newest_number - settings.CONFIRMATIONS:
        return None
    return Block.objects.filter(number__gt=fork_number).order_by("number").first()


def _find_fork(chain: Chain, from_number: int) -> int | None:
    """Return the newest recorded block, from this number down, that the node has too; None when it can't say.

    :raises ChainForkError: when it has none of them.
    """
    while True:
        recorded = dict(
            Block.objects.filter(number__lte=from_number).order_by("-number").values_list("number", "hash")[:STEP]
        )
        if not recorded:
            raise ChainForkError
        headers = chain.headers(sorted(recorded))
        if len(headers) < len(recorded):
            return None
        same = [number for number, hash_ in recorded.items() if headers[number].hash == hash_]
        if same:
            return max(same)
        from_number = min(recorded) - 1


def _take_back(fork_number: int | None) -> list[int]:
    """Take transactions back whose block is not the recorded one of that number; return their ids.

    Who settles one of them at this moment is waited for: it is judged by what it is then, and reversed.

    :param fork_number: above it all blocks are others now; what was settled in one of them is reversed.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT row.id, row.stage FROM transactions_transaction AS row
            LEFT JOIN transactions_block AS block ON block.number = row.block_number
            WHERE row.stage = 'MINED' AND (block.hash <> row.block_hash
                                           OR row.block_number > %(fork)s AND block.number IS NULL)
               OR row.stage = 'SETTLED' AND row.block_number > %(fork)s AND block.hash IS DISTINCT FROM row.block_hash
            ORDER BY row.id FOR NO KEY UPDATE OF row
            """,
            {"fork": fork_number},
        )
        rows = cursor.fetchall()
    settled = [row_id for row_id, stage in rows if stage == Stage.SETTLED]
    mined = [row_id for row_id, stage in rows if stage == Stage.MINED]
    return sorted(return_to_broadcast(mined) + reverse_settlements(settled, timezone.now()))


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
        update_fields=["hash", "parent_hash", "timestamp", "intake_from", "taken_in_at"],
    )
