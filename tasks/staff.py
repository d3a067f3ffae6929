"""What staff start by a button: a run to watch, an audit event, and a message to the workers."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

from celery import Task
from django.db import transaction as db_transaction
from django.utils import timezone
from kombu.exceptions import OperationalError

from accounts.models import User
from accounts.services.audit import clean_reason, record_audit, record_audit_of_each
from tasks.books import CHECK_LEDGER
from tasks.exceptions import BrokerUnavailableError, NothingChosenError
from tasks.housekeeping import check_ledger, reconcile_selected
from tasks.models import TaskRun, TaskStatus
from tasks.money import resume_retired, sweep_chosen
from tasks.progress import QUEUE_EXPIRY_SECONDS, create_run, fail_run
from tasks.resuming import RESUME
from tasks.sweeping import SWEEP
from transactions.models import Transaction, Wallet
from transactions.states import WalletRole

RECONCILED_AT_ONCE_MAX = 1_000
ASKED_AGAIN_AFTER = dt.timedelta(minutes=1)


def start_ledger_check(*, actor: User) -> TaskRun:
    """Have the books checked now; return the run to watch: the one under way if there is one.

    :raises BrokerUnavailableError: when no worker can be told.
    """
    under_way = TaskRun.objects.filter(name=CHECK_LEDGER, finished_at__isnull=True).first()
    if under_way is not None:
        if under_way.status == TaskStatus.QUEUED and timezone.now() - under_way.created_at > ASKED_AGAIN_AFTER:
            # Its message may be lost; should it be not, the second of the two does nothing.
            _enqueue(under_way, check_ledger, (str(under_way.pk),))
        return under_way
    with db_transaction.atomic():
        run = create_run(name=CHECK_LEDGER, owner=actor)
        record_audit(actor=actor, action="ledger.check_started", target=run)
    _enqueue(run, check_ledger, (str(run.pk),))
    return run


def start_reconciliation(*, actor: User, transaction_ids: Sequence[int]) -> TaskRun:
    """Have payments reconciled now; return the run to watch.

    :raises NothingChosenError: when there are none of these, or more than 1,000.
    :raises BrokerUnavailableError: when no worker can be told.
    """
    if len(transaction_ids) > RECONCILED_AT_ONCE_MAX:
        raise NothingChosenError(f"At most {RECONCILED_AT_ONCE_MAX:,} payments can be reconciled at once.")
    rows = list(Transaction.objects.filter(pk__in=transaction_ids).order_by("pk").only("pk"))
    if not rows:
        raise NothingChosenError("Choose at least one payment.")
    name = f"Reconcile payment #{rows[0].pk}" if len(rows) == 1 else f"Reconcile {len(rows):,} payments"
    with db_transaction.atomic():
        run = create_run(name=name, owner=actor, total=len(rows))
        record_audit_of_each(
            actor=actor, action="transaction.reconcile_started", targets=rows, details={"task_run": str(run.pk)}
        )
    _enqueue(run, reconcile_selected, (str(run.pk), [row.pk for row in rows]))
    return run


def start_sweep(*, actor: User, wallet_ids: Sequence[int] | None, reason: str) -> TaskRun:
    """Have deposits moved to a hot wallet now; return the run to watch.

    :param wallet_ids: of the deposit addresses to sweep; None means all.
    :raises ReasonRequiredError: when no reason is given.
    :raises NothingChosenError: when none of the wallets is a deposit address.
    :raises BrokerUnavailableError: when no worker can be told.
    """
    reason = clean_reason(reason)
    rows = Wallet.objects.filter(role=WalletRole.DEPOSIT, pk__in=wallet_ids or ()).order_by("pk")
    if wallet_ids is not None and not rows:
        raise NothingChosenError("Choose at least one deposit address.")
    ids = None if wallet_ids is None else [row.pk for row in rows]
    with db_transaction.atomic():
        run = create_run(name=SWEEP, owner=actor)
        details = {"task_run": str(run.pk)}
        if ids is None:
            record_audit(actor=actor, action="wallet.all_sweeps_started", target=run, reason=reason)
        else:
            record_audit_of_each(
                actor=actor, action="wallet.sweep_started", targets=rows, reason=reason, details=details
            )
    _enqueue(run, sweep_chosen, (str(run.pk), ids))
    return run


def start_resumption(*, actor: User, wallet_id: int, reason: str) -> TaskRun:
    """Have a retired wallet resumed where its key has to be; return the run to watch. Its end records the audit event.

    :raises ReasonRequiredError: when no reason is given.
    :raises BrokerUnavailableError: when no worker can be told.
    """
    reason = clean_reason(reason)
    run = create_run(name=RESUME, owner=actor)
    _enqueue(run, resume_retired, (str(run.pk), actor.pk, wallet_id, reason))
    return run


def _enqueue(run: TaskRun, task: "Task[Any, Any]", arguments: tuple[Any, ...]) -> None:
    """Tell the workers, after the run is committed; a run that nobody was told of says so."""
    try:
        task.apply_async(arguments, expires=QUEUE_EXPIRY_SECONDS)
    except OperationalError as error:
        unavailable = BrokerUnavailableError()
        fail_run(run.pk, error=str(unavailable))
        raise unavailable from error
