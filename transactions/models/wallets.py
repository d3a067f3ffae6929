"""Hot wallets: the addresses that pay."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models import Account


class Wallet(models.Model):
    """A hot wallet: the address that pays, the next nonce to assign, and its account in the ledger."""

    address = models.CharField(max_length=42, unique=True, editable=False)
    account = models.OneToOneField(Account, on_delete=models.PROTECT, related_name="wallet", editable=False)
    next_nonce = models.BigIntegerField(default=0, editable=False)
    paused_at = models.DateTimeField(null=True, blank=True, editable=False)
    paused_reason = models.CharField(max_length=500, blank=True, editable=False)
    draining_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="Since when it is given no new payments."
    )
    unknown_since = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="Since when the chain holds transactions that nobody knows."
    )
    progress_block = models.BigIntegerField(
        default=0,
        db_default=0,
        editable=False,
        help_text="The newest block that was seen to hold one of its transactions.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(
                name="transactions_wallet_paused_with_a_reason",
                condition=Q(paused_at__isnull=True, paused_reason="")
                | (Q(paused_at__isnull=False) & ~Q(paused_reason="")),
            ),
            models.CheckConstraint(name="transactions_wallet_next_nonce_not_negative", condition=Q(next_nonce__gte=0)),
        ]

    def __str__(self) -> str:
        return self.address
