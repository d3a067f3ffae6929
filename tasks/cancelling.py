"""Cancel a payment: what the API, the page and the admin call."""

from django.utils import timezone

from accounts.models import User
from tasks.nudge import nudge_broadcast
from transactions.models import Transaction
from transactions.queries import transaction_of
from transactions.services.cancel import cancel_transaction


def cancel_own_payment(*, user_id: int, transaction_id: int) -> Transaction:
    """Call off a payment of the user's own, and wake the broadcaster where its place has to be taken.

    :raises TransactionNotFoundError: when there is none, or it is another's.
    :raises NotCancellableError: when it is too late.
    """
    transaction_of(user_id, transaction_id)
    return cancel_payment(actor=User.objects.get(pk=user_id), transaction_id=transaction_id)


def cancel_payment(*, actor: User, transaction_id: int, reason: str = "") -> Transaction:
    """Call off anybody's payment, as staff may.

    :raises TransactionNotFoundError: when there is none.
    :raises NotCancellableError: when it is too late.
    """
    row = cancel_transaction(actor=actor, transaction_id=transaction_id, reason=reason, now=timezone.now())
    if not row.is_final:
        nudge_broadcast()
    return row
