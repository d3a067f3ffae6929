"""What a run made, for staff to look at: the rows of the time between its start and its end."""

from dataclasses import dataclass, field

from django.contrib.auth import get_permission_codename
from django.db import models
from django.urls import reverse
from django.utils.http import urlencode

from accounts.models import User
from tasks.books import CHECK_LEDGER
from tasks.models import TaskRun
from tasks.sweeping import SWEEP
from transactions.models import ReservesReport, Transaction
from transactions.states import Kind


@dataclass(frozen=True, slots=True)
class Made:
    """The rows that runs of one name make, and the column that tells when."""

    model: type[models.Model]
    made_at: str
    words: str
    filters: dict[str, str] = field(default_factory=dict)


MADE_BY = {
    CHECK_LEDGER: Made(ReservesReport, "made_at", "Reserves reports"),
    SWEEP: Made(Transaction, "accepted_at", "Sweeps ordered", {"kind__exact": Kind.SWEEP.value}),
}


def link_to_results(run: TaskRun, user: User) -> tuple[str, str] | None:
    """Return words and address of what a finished run made, in the admin; None if nothing, or not for this user."""
    made = MADE_BY.get(run.name)
    if made is None or run.started_at is None or run.finished_at is None:
        return None
    opts = made.model._meta
    if not (user.is_staff and user.has_perm(f"{opts.app_label}.{get_permission_codename('view', opts)}")):
        return None
    # In the words of the admin's own filters, so that its list shows the same rows.
    terms = {
        f"{made.made_at}__gte": run.started_at.isoformat(),
        f"{made.made_at}__lt": run.finished_at.isoformat(),
        **made.filters,
    }
    rows = list(made.model._default_manager.filter(**terms).order_by("pk")[:2])
    if not rows:
        return None
    page = f"admin:{opts.app_label}_{opts.model_name}"
    if len(rows) == 1:
        return str(rows[0]), reverse(f"{page}_change", args=[rows[0].pk])
    return made.words, f"{reverse(f'{page}_changelist')}?{urlencode(terms)}"
