"""Limits: what an account's policy says about a payment.

Amounts are counted without fees: a policy is about what recipients get. A day is the last 24 hours, and all that was
asked for in it counts, unless it has failed: what waits for approval too.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Sum

from accounts.money import format_ether
from transactions.exceptions import AmountAbovePolicyError, DailyAmountExceededError, RecipientNotAllowedError
from transactions.models import AccountPolicy, AllowedRecipient, Transaction
from transactions.states import Kind, Status

DAY = dt.timedelta(hours=24)
REFUSED_BY_POLICY = (RecipientNotAllowedError, AmountAbovePolicyError, DailyAmountExceededError)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a policy allows a payment to one recipient; None is without a limit."""

    amount_max_in_wei: int | None
    daily_amount_max_in_wei: int | None
    approval_above_in_wei: int | None
    is_recipient_allowed: bool

    def check_terms(self, amount_in_wei: int) -> None:
        """Judge a payment by itself.

        :raises RecipientNotAllowedError: when only recipients on a list are paid, and this one isn't on it.
        :raises AmountAbovePolicyError: when it is more than may be paid at once.
        """
        if not self.is_recipient_allowed:
            raise RecipientNotAllowedError
        if self.amount_max_in_wei is not None and amount_in_wei > self.amount_max_in_wei:
            raise AmountAbovePolicyError(
                f"At most {_ether(self.amount_max_in_wei)} may be paid from this account at once."
            )

    def check_day(self, amount_in_wei: int, *, paid_in_wei: int) -> None:
        """Judge a payment by what was paid before it.

        :param paid_in_wei: in the last 24 hours, without this payment.
        :raises DailyAmountExceededError: when both together are more than may be paid in a day.
        """
        if self.daily_amount_max_in_wei is None:
            return
        left_in_wei = max(0, self.daily_amount_max_in_wei - paid_in_wei)
        if amount_in_wei > left_in_wei:
            raise DailyAmountExceededError(
                f"At most {_ether(self.daily_amount_max_in_wei)} may be paid from this account within 24 hours, "
                f"and {_ether(left_in_wei)} of it are left."
            )

    def needs_approval(self, amount_in_wei: int) -> bool:
        """Say whether a second person has to look at a payment."""
        return self.approval_above_in_wei is not None and amount_in_wei > self.approval_above_in_wei


NO_LIMITS = Limits(None, None, None, is_recipient_allowed=True)


def limits_of(account_id: int, to_public_address: str) -> Limits:
    """Return the limits of an account's payments to a recipient as they are now."""
    policy = AccountPolicy.objects.filter(pk=account_id).values().first()
    return read_limits(policy, to_public_address)


def read_limits(policy: Mapping[str, Any] | None, to_public_address: str) -> Limits:
    """Return the limits of payments to a recipient.

    :param policy: the columns of the account's policy, if it has one.
    """
    if policy is None:
        return NO_LIMITS
    listed = AllowedRecipient.objects.filter(account_id=policy["account_id"], address=to_public_address)
    return Limits(
        amount_max_in_wei=policy["amount_max_in_wei"],
        daily_amount_max_in_wei=policy["daily_amount_max_in_wei"],
        approval_above_in_wei=policy["approval_above_in_wei"],
        is_recipient_allowed=not policy["is_allow_list_only"] or listed.exists(),
    )


def check_limits(limits: Limits, *, account_id: int, amount_in_wei: int, now: dt.datetime) -> None:
    """Say what would become of a payment now, without making it.

    :raises RecipientNotAllowedError: see `Limits.check_terms`.
    :raises AmountAbovePolicyError: see `Limits.check_terms`.
    :raises DailyAmountExceededError: see `Limits.check_day`.
    """
    limits.check_terms(amount_in_wei)
    if limits.daily_amount_max_in_wei is not None:
        limits.check_day(amount_in_wei, paid_in_wei=paid_in_a_day(account_id, now))


def paid_in_a_day(account_id: int, now: dt.datetime) -> int:
    """Return the wei that were to be paid from an account in the 24 hours before `now`, what failed left out."""
    payments = Transaction.objects.filter(kind=Kind.PAYMENT, user_account_id=account_id, accepted_at__gt=now - DAY)
    paid: int | None = payments.exclude(status=Status.FAILED).aggregate(total=Sum("transaction_amount_in_wei"))["total"]
    return paid or 0


def _ether(amount_in_wei: int) -> str:
    return f"{format_ether(amount_in_wei)} ETH"
