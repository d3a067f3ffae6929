"""End payments before anything of them was signed: the whole hold goes back."""

import datetime as dt
from collections.abc import Collection, Mapping

from django.db import transaction as db_transaction

from accounts.ledger import post
from transactions.models import Approval, Transaction
from transactions.services.moves import move_transactions
from transactions.services.unclear import without_unclear
from transactions.states import UNSIGNED, FailureReason, Kind, Stage, Status, Verdict, WaitReason


def refuse_unsigned(details: Mapping[int, str], reason: FailureReason, now: dt.datetime) -> list[int]:
    """Fail those of the payments of which nothing is signed yet; return their ids.

    Those that a transaction which nobody can tell may have paid are left alone: their funds may be gone. Where a
    verdict was waited for, the request is withdrawn.

    :param details: what to tell about each, by its id.
    """
    if not details:
        return []
    with db_transaction.atomic():
        ids = _lock_refusable(details)
        Approval.objects.filter(pk__in=ids, verdict=Verdict.OPEN).update(verdict=Verdict.WITHDRAWN, decided_at=now)
        moved = move_transactions(
            ids,
            old=UNSIGNED,
            new=Stage.SETTLED,
            columns={"failure_detail": [details[row_id][:500] for row_id in ids]},
            constants={
                "status": Status.FAILED.value,
                "failure_reason": reason.value,
                "wait_reason": WaitReason.NOTHING.value,
                "settled_at": now,
                "next_check_at": None,
                "needs_attention": False,
            },
        )
        # What the desk moves between its own wallets holds nothing.
        payments = Transaction.objects.filter(pk__in=moved, kind=Kind.PAYMENT).order_by("pk")
        post(now=now, release_holds=[row.ledger_source for row in payments])
    return moved


def _lock_refusable(ids: Collection[int]) -> list[int]:
    """Lock payments until the commit and return those that nothing was signed for, neither by us nor by anybody."""
    rows = Transaction.objects.select_for_update(no_key=True).filter(pk__in=ids, stage__in=UNSIGNED).order_by("pk")
    locked = Transaction.objects.filter(pk__in=list(rows.values_list("pk", flat=True)))
    # Asked after the lock: nobody has waited for it long since it was known to be clear.
    return list(without_unclear(locked).order_by("pk").values_list("pk", flat=True))
