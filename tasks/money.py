"""Celery tasks on the money queue. Each is a starter: one service call; the rows are the queue."""

import logging

from celery import shared_task
from django.utils import timezone
from kombu.exceptions import OperationalError

from accounts.cache import cache_commands
from accounts.models import AlertKind
from accounts.services.alerts import raise_alert
from tasks.exceptions import NotPermittedAnyMoreError
from tasks.progress import describe_failure, track_run
from tasks.resuming import RESUME, resume_now
from tasks.sweeping import SWEEP, sweep_now
from transactions.chain.exceptions import ChainError, ChainForkError
from transactions.exceptions import WalletStateError
from transactions.services import expire, intake, reconcile, reserves_reports, standstill, sweep, watch
from transactions.services.broadcast import broadcast_payments, has_work
from transactions.services.cancel import cancel_wished
from transactions.services.follow import follow_chain
from transactions.services.queue import measure_queue
from transactions.services.wallet_care import watch_balances
from transactions.services.watchdog import claim_overdue, return_claims

logger = logging.getLogger(__name__)

NUDGED_KEY = "nudged:broadcast"


@shared_task
def broadcast(**_kwargs: object) -> None:
    """Send whatever waits to be sent."""
    # Forgotten first: a payment accepted from now on may come too late for this run and nudges anew.
    cache_commands().forget([NUDGED_KEY])
    broadcast_payments()


@shared_task
def follow(**_kwargs: object) -> None:
    """Take in the newest block; wake the broadcaster for payments that no nudge was heard for.

    What was called off while it might have been paid ends here, once that is clear.
    """
    measure_queue(timezone.now())
    try:
        if has_work():
            broadcast.apply_async(expires=10)
    except OperationalError:
        logger.warning("The broker does not answer; the broadcaster is woken with a later tick.")
    try:
        follow_chain()
    except ChainForkError as error:
        raise_alert(kind=AlertKind.DEEP_REORG, subject="all recorded blocks", message=str(error), now=timezone.now())
    except ChainError as error:
        logger.warning("The chain can't be followed now: %s", error)
    cancel_wished(timezone.now())


@shared_task
def expire_payments(**_kwargs: object) -> None:
    """Call off what has waited too long to be sent."""
    expire.expire_payments(timezone.now())


@shared_task
def watch_wallets(**_kwargs: object) -> None:
    """Tell staff of wallets that hold too little."""
    try:
        watch_balances(timezone.now())
    except ChainError as error:
        logger.warning("The wallets' balances can't be read now: %s", error)


@shared_task
def watch_desk(**_kwargs: object) -> None:
    """Tell staff of nodes that are not well, of payments, wallets and keys that need them, and of what stands still.

    In queue money, since it may be the workers of another one that are down.
    """
    now = timezone.now()
    watch.watch_payments(now)
    watch.watch_retired_wallets(now)
    intake.watch_intake(now)
    watch.watch_nodes(now)
    standstill.watch_standstill(now)
    watch.watch_keys(now)


@shared_task
def sweep_deposits(**_kwargs: object) -> None:
    """Move deposits to a hot wallet."""
    try:
        sweep.sweep_deposits(timezone.now())
    except ChainError as error:
        logger.warning("Deposits can't be swept now: %s", error)


@shared_task
def sweep_chosen(run_id: str, wallet_ids: list[int] | None, **_kwargs: object) -> None:
    """Move deposits to a hot wallet because staff want it now; from all addresses when none are named."""
    with track_run(run_id, name=SWEEP) as progress:
        if progress is None:
            return
        try:
            progress.finish(sweep_now(wallet_ids))
        except ChainError as error:
            progress.fail(describe_failure(error))


@shared_task
def resume_retired(run_id: str, actor_id: int, wallet_id: int, reason: str, **_kwargs: object) -> None:
    """Resume a retired wallet: only workers of this queue can see whether its key is back."""
    with track_run(run_id, name=RESUME) as progress:
        if progress is None:
            return
        try:
            progress.finish(resume_now(actor_id=actor_id, wallet_id=wallet_id, reason=reason))
        except (NotPermittedAnyMoreError, WalletStateError) as error:
            progress.fail(describe_failure(error))


@shared_task
def sign_reserves_reports(**_kwargs: object) -> None:
    """Sign the reports of reserves that aren't yet: only workers of this queue can read the keys."""
    reserves_reports.sign_reports(timezone.now())


@shared_task
def sweep_overdue(**_kwargs: object) -> None:
    """Start a look at each payment whose next step is overdue."""
    now = timezone.now()
    claimed = claim_overdue(now)
    while claimed:
        try:
            reconcile_transaction.apply_async((claimed[0],), expires=90)
        except OperationalError:
            # A look that nobody was asked for is no look: the rest is overdue again.
            return_claims(claimed, now)
            raise
        del claimed[0]


@shared_task(autoretry_for=(ChainError,), retry_backoff=2, retry_backoff_max=30, max_retries=3)
def reconcile_transaction(txn_id: int, **_kwargs: object) -> str:
    """Bring one payment as far as the chain allows, and return its stage."""
    return reconcile.reconcile_transaction(txn_id, timezone.now()).value
