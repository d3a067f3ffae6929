"""Wallets: the addresses that pay, and those that are paid to."""

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower
from django.utils import timezone

from accounts.models import Account
from transactions.states import WalletRole


class Wallet(models.Model):
    """An address with a key of the desk's, the next nonce to assign, and its account in the ledger.

    A hot wallet pays. A deposit address is paid to, for the account that it credits; its key is derived from the seed
    by that account's id (BIP-44: m/44'/60'/0'/0/id).
    """

    role = models.CharField(
        max_length=10, choices=WalletRole.choices, default=WalletRole.HOT, db_default=WalletRole.HOT, editable=False
    )
    credits = models.OneToOneField(
        Account, on_delete=models.PROTECT, null=True, blank=True, related_name="deposit_address", editable=False
    )
    address = models.CharField(max_length=42, unique=True, editable=False)
    account = models.OneToOneField(Account, on_delete=models.PROTECT, related_name="wallet", editable=False)
    next_nonce = models.BigIntegerField(default=0, editable=False)
    paused_at = models.DateTimeField(null=True, blank=True, editable=False)
    paused_reason = models.CharField(max_length=1100, blank=True, editable=False)
    draining_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="Since when it is given no new payments."
    )
    replaced_by = models.ForeignKey(
        "self",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="replaced",
        editable=False,
        help_text="The wallet that what it holds goes to; its key is being rotated.",
    )
    retired_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="When it was empty and its key was put away."
    )
    unknown_since = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="Since when the chain holds transactions that nobody knows."
    )
    untold_since = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="Since when nobody can tell the first of those transactions."
    )
    nonces_seen = models.BigIntegerField(
        default=0,
        db_default=0,
        editable=False,
        help_text="How many transactions the chain was seen to count when it last counted more than this desk.",
    )
    progress_block = models.BigIntegerField(
        default=0,
        db_default=0,
        editable=False,
        help_text="The newest block that was seen to hold one of its transactions.",
    )
    opened_at_block = models.BigIntegerField(
        default=0,
        db_default=0,
        editable=False,
        help_text="What it held at this block is booked; what comes later is a deposit. Only a reorg takes it back.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["id"]
        indexes = [
            models.Index(name="transactions_wallet_hot", fields=["id"], condition=Q(role="hot")),
            models.Index(Lower("address"), name="transactions_wallet_by_address"),
            models.Index(name="transactions_wallet_unknown", fields=["id"], condition=Q(unknown_since__isnull=False)),
        ]
        constraints = [
            models.CheckConstraint(
                name="transactions_wallet_deposit_address_of_an_account",
                condition=Q(role="deposit", credits__isnull=False) | Q(role="hot", credits__isnull=True),
            ),
            models.CheckConstraint(
                name="transactions_wallet_paused_with_a_reason",
                condition=Q(paused_at__isnull=True, paused_reason="")
                | (Q(paused_at__isnull=False) & ~Q(paused_reason="")),
            ),
            models.CheckConstraint(name="transactions_wallet_next_nonce_not_negative", condition=Q(next_nonce__gte=0)),
            models.CheckConstraint(
                name="transactions_wallet_opened_at_block_not_negative", condition=Q(opened_at_block__gte=0)
            ),
            models.CheckConstraint(
                name="transactions_wallet_replaced_by_another_gets_no_payments",
                condition=Q(replaced_by__isnull=True) | (Q(draining_at__isnull=False) & ~Q(replaced_by=F("id"))),
            ),
            models.CheckConstraint(
                name="transactions_wallet_retired_only_when_replaced_and_paused",
                condition=Q(retired_at__isnull=True) | Q(replaced_by__isnull=False, paused_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.address

    @property
    def may_be_unclear(self) -> bool:
        """Say whether staff may have a transaction of it to tell apart: the chain was seen to hold an unknown one."""
        return self.paused_at is not None and self.unknown_since is not None

    @property
    def takes_payments(self) -> bool:
        """Say whether payments may leave it."""
        return self.role == WalletRole.HOT and self.paused_at is None and self.draining_at is None

    def read_nonces_again(self) -> None:
        """Read again what the desk knows of its nonces, and whether it is paused for that."""
        self.refresh_from_db(fields=["next_nonce", "nonces_seen", "unknown_since", "untold_since", "paused_at"])


class PassedNonce(models.Model):
    """A nonce of which no node can tell anything, and staff say that what uses it is none of the desk's.

    It has no row among the transactions, unless it had to be used up by a no-op, or was given up with what was signed
    for it.
    """

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="+", editable=False)
    nonce = models.BigIntegerField(editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="transactions_passednonce_passed_once", fields=["wallet", "nonce"]),
            models.CheckConstraint(name="transactions_passednonce_not_negative", condition=Q(nonce__gte=0)),
        ]

    def __str__(self) -> str:
        return f"Nonce {self.nonce} of {self.wallet_id}"
