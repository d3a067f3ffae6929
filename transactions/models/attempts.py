"""Attempts: every transaction ever signed."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.money import WeiField
from transactions.models.payments import Transaction
from transactions.models.wallets import Wallet
from transactions.states import Purpose


class Attempt(models.Model):
    """One signed transaction for one nonce of a wallet: the very bytes that were, or will be, sent.

    One that was found on the chain and signed elsewhere (by another program with the same key, or by this desk before
    its database was restored from a backup) has no bytes here.
    """

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="attempts", db_index=False)
    nonce = models.BigIntegerField()
    transaction = models.ForeignKey(Transaction, on_delete=models.PROTECT, related_name="attempts")
    purpose = models.CharField(
        max_length=10, choices=Purpose.choices, default=Purpose.PAYMENT, db_default=Purpose.PAYMENT
    )
    value_in_wei = WeiField(null=True, blank=True, help_text="Of a stranger's transaction: what it moved.")
    hash = models.CharField(max_length=66)
    raw_transaction = models.BinaryField()
    gas_limit = models.BigIntegerField()
    max_fee_per_gas_in_wei = WeiField()
    max_priority_fee_per_gas_in_wei = WeiField()
    signed_at = models.DateTimeField(default=timezone.now)
    signed_block = models.BigIntegerField(
        default=0, db_default=0, help_text="The newest block known when it was signed."
    )
    sent_at = models.DateTimeField(null=True, blank=True)
    sent_block = models.BigIntegerField(
        default=0, db_default=0, help_text="The newest block known when it was last sent."
    )
    sends = models.PositiveIntegerField(default=0)
    last_error = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["id"]
        indexes = [models.Index(name="transactions_attempt_by_nonce", fields=["wallet", "nonce"])]
        constraints = [
            models.UniqueConstraint(name="transactions_attempt_hash_saved_once", fields=["hash"]),
            models.CheckConstraint(
                name="transactions_attempt_fees_within_reason",
                condition=Q(raw_transaction=b"")
                | Q(
                    gas_limit__gte=21_000,
                    max_priority_fee_per_gas_in_wei__gte=0,
                    max_priority_fee_per_gas_in_wei__lte=models.F("max_fee_per_gas_in_wei"),
                ),
            ),
            models.CheckConstraint(
                name="transactions_attempt_of_a_stranger_with_its_value",
                condition=Q(purpose="stranger", value_in_wei__isnull=False, value_in_wei__gte=0, raw_transaction=b"")
                | (Q(purpose__in=["payment", "cancel"]) & Q(value_in_wei__isnull=True)),
            ),
        ]

    def __str__(self) -> str:
        return self.hash
