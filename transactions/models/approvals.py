"""Approvals: payments that a second person has to look at before anything is signed."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from accounts.money import WEI_MAX, WeiField
from transactions.models.payments import Transaction
from transactions.states import Verdict

REASON_LENGTH_MAX = 500


class Approval(models.Model):
    """The verdict of a second person on a payment, or that it is still waited for. Decided once, kept for ever."""

    transaction = models.OneToOneField(Transaction, on_delete=models.PROTECT, primary_key=True, related_name="approval")
    requested_at = models.DateTimeField()
    above_in_wei = WeiField(help_text="The policy at that time: above this amount, payments need approval.")
    verdict = models.CharField(max_length=10, choices=Verdict.choices, blank=True, default=Verdict.OPEN)
    decided_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+", db_index=False
    )
    reason = models.CharField(max_length=REASON_LENGTH_MAX, blank=True)

    class Meta:
        # Open ones first, the oldest of them on top: PostgreSQL takes NULL for the largest value.
        ordering = ["-decided_at", "pk"]
        indexes = [models.Index(name="transactions_approvals_open", fields=["-decided_at", "transaction"])]
        constraints = [
            models.CheckConstraint(
                name="transactions_approval_decided_by_somebody",
                condition=Q(verdict="", decided_at__isnull=True, decided_by__isnull=True)
                | Q(verdict__in=["approved", "refused"], decided_at__isnull=False, decided_by__isnull=False)
                | Q(verdict="withdrawn", decided_at__isnull=False, decided_by__isnull=True),
            ),
            models.CheckConstraint(
                name="transactions_approval_refused_with_a_reason", condition=~Q(verdict="refused", reason="")
            ),
            models.CheckConstraint(
                name="transactions_approval_above_within_uint256",
                condition=Q(above_in_wei__gte=0, above_in_wei__lte=WEI_MAX),
            ),
        ]

    def __str__(self) -> str:
        return f"Approval of payment #{self.pk}"

    @property
    def is_open(self) -> bool:
        return self.verdict == Verdict.OPEN
