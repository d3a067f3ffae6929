"""Cancel a payment: at once while nothing of it is signed; afterwards by a transaction that takes its place.

Which of the two a block takes decides. Until then the money stays held.
"""

import datetime as dt

from django.db import transaction as db_transaction

from accounts.models import User
from accounts.services.audit import clean_reason, record_audit
from transactions.detail import announce_change
from transactions.exceptions import NotCancellableError, TransactionNotFoundError
from transactions.models import Transaction
from transactions.services.approvals import withdraw_request
from transactions.services.refuse import refuse_unsigned
from transactions.states import UNSIGNED, FailureReason, Kind, Stage, WaitReason


def cancel_transaction(*, actor: User, transaction_id: int, reason: str = "", now: dt.datetime) -> Transaction:
    """Call a payment or a sweep off and return it as it is then. Asked for again, nothing happens again.

    Whether the actor may do so is the caller's to check.

    :raises TransactionNotFoundError: when there is no such payment.
    :raises NotCancellableError: when a block holds it already, or it is over without having been cancelled.
    :raises ReasonRequiredError: when the reason is longer than 500 characters.
    """
    reason = clean_reason(reason, is_required=False)
    with db_transaction.atomic():
        row = (
            Transaction.objects.select_for_update(no_key=True, of=("self",))
            .filter(pk=transaction_id, kind__in=[Kind.PAYMENT, Kind.SWEEP])
            .first()
        )
        if row is None:
            raise TransactionNotFoundError
        if row.failure_reason == FailureReason.CANCELLED or (row.cancel_requested_at and not row.is_final):
            return row
        if row.stage in UNSIGNED:
            if row.is_in_review:
                withdraw_request(row.pk, now)
            refuse_unsigned({row.pk: ""}, FailureReason.CANCELLED, now)
            action = "payment.cancelled"
        elif row.stage in (Stage.SIGNED, Stage.BROADCAST):
            announce_change([row.pk])
            # What it has waited for may not be what its cancel waits for.
            columns = {"cancel_requested_at": now, "wait_reason": WaitReason.NOTHING.value}
            Transaction.objects.filter(pk=row.pk).update(**columns)
            action = "payment.cancel_requested"
        else:
            raise NotCancellableError
        record_audit(actor=actor, action=action, target=row, reason=reason)
        row.refresh_from_db()
    return row
