"""Deposits for tests of what is told of them: rows as the intake leaves them, in blocks without a chain."""

import itertools

from django.db import transaction as db_transaction

from accounts.models import Account
from tests.desk import ETHER, NOW, make_address
from transactions.models import Block, Deposit, Wallet
from transactions.services.deposit_addresses import deposit_address_of
from transactions.services.deposits import credit_final, take_back

SENDER = make_address(2**90)
_numbers = itertools.count(1)


def walk_to(number: int, fork: str = "a") -> None:
    """Record the chain's blocks up to this one."""
    known = Block.newest_number()
    for height in range(1 if known is None else known + 1, number + 1):
        Block.objects.create(
            number=height,
            hash=block_hash(height, fork),
            parent_hash=block_hash(height - 1, fork),
            timestamp=1_700_000_000 + 12 * height,
            taken_in_at=NOW,
        )


def block_hash(number: int, fork: str = "a") -> str:
    return f"0x{fork}{number:063x}"


def make_deposit(
    account: Account, amount_in_wei: int = ETHER, *, block_number: int = 1, sender: str = SENDER
) -> Deposit:
    """Return a deposit that was found in a block."""
    return Deposit.objects.create(
        wallet=deposit_address_of(account.pk),
        transaction_hash=f"0x{next(_numbers):064x}",
        from_public_address=sender,
        amount_in_wei=amount_in_wei,
        block_number=block_number,
        block_hash=block_hash(block_number),
        seen_at=NOW,
    )


def credit_to(number: int) -> None:
    """Credit what is final when this block is."""
    credit_final(number, NOW)


def undo_from(number: int) -> None:
    """Let a reorg replace the blocks from this one on, by none so far, and take back what they held."""
    with db_transaction.atomic():
        Block.objects.filter(number__gte=number).delete()
        take_back(number - 1, NOW)


def address_of(account: Account) -> str:
    """Return the deposit address of an account that has one."""
    return Wallet.objects.get(credits=account).address
