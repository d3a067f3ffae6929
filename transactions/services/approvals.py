"""Approvals: a second person lets a payment go on, or ends it. One verdict, given once.

Whoever decides holds the payment's row: of two at once, or of one and a cancel, the first wins and the other is told.
"""

import datetime as dt

from django.db import transaction as db_transaction

from accounts.exceptions import AccountFrozenError
from accounts.models import User
from accounts.services.audit import clean_reason, record_audit
from transactions.exceptions import AlreadyDecidedError, ApprovalNotFoundError, MayBePaidError, OwnAccountError
from transactions.models import Approval, Transaction
from transactions.services.moves import move_transactions
from transactions.services.refuse import refuse_unsigned
from transactions.services.watchdog import first_check_at
from transactions.states import FailureReason, Stage, Verdict


@db_transaction.atomic
def approve_payment(*, actor: User, transaction_id: int, reason: str = "", now: dt.datetime) -> Transaction:
    """Let a payment that waits for approval go on, and return it.

    Whether the actor may approve payments at all is the caller's to check.

    :raises ApprovalNotFoundError: when there is no such payment, or it needed no approval.
    :raises OwnAccountError: when it is from an account of the actor's own.
    :raises AlreadyDecidedError: when it was approved, refused or called off before.
    :raises AccountFrozenError: when its account was frozen meanwhile.
    """
    row = _lock_undecided(actor, transaction_id)
    if row.user_account.is_frozen:
        raise AccountFrozenError
    reason = clean_reason(reason, is_required=False)
    _decide(row, Verdict.APPROVED, actor, reason, now)
    move_transactions(
        [row.pk],
        old=[Stage.REVIEW],
        new=Stage.ACCEPTED,
        constants={"approved_at": now, "next_check_at": first_check_at(now)},
    )
    row.refresh_from_db()
    return row


@db_transaction.atomic
def refuse_payment(*, actor: User, transaction_id: int, reason: str, now: dt.datetime) -> Transaction:
    """End a payment that waits for approval, give its funds back, and return it. Its owner is told the reason.

    Whether the actor may refuse payments at all is the caller's to check.

    :raises ReasonRequiredError: when no reason is given.
    :raises ApprovalNotFoundError: when there is no such payment, or it needed no approval.
    :raises OwnAccountError: when it is from an account of the actor's own.
    :raises AlreadyDecidedError: when it was approved, refused or called off before.
    :raises MayBePaidError: when a transaction that nobody can tell yet may have paid it.
    """
    reason = clean_reason(reason)
    row = _lock_undecided(actor, transaction_id)
    _decide(row, Verdict.REFUSED, actor, reason, now)
    if not refuse_unsigned({row.pk: reason}, FailureReason.REFUSED, now):
        raise MayBePaidError
    row.refresh_from_db()
    return row


def _lock_undecided(actor: User, transaction_id: int) -> Transaction:
    """Lock a payment until the commit and return it, if this person may decide on it now."""
    rows = Transaction.objects.select_for_update(no_key=True, of=("self",)).select_related("user_account")
    row = rows.filter(pk=transaction_id).first()
    approval = Approval.objects.select_related("decided_by").filter(pk=transaction_id).first()
    if row is None or approval is None:
        raise ApprovalNotFoundError
    if row.user_account.owner_id == actor.pk:
        raise OwnAccountError("This payment is from your own account: somebody else has to decide.")
    if not approval.is_open:
        raise AlreadyDecidedError(_describe(approval))
    return row


def _decide(row: Transaction, verdict: Verdict, actor: User, reason: str, now: dt.datetime) -> None:
    """Record the verdict; the database lets the payment leave the review by it only."""
    Approval.objects.filter(pk=row.pk).update(verdict=verdict, decided_at=now, decided_by=actor, reason=reason)
    record_audit(actor=actor, action=f"payment.{verdict}", target=row, reason=reason)


def _describe(approval: Approval) -> str:
    if approval.decided_by is None or approval.decided_at is None:
        return f"Payment #{approval.pk} was called off before a verdict."
    at = f"{approval.decided_at:%Y-%m-%d %H:%M}"
    return f"Payment #{approval.pk} was {approval.verdict} before, by {approval.decided_by} on {at} UTC."
