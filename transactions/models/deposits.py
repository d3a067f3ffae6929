"""Deposits: ether that came to an address of the desk's, and the whole blocks that it was found in."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.money import WEI_MAX, WeiField
from transactions.models.wallets import Wallet
from transactions.states import DepositStatus


class BlockContent(models.Model):
    """A block as a node gave it, with its full transactions: stored before anything is made of it."""

    hash = models.CharField(max_length=66, primary_key=True)
    parent_hash = models.CharField(max_length=66)
    number = models.BigIntegerField()
    body = models.BinaryField(help_text="JSON of eth_getBlockByNumber, compressed by zlib.")
    fetched_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-number"]
        indexes = [models.Index(name="transactions_content_by_number", fields=["number"])]

    def __str__(self) -> str:
        return f"Content of block {self.number}"


class BookedTransfer(models.Model):
    """A transfer that a reorg has undone and that the books have as part of a sum: if it comes again, it is no deposit.

    The sum is what a wallet held when it was opened, or what staff found at it.
    """

    transaction_hash = models.CharField(max_length=66, primary_key=True)

    def __str__(self) -> str:
        return f"Booked transfer {self.transaction_hash}"


class Deposit(models.Model):
    """Ether that a transaction brought to one of the desk's addresses.

    On a deposit address it is credited to the account that the address belongs to; on a hot wallet it is the desk's
    own. `credits` counts how often it was credited: once more after each time that a reorg has undone it.
    """

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="deposits", db_index=False)
    transaction_hash = models.CharField(max_length=66)
    from_public_address = models.CharField(max_length=42)
    amount_in_wei = WeiField()
    status = models.CharField(max_length=10, choices=DepositStatus.choices, default=DepositStatus.WAITING)
    block_number = models.BigIntegerField(null=True, blank=True)
    block_hash = models.CharField(max_length=66, blank=True)
    credits = models.SmallIntegerField(default=0)
    seen_at = models.DateTimeField(default=timezone.now)
    credited_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(name="transactions_deposit_by_wallet", fields=["wallet", "id"]),
            models.Index(name="transactions_deposit_waiting", fields=["block_number"], condition=Q(status="waiting")),
            models.Index(name="transactions_deposit_by_block", fields=["block_number"]),
        ]
        constraints = [
            models.UniqueConstraint(name="transactions_deposit_seen_once", fields=["transaction_hash"]),
            models.CheckConstraint(
                name="transactions_deposit_amount_within_uint256",
                condition=Q(amount_in_wei__gt=0, amount_in_wei__lte=WEI_MAX),
            ),
            models.CheckConstraint(
                name="transactions_deposit_in_a_block_unless_gone",
                condition=Q(status__in=["waiting", "credited"], block_number__isnull=False, block_hash__startswith="0x")
                | Q(status="gone", block_number__isnull=True, block_hash=""),
            ),
            models.CheckConstraint(
                name="transactions_deposit_credited_at_when_credited",
                condition=Q(status="credited", credited_at__isnull=False, credits__gt=0)
                | (~Q(status="credited") & Q(credited_at__isnull=True)),
            ),
        ]

    def __str__(self) -> str:
        return f"Deposit #{self.pk}"

    @property
    def ledger_source(self) -> str:
        """Return what the journal of its newest credit is known by."""
        return self.source_of(self.transaction_hash, self.credits)

    @property
    def sources(self) -> list[str]:
        """Return what the journals of all its credits are known by."""
        return [self.source_of(self.transaction_hash, number) for number in range(1, self.credits + 1)]

    @staticmethod
    def source_of(transaction_hash: str, credits: int) -> str:
        """Return what the journal of a credit, counted from 1, is known by."""
        return transaction_hash if credits <= 1 else f"{transaction_hash}.{credits}"
