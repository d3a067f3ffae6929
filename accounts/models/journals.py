"""Journals and their entries: why every balance is what it is."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models.accounts import Account
from accounts.money import WEI_MAX, WeiField


class JournalKind(models.TextChoices):
    """The business event a journal records; with its source it is unique."""

    SETTLEMENT = "settlement", "payment settled"
    ADJUSTMENT = "adjustment", "credit or debit by staff"
    WALLET_FUNDING = "wallet_funding", "hot wallet funded"
    DEPOSIT = "deposit", "deposit credited"
    DEPOSIT_REVERSAL = "deposit_reversal", "deposit reversed"
    FOUND = "found", "ether found at an address"
    MISSING = "missing", "ether missing at an address"
    REVERSAL = "reversal", "settlement reversed"
    LOSS = "loss", "loss covered by the desk"
    RECOVERY = "recovery", "covered loss recovered"


class Journal(models.Model):
    """One business event; its entries sum to zero. Append-only."""

    kind = models.CharField(max_length=20, choices=JournalKind.choices)
    source = models.CharField(max_length=100, help_text="What caused it: with the kind, it can happen only once.")
    description = models.CharField(max_length=500, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+", db_index=False
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(name="accounts_journal_posted_once", fields=["kind", "source"]),
            models.CheckConstraint(name="accounts_journal_kind_known", condition=Q(kind__in=list(JournalKind.values))),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.source}"


class Entry(models.Model):
    """A change of one account's balance: credit above zero, debit below. Append-only."""

    journal = models.ForeignKey(Journal, on_delete=models.PROTECT, related_name="entries")
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="entries", db_index=False)
    amount_in_wei = WeiField()
    balance_after_in_wei = WeiField()

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "entries"
        indexes = [models.Index(name="accounts_entry_by_account", fields=["account", "id"])]
        constraints = [
            models.CheckConstraint(name="accounts_entry_amount_not_zero", condition=~Q(amount_in_wei=0)),
            models.CheckConstraint(
                name="accounts_entry_amount_within_uint256",
                condition=Q(amount_in_wei__gte=-WEI_MAX, amount_in_wei__lte=WEI_MAX),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.amount_in_wei} wei on account #{self.account_id}"
