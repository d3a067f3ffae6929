"""Approve a payment: what the admin calls."""

from django.utils import timezone

from accounts.models import User
from tasks.nudge import nudge_broadcast
from transactions.models import Transaction
from transactions.services.approvals import approve_payment


def approve_and_send(*, actor: User, transaction_id: int, reason: str = "") -> Transaction:
    """Let a payment that waits for approval go on, and wake the broadcaster for it.

    :raises TransactionsError: see `approve_payment`.
    :raises AccountsError: see `approve_payment`.
    """
    row = approve_payment(actor=actor, transaction_id=transaction_id, reason=reason, now=timezone.now())
    nudge_broadcast()
    return row
