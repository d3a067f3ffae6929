"""End payments before anything of them was signed: the whole hold goes back."""

import datetime as dt
from collections.abc import Mapping

from django.db import transaction as db_transaction

from accounts.ledger import post
from transactions.models import Transaction
from transactions.services.moves import move_transactions
from transactions.states import UNSIGNED, FailureReason, Kind, Stage, Status, WaitReason


def refuse_unsigned(details: Mapping[int, str], reason: FailureReason, now: dt.datetime) -> list[int]:
    """Fail those of the payments of which nothing is signed yet; return their ids.

    :param details: what to tell about each, by its id.
    """
    if not details:
        return []
    ids = sorted(details)
    with db_transaction.atomic():
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
