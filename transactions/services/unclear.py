"""Unclear: what a transaction that nobody can tell yet may have paid. Until then none of it is sent, nor given back."""

import datetime as dt

from django.db.models import QuerySet

from transactions.models import Transaction
from transactions.services.nonces import unclear_until


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
