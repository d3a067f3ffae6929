"""Celery tasks on the housekeeping queue, and those that staff start by a button. Each is a starter."""

import logging

from celery import shared_task
from celery.exceptions import SoftTimeLimitExceeded
from django.utils import timezone

from accounts.locks import advisory_lock
from accounts.services import alert_mail
from tasks.books import CHECK_LEDGER, check_ledger_with_progress
from tasks.progress import fail_dead_runs, refuse_run, track_run
from tasks.reconciling import reconcile_some
from tasks.retention import remove_expired_sessions, remove_old_runs

logger = logging.getLogger(__name__)


@shared_task(soft_time_limit=810, time_limit=840)
def check_ledger(run_id: str | None = None, **_kwargs: object) -> None:
    """Check every balance and payment against the entries: each night, and when staff ask."""
    with advisory_lock("check_ledger") as is_mine:
        if not is_mine:
            if run_id is not None:
                refuse_run(run_id, error="Another check was under way.")
            return
        with track_run(run_id, name=CHECK_LEDGER) as progress:
            if progress is not None:
                check_ledger_with_progress(progress)


@shared_task(soft_time_limit=540, time_limit=600)
def clean_up(**_kwargs: object) -> None:
    """Delete what is old, and close the runs whose worker died."""
    with advisory_lock("clean_up") as is_mine:
        if is_mine:
            now = timezone.now()
            fail_dead_runs(now)
            runs, sessions = remove_old_runs(now), remove_expired_sessions(now)
            logger.info("Removed %d old task runs and %d expired sessions.", runs, sessions)


@shared_task(soft_time_limit=20, time_limit=30)
def close_dead_runs(**_kwargs: object) -> None:
    """Close the runs whose worker died, so that no bar stands still for ever."""
    fail_dead_runs(timezone.now())


@shared_task(soft_time_limit=20, time_limit=30)
def mail_alerts(**_kwargs: object) -> None:
    """Tell staff of new alerts; a mail server that doesn't take them gets them with a later tick."""
    with advisory_lock("mail_alerts") as is_mine:
        if is_mine:
            try:
                alert_mail.mail_alerts(timezone.now())
            except (OSError, SoftTimeLimitExceeded) as error:
                logger.warning("The mail server takes no alerts (%s); they are kept for later.", type(error).__name__)


# On the money queue: only its workers can read the wallets' keys, and a payment not yet sent is sent by this.
@shared_task(queue="money", soft_time_limit=220, time_limit=240)
def reconcile_selected(run_id: str, transaction_ids: list[int], position: int = 0, **_kwargs: object) -> None:
    """Reconcile the payments that staff chose, a few at a time so that others get their turn in between."""
    position = reconcile_some(run_id, transaction_ids, position)
    if position < len(transaction_ids):
        reconcile_selected.apply_async((run_id, transaction_ids, position))
