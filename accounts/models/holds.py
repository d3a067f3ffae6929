"""Holds: funds reserved for what is under way."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models.accounts import Account
from accounts.money import WEI_MAX, WeiField


class HoldStatus(models.TextChoices):
    """A hold starts HELD and is resolved once."""

    HELD = "held", "held"
    SETTLED = "settled", "settled"
    RELEASED = "released", "released"


class Hold(models.Model):
    """Funds reserved on an account for one purpose until they leave it (settled) or are free again (released)."""

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="holds", db_index=False)
    kind = models.CharField(max_length=20, default="payment")
    source = models.CharField(max_length=100)
    amount_in_wei = WeiField()
    status = models.CharField(max_length=10, choices=HoldStatus.choices, default=HoldStatus.HELD)
    created_at = models.DateTimeField(default=timezone.now)
    resolved_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(name="accounts_hold_held_by_account", fields=["account"], condition=Q(status="held")),
        ]
        constraints = [
            models.UniqueConstraint(name="accounts_hold_placed_once", fields=["kind", "source"]),
            models.CheckConstraint(
                name="accounts_hold_amount_within_uint256",
                condition=Q(amount_in_wei__gt=0, amount_in_wei__lte=WEI_MAX),
            ),
            models.CheckConstraint(
                name="accounts_hold_resolved_at_when_resolved",
                condition=Q(status="held", resolved_at__isnull=True)
                | Q(status__in=["settled", "released"], resolved_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.amount_in_wei} wei {self.status} for {self.kind} {self.source}"
