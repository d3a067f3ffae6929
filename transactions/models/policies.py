"""Policies: what may be paid from an account, and what needs a second person."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models import Account
from accounts.money import WEI_MAX, WeiField, format_ether

NOTE_LENGTH_MAX = 200


class AccountPolicy(models.Model):
    """What a user's account may pay, as staff set it. Amounts are counted without fees; empty is without a limit.

    Its key is the account's own: the policy of account 4 is policy 4.
    """

    account = models.OneToOneField(Account, on_delete=models.PROTECT, primary_key=True, related_name="policy")
    amount_max_in_wei = WeiField("largest amount", null=True, blank=True)
    daily_amount_max_in_wei = WeiField("largest amount in 24 hours", null=True, blank=True)
    approval_above_in_wei = WeiField("approval above", null=True, blank=True)
    is_allow_list_only = models.BooleanField("allow-list only", default=False)
    changed_at = models.DateTimeField()

    class Meta:
        ordering = ["pk"]
        verbose_name = "policy"
        verbose_name_plural = "policies"
        constraints = [
            models.CheckConstraint(
                name="transactions_accountpolicy_amount_max_within_uint256",
                condition=Q(amount_max_in_wei__isnull=True)
                | Q(amount_max_in_wei__gt=0, amount_max_in_wei__lte=WEI_MAX),
            ),
            models.CheckConstraint(
                name="transactions_accountpolicy_daily_max_within_uint256",
                condition=Q(daily_amount_max_in_wei__isnull=True)
                | Q(daily_amount_max_in_wei__gt=0, daily_amount_max_in_wei__lte=WEI_MAX),
            ),
            models.CheckConstraint(
                name="transactions_accountpolicy_approval_above_within_uint256",
                condition=Q(approval_above_in_wei__isnull=True)
                | Q(approval_above_in_wei__gte=0, approval_above_in_wei__lte=WEI_MAX),
            ),
        ]

    def __str__(self) -> str:
        return f"Policy of account #{self.pk}"

    @property
    def rules(self) -> list[str]:
        """Return what it says, a rule each; nothing where there is no limit left."""
        rules = []
        if self.amount_max_in_wei is not None:
            rules.append(f"at most {format_ether(self.amount_max_in_wei)} ETH at once")
        if self.daily_amount_max_in_wei is not None:
            rules.append(f"at most {format_ether(self.daily_amount_max_in_wei)} ETH within 24 hours")
        if self.approval_above_in_wei is not None:
            rules.append(f"approval above {format_ether(self.approval_above_in_wei)} ETH")
        if self.is_allow_list_only:
            rules.append("only recipients on its allow-list")
        return rules


class AllowedRecipient(models.Model):
    """An address that an account may pay while its policy allows none but those on its list."""

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="allowed_recipients", db_index=False)
    address = models.CharField(max_length=42, help_text="In EIP-55 form.")
    note = models.CharField(max_length=NOTE_LENGTH_MAX, blank=True)
    allowed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["account_id", "id"]
        constraints = [
            models.UniqueConstraint(
                name="transactions_allowedrecipient_once_for_each_account", fields=["account", "address"]
            ),
            models.CheckConstraint(
                name="transactions_allowedrecipient_address_well_formed",
                condition=Q(address__regex="^0x[0-9a-fA-F]{40}$"),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.address} for account #{self.account_id}"
