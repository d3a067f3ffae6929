"""Holdings: what each wallet of the desk's has on the chain, and how often it has sent, at one block for all."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from django.conf import settings
from django.db import connection
from django.db.models import Q, QuerySet

from transactions.chain.client import Chain
from transactions.chain.exceptions import ChainUnavailableError
from transactions.exceptions import BlockNotComparableError
from transactions.models import Block, Wallet
from transactions.services.settle import final_block_number
from transactions.states import WalletRole

T = TypeVar("T")

WALLETS_AT_ONCE = 5_000
PATIENCE_SECONDS = 15.0
"""How long the follower is waited for: until it has taken the node's branch, or found what the block holds."""

TICK_SECONDS = 0.5
ANOTHER_BRANCH = "The node has another branch of the chain than the desk has walked."

_IS_BEHIND = """
SELECT EXISTS (
    SELECT FROM unnest(%(addresses)s::text[], %(counts)s::bigint[]) AS counted(address, nonces)
    JOIN transactions_wallet AS wallet ON wallet.address = counted.address
    WHERE wallet.next_nonce < counted.nonces
       OR EXISTS (SELECT FROM transactions_transaction AS row
                  WHERE row.wallet_id = wallet.id AND row.nonce < counted.nonces
                    AND row.stage IN ('SIGNED', 'BROADCAST'))
       -- A node on another branch may have told of that block.
       OR EXISTS (SELECT FROM transactions_transaction AS row
                  WHERE row.wallet_id = wallet.id AND row.stage = 'MINED' AND row.block_number <= %(number)s
                    AND NOT EXISTS (SELECT FROM transactions_block AS block
                                    WHERE block.number = row.block_number AND block.hash = row.block_hash))
)
"""


@dataclass(frozen=True, slots=True)
class Holdings:
    """What the node said of one block: balances in wei, and counts of transactions, by address.

    Of many wallets only those are counted that may have sent anything.
    """

    block_number: int
    block_hash: str
    balances: Mapping[str, int]
    nonces: Mapping[str, int]

    @property
    def total_in_wei(self) -> int:
        return sum(self.balances.values())


def read_holdings(
    chain: Chain, *, block_number: int | None = None, on_progress: Callable[[int], None] = lambda _wallets: None
) -> Holdings:
    """Ask the node what all wallets have at one block that is final and searched for deposits.

    What a block holds and the follower has not found yet is waited for, 15 seconds at most.

    :param block_number: of an older block than the newest possible one.
    :param on_progress: told how many wallets were asked about since the last time.
    :raises ChainError: when no node answers, or none has the block that the desk has walked.
    :raises BlockNotComparableError: when the block that was asked for is not such a one.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    wallets = Wallet.objects.all()
    # Whoever else sent from an address that never did left a trace in its balance: that alone is asked for.
    sending = wallets.filter(Q(role=WalletRole.HOT) | Q(next_nonce__gt=0))
    while (holdings := _read_at(chain, _choose_block(chain, block_number), wallets, sending, on_progress)) is None:
        if time.monotonic() >= deadline:
            raise ChainUnavailableError(ANOTHER_BRANCH)
        time.sleep(TICK_SECONDS)
    while is_behind(holdings) and time.monotonic() < deadline:
        time.sleep(TICK_SECONDS)
    return holdings


def read_holding(chain: Chain, wallet: Wallet) -> Holdings:
    """Ask the node what one wallet has at the newest block that is final and searched for deposits.

    Nobody is waited for: a person is.

    :raises ChainError: when no node answers, the node has another branch than the desk has walked, or the wallet was
        opened after that block.
    """
    block = _choose_block(chain, None)
    alone = Wallet.objects.filter(pk=wallet.pk)
    holdings = _read_at(chain, block, alone, alone)
    if holdings is None:
        raise ChainUnavailableError(ANOTHER_BRANCH)
    if wallet.address not in holdings.balances:
        raise ChainUnavailableError(f"Block {block.number} can be compared, and the wallet was opened after it.")
    return holdings


def is_behind(holdings: Holdings) -> bool:
    """Say whether the block holds transactions of the counted wallets that the desk has not found in it yet."""
    with connection.cursor() as cursor:
        cursor.execute(
            _IS_BEHIND,
            {
                "addresses": list(holdings.nonces),
                "counts": list(holdings.nonces.values()),
                "number": holdings.block_number,
            },
        )
        (behind,) = cursor.fetchone()
    return bool(behind)


def _choose_block(chain: Chain, wanted: int | None) -> Block:
    """Return the newest block of which the desk knows all: final, and taken in like all before it.

    :raises ChainUnavailableError: when there is none.
    :raises BlockNotComparableError: when the wanted one is not among them.
    """
    view = chain.view([], with_finalized=settings.CHAIN_FINALITY == "finalized")
    newest = final_block_number(view)
    to_take_in = Block.objects.filter(taken_in_at__isnull=True).order_by("number").first()
    if to_take_in is not None:
        newest = min(newest, to_take_in.number - 1)
    number = newest if wanted is None else wanted
    block = Block.objects.filter(number=number).first() if number <= newest else None
    if block is not None:
        return block
    why = f"the newest that is final and searched for deposits would be {max(newest, 0)}, and old ones are not recorded"
    if wanted is None:
        raise ChainUnavailableError(f"No block can be compared: {why}.")
    raise BlockNotComparableError(f"Block {wanted} can't be compared: {why}.")


def _read_at(
    chain: Chain,
    block: Block,
    wallets: QuerySet[Wallet],
    sending: QuerySet[Wallet],
    on_progress: Callable[[int], None] = lambda _wallets: None,
) -> Holdings | None:
    """Return what wallets have at a block, and how much the sending ones have sent.

    None when the node has another block of that number.
    """
    if not _has(chain, block):
        return None
    senders = set(sending.values_list("address", flat=True))
    opened = wallets.filter(opened_at_block__lte=block.number).order_by("pk")
    balances: dict[str, int] = {}
    nonces: dict[str, int] = {}
    for addresses in _chunks(list(opened.values_list("address", flat=True))):
        balances |= chain.balances(addresses, block_number=block.number)
        counted = [address for address in addresses if address in senders]
        nonces |= chain.nonces(counted, block_number=block.number) if counted else {}
        on_progress(len(addresses))
    # Another answer could be of another branch.
    return Holdings(block.number, block.hash, balances, nonces) if _has(chain, block) else None


def _has(chain: Chain, block: Block) -> bool:
    header = chain.headers([block.number]).get(block.number)
    return header is not None and header.hash == block.hash


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), WALLETS_AT_ONCE):
        yield items[start : start + WALLETS_AT_ONCE]
