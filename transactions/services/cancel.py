"""Cancel a payment: at once while nothing of it is signed; afterwards by a transaction that takes its place.

Which of the two a block takes decides. Until then the money stays held.
"""

import datetime as dt

from django.db import transaction as db_transaction

from accounts.models import User
from accounts.services.audit import record_event
from transactions.detail import announce_change
from transactions.exceptions import NotCancellableError
from transactions.models import Transaction
from transactions.services.refuse import refuse_unsigned
from transactions.states import FailureReason, Kind, Stage, WaitReason


def cancel_transaction(row: Transaction, *, actor: User, reason: str = "", now: dt.datetime) -> Transaction:
    """Call a payment off and return it as it is then; asked twice, it is done once.

    :raises NotCancellableError: when a block holds it already, or it is final and was not cancelled.
    """
    with db_transaction.atomic():
        if not refuse_unsigned({row.pk: ""}, FailureReason.CANCELLED, now):
            _ask_for_replacement(row, now)
        row = Transaction.objects.select_related("user_account").get(pk=row.pk)
        cancelled = row.failure_reason == FailureReason.CANCELLED
        if not cancelled and (row.cancel_requested_at is None or row.is_final):
            raise NotCancellableError()
        record_event(...)
    return row
