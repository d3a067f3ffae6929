"""Booked transfers: what the books have as part of a sum is booked no second time, whatever a reorg does to it.

What a wallet held when it was opened, or staff found at it, is booked as one sum, up to a block. When a reorg undoes
that block, the transfers in the sum may come again, in other blocks, or never. Each is kept by its hash: so the intake
books what is new, and only that.
"""

import datetime as dt
import logging
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from accounts.models import AlertKind
from accounts.services.alerts import raise_alert
from transactions.chain.bodies import read_transfers
from transactions.chain.exceptions import ChainReplyError
from transactions.chain.types import BlockTransfer
from transactions.models import BlockContent, BookedTransfer, Wallet

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BookedAbove:
    """What the books have of transfers above a fork, and by wallet the numbers of blocks that nobody can look into."""

    hashes: frozenset[str]
    unknown: Mapping[Wallet, Sequence[int]]


def find_booked(fork_number: int, undone: Mapping[int, str]) -> BookedAbove:
    """Return what is in the books of wallets that were opened above the fork.

    It unpacks whole blocks, which takes long: run it in the database transaction that records the new branch, before
    that locks an account, and after it has deleted the blocks of the old one. Who opens a wallet, or books what was
    found at one, waits for their rows: so none is opened above the fork any more.

    :param undone: the hashes, by number, of the blocks above the fork that have left the chain.
    """
    opened = Wallet.objects.filter(opened_at_block__gt=fork_number).order_by("pk")
    wallets = {wallet.address.lower(): wallet for wallet in opened}
    booked: set[str] = set()
    known: set[int] = set()
    for number, transfers in _read(undone) if wallets else ():
        known.add(number)
        booked |= {
            transfer.hash
            for transfer in transfers
            if transfer.to_address in wallets and wallets[transfer.to_address].opened_at_block >= number
        }
    unknown = {
        wallet: [number for number in range(fork_number + 1, wallet.opened_at_block + 1) if number not in known]
        for wallet in wallets.values()
    }
    return BookedAbove(frozenset(booked), unknown)


def keep_booked(fork_number: int, booked: BookedAbove, now: dt.datetime) -> None:
    """Let wallets be opened at the fork that were opened above it, and keep what is in their books from above it.

    Run it in the database transaction that records the new branch.
    """
    BookedTransfer.objects.bulk_create(
        [BookedTransfer(transaction_hash=hash_) for hash_ in sorted(booked.hashes)], ignore_conflicts=True
    )
    for wallet, numbers in booked.unknown.items():
        if numbers:
            _tell_of_unknown(wallet, numbers, now)
    ids = sorted(wallet.pk for wallet in booked.unknown)
    list(Wallet.objects.select_for_update(no_key=True).filter(pk__in=ids).order_by("pk"))
    Wallet.objects.filter(pk__in=ids).update(opened_at_block=fork_number)


def _read(undone: Mapping[int, str]) -> Iterator[tuple[int, list[BlockTransfer]]]:
    """Yield number and transfers of each block that was stored and can be read."""
    for content in BlockContent.objects.filter(hash__in=undone.values()).iterator(chunk_size=10):
        try:
            transfers = read_transfers(zlib.decompress(content.body))
        except ChainReplyError:
            logger.warning("The stored block %s can't be read.", content.number)
            continue
        yield content.number, transfers


def _tell_of_unknown(wallet: Wallet, numbers: Sequence[int], now: dt.datetime) -> None:
    message = (
        f"A reorg has undone blocks from {numbers[0]} on, of which not all were stored; what came in them is in the "
        "books of this wallet. If it comes again, it is booked a second time. Check the ledger: the wallet has less "
        "than its books then."
    )
    raise_alert(kind=AlertKind.DEEP_REORG, subject=f"opening of {wallet.address}", message=message, now=now)
