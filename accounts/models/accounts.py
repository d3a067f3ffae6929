"""Accounts: balances in wei."""

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from accounts.money import WEI_MAX, WeiField


class AccountKind(models.TextChoices):
    """Whose money an account counts. All but USER are the desk's own, opposite to what it owes."""

    USER = "user", "user"
    HOT_WALLET = "hot_wallet", "hot wallet"
    DEPOSIT_ADDRESS = "deposit_address", "deposit address"
    FEE_INCOME = "fee_income", "fee income"
    NETWORK_FEES = "network_fees", "network fees"
    EXTERNAL_FUNDING = "external_funding", "external funding"
    LOSSES = "losses", "losses"


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
                condition=Q(kind__in=["fee_income", "network_fees", "external_funding", "losses"]),
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
