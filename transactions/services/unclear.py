"""Unclear: what a transaction that nobody can tell yet may have paid. Until then none of it is sent, nor given back."""

import datetime as dt

from django.db.models import QuerySet

from transactions.models import Transaction, Wallet
from transactions.states import WalletRole


def unclear_until() -> dt.datetime | None:
    """Return the time up to which accepted payments may have been paid by a transaction that nobody can tell yet.

    By one of a hot wallet, that is, also of one that is paused: deposit addresses never pay for anybody.
    """
    unclear = Wallet.objects.filter(role=WalletRole.HOT, unknown_since__isnull=False)
    return unclear.order_by("-unknown_since").values_list("unknown_since", flat=True).first()


def may_be_paid(accepted_at: dt.datetime) -> bool:
    """Say whether a payment that was accepted then, and isn't signed, may have been paid."""
    until = unclear_until()
    return until is not None and accepted_at <= until


def only_unclear(unsigned: QuerySet[Transaction]) -> QuerySet[Transaction]:
    """Return those of the payments that may have been paid."""
    until = unclear_until()
    return unsigned.none() if until is None else unsigned.filter(accepted_at__lte=until)


def without_unclear(unsigned: QuerySet[Transaction]) -> QuerySet[Transaction]:
    """Return the payments but those that may have been paid."""
    until = unclear_until()
    return unsigned if until is None else unsigned.filter(accepted_at__gt=until)
