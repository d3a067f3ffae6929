"""Accounts, the double-entry ledger, holds, API tokens and the audit trail."""

import uuid

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from accounts.money import WEI_MAX, WeiField


class User(AbstractUser):
    """A person who signs in, or the program behind an API token."""


class AccountKind(models.TextChoices):
    """Whose money an account counts. All but USER are the desk's own, opposite to what it owes."""

    USER = "user", "user"
    HOT_WALLET = "hot_wallet", "hot wallet"
    FEE_INCOME = "fee_income", "fee income"
    NETWORK_FEES = "network_fees", "network fees"
    EXTERNAL_FUNDING = "external_funding", "external funding"


class Account(models.Model):
    """A balance in wei, with its history in entries.

    Balances are what the desk owes: positive for users. An asset of the desk (a hot wallet) or an expense
    (network fees) is therefore negative here, and all accounts together are zero.
    """

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="accounts"
    )
    kind = models.CharField(max_length=20, choices=AccountKind.choices, default=AccountKind.USER)
    name = models.CharField(max_length=100)
    current_balance_in_wei = WeiField(default=0, editable=False)
    available_balance_in_wei = WeiField(default=0, editable=False)
    frozen_at = models.DateTimeField(null=True, blank=True, editable=False)
    frozen_reason = models.CharField(max_length=500, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(
                name="accounts_account_available_not_negative",
                condition=~Q(kind="user") | Q(available_balance_in_wei__gte=0),
            ),
            models.CheckConstraint(
                name="accounts_account_available_within_current",
                condition=~Q(kind="user") | Q(available_balance_in_wei__lte=F("current_balance_in_wei")),
            ),
            models.CheckConstraint(
                name="accounts_account_current_within_uint256",
                condition=~Q(kind="user") | Q(current_balance_in_wei__lte=WEI_MAX),
            ),
            models.CheckConstraint(
                name="accounts_account_only_users_accounts_have_an_owner",
                condition=Q(kind="user", owner__isnull=False) | (~Q(kind="user") & Q(owner__isnull=True)),
            ),
            models.CheckConstraint(
                name="accounts_account_frozen_with_a_reason",
                condition=Q(frozen_at__isnull=True, frozen_reason="")
                | (Q(frozen_at__isnull=False) & ~Q(frozen_reason="")),
            ),
            models.CheckConstraint(name="accounts_account_kind_known", condition=Q(kind__in=list(AccountKind.values))),
            models.UniqueConstraint(
                name="accounts_account_one_for_each_system_kind",
                fields=["kind"],
                condition=Q(kind__in=["fee_income", "network_fees", "external_funding"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} (#{self.pk})"

    @property
    def is_frozen(self) -> bool:
        return self.frozen_at is not None

    @property
    def held_balance_in_wei(self) -> int:
        """Return the wei reserved by payments under way."""
        return self.current_balance_in_wei - self.available_balance_in_wei


class JournalKind(models.TextChoices):
    """The business event a journal records; with its source it is unique."""

    SETTLEMENT = "settlement", "payment settled"
    ADJUSTMENT = "adjustment", "credit or debit by staff"
    WALLET_FUNDING = "wallet_funding", "hot wallet funded"


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


class ApiToken(models.Model):
    """A bearer token (RFC 6750) of a user's program; only its SHA-256 is kept, it is shown once."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=100)
    start = models.CharField(max_length=12, editable=False, help_text="How the token begins, to tell it apart.")
    token_hash = models.CharField(max_length=64, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["-id"]
        verbose_name = "API token"
        constraints = [models.UniqueConstraint(name="accounts_apitoken_hash_used_once", fields=["token_hash"])]

    def __str__(self) -> str:
        return f"{self.name} ({self.start}…)"


class AuditEvent(models.Model):
    """Who did what to which row, when and why. Append-only."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    at = models.DateTimeField(default=timezone.now)
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", null=True)
    action = models.CharField(max_length=50)
    target_type = models.CharField(max_length=50)
    target_id = models.CharField(max_length=100)
    reason = models.CharField(max_length=500, blank=True)
    details = models.JSONField(default=dict)

    class Meta:
        ordering = ["-at", "-id"]
        indexes = [
            models.Index(name="accounts_audit_by_target", fields=["target_type", "target_id"]),
            models.Index(name="accounts_audit_by_time", fields=["at", "id"]),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.target_type} {self.target_id}"
