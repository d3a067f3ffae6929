"""Submit a payment: what the API and the page both call."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.utils import timezone

from accounts.cache import cache_commands
from accounts.cache_locks import cache_locks
from accounts.exceptions import LockHeldError
from tasks.nudge import nudge_broadcast
from transactions.exceptions import AccountLockedError
from transactions.services.accept import Acceptance, accept_transaction
from transactions.states import Stage


def submit_payment(
    *, user_id: int, user_account_id: int, to_public_address: str, amount_in_wei: int, idempotency_key: str | None
) -> Acceptance:
    """Accept a payment under the account's lock and wake the broadcaster, unless it waits for approval.

    The lock spares the database a queue on one row; what keeps the money safe is the database. Where the cache can't
    be reached, it is done without.

    :raises AccountLockedError: when other payments from this account keep it locked for half a second.
    :raises AccountsError: see `accept_transaction`.
    :raises TransactionsError: see `accept_transaction`.
    """
    with cache_commands().forgetting_together(), account_lock(user_account_id):
        acceptance = accept_transaction(
            user_id=user_id,
            user_account_id=user_account_id,
            to_public_address=to_public_address,
            amount_in_wei=amount_in_wei,
            idempotency_key=idempotency_key,
            now=timezone.now(),
        )
    if not acceptance.replayed and acceptance.detail["stage"] == Stage.ACCEPTED:
        nudge_broadcast()
    return acceptance


@contextmanager
def account_lock(user_account_id: int) -> Iterator[None]:
    """Hold an account's lock in the cache, or do without where it can't be reached.

    :raises AccountLockedError: when it isn't free within `ACCOUNT_LOCK_WAIT_SECONDS`.
    """
    locks = cache_locks()
    key = f"account-lock:{user_account_id}"
    try:
        lock = locks.acquire(key, settings.ACCOUNT_LOCK_SECONDS, settings.ACCOUNT_LOCK_WAIT_SECONDS)
    except LockHeldError:
        raise AccountLockedError from None
    try:
        yield
    finally:
        if lock is not None:
            locks.release(lock)
