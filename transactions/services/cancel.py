"""Cancel a payment: at once while nothing of it is signed; afterwards by a transaction that takes its place.

Which of the two a block takes decides. Until then the money stays held; and so it does while a transaction that nobody
can tell may have paid what we have not signed.
"""

import datetime as dt

from django.db import transaction as db_transaction

from accounts.models import User
from accounts.services.audit import clean_reason, record_audit
from transactions.detail import announce_change
from transactions.exceptions import NotCancellableError, TransactionNotFoundError
from transactions.models import Transaction
from transactions.services.refuse import refuse_unsigned
from transactions.services.unclear import without_unclear
from transactions.states import UNSIGNED, FailureReason, Kind, Stage, WaitReason

AT_ONCE = 500


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
        if refuse_unsigned({row.pk: ""}, FailureReason.CANCELLED, now):
            action = "payment.cancelled"
        elif row.stage in (*UNSIGNED, Stage.SIGNED, Stage.BROADCAST):
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


def cancel_wished(now: dt.datetime) -> int:
    """End what was called off while a transaction that nobody could tell may have paid it; return how many.

    What turned out to have been paid is SIGNED by then, and so not among them.
    """
    wished = Transaction.objects.filter(stage__in=UNSIGNED, cancel_requested_at__isnull=False)
    ids = without_unclear(wished).order_by("pk").values_list("pk", flat=True)[:AT_ONCE]
    return len(refuse_unsigned(dict.fromkeys(ids, ""), FailureReason.CANCELLED, now))
