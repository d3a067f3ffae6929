"""Deposits: credited once their block is final, and taken back, once for each credit, when a reorg has undone it."""

import datetime as dt
import logging
from collections.abc import Sequence

from django.db import transaction as db_transaction
from django.db.models import Exists, OuterRef, QuerySet

from accounts.exceptions import AccountsError
from accounts.ledger import JournalDraft, make_up_for, post, system_account
from accounts.models import AccountKind, AlertKind, JournalKind
from accounts.services.alerts import raise_alert, resolve_alert
from transactions.models import Block, Deposit
from transactions.services.reverse import recoveries_of
from transactions.states import DepositStatus
from txnsite.faults import fault_point

logger = logging.getLogger(__name__)

CHUNK = 500
ALERT_SUBJECT = "deposits"


def credit_final(final_number: int, now: dt.datetime) -> int:
    """Credit every deposit whose block is final and still canonical; return how many.

    Chunks of 500, each its own database transaction.
    """
    try:
        credited = _credit_in_chunks(_final(final_number), now)
    except AccountsError as error:
        logger.error("Crediting in chunks failed (%s); crediting one by one.", error.code)  # noqa: TRY400
        return _credit_one_by_one(final_number, now)
    resolve_alert(kind=AlertKind.BOOKS_DIFFER, subject=ALERT_SUBJECT, now=now)
    return credited


def _credit_one_by_one(final_number: int, now: dt.datetime) -> int:
    """Credit what can be credited, so that one deposit whose books are broken does not hold up all others."""
    credited = 0
    broken = []
    for row_id in list(_final(final_number).values_list("pk", flat=True)[:CHUNK]):
        try:
            credited += _credit_in_chunks(_final(final_number).filter(pk=row_id), now)
        except AccountsError:
            logger.exception("Deposit #%s can't be credited: its books need a look.", row_id)
            broken.append(row_id)
    if broken:
        numbers = ", ".join(f"#{row_id}" for row_id in broken[:20])
        message = f"The ledger refuses these deposits, the log says why: {numbers}{', …' if len(broken) > 20 else ''}."
        raise_alert(kind=AlertKind.BOOKS_DIFFER, subject=ALERT_SUBJECT, message=message, now=now)
    return credited


def _credit_in_chunks(final: QuerySet[Deposit], now: dt.datetime) -> int:
    credited = 0
    while True:
        with db_transaction.atomic():
            locked = final.select_for_update(of=("self",), no_key=True, skip_locked=True)
            rows = list(locked.select_related("wallet")[:CHUNK])
            if rows:
                _credit(rows, now)
        if rows:
            fault_point("deposits.credited")
        credited += len(rows)
        if len(rows) < CHUNK:
            return credited


def take_back(fork_number: int, now: dt.datetime) -> list[int]:
    """Take back the deposits whose block has left the chain above this one; return the ids of those credited before.

    Their transactions wait again, and may come in another block. What an owner has spent of a deposit by then, the desk
    makes up for out of its losses. Run it in the database transaction that records the new branch.
    """
    canonical = Block.objects.filter(number__gt=fork_number).values("hash")
    rows = list(
        Deposit.objects.select_for_update(of=("self",), no_key=True)
        .filter(block_number__gt=fork_number)
        .exclude(block_hash__in=canonical)
        .select_related("wallet")
        .order_by("pk")
    )
    credited = [row for row in rows if row.status == DepositStatus.CREDITED]
    if credited:
        _reverse(credited, now)
        fault_point("deposits.taken_back")
    gone = {"status": DepositStatus.GONE, "block_number": None, "block_hash": "", "credited_at": None}
    Deposit.objects.filter(pk__in=[row.pk for row in rows]).update(**gone)
    return [row.pk for row in credited]


def _final(final_number: int) -> QuerySet[Deposit]:
    """Return the deposits that wait in final blocks, as far as those are still the chain's, in id order."""
    canonical = Block.objects.filter(number=OuterRef("block_number"), hash=OuterRef("block_hash"))
    waiting = Deposit.objects.filter(status=DepositStatus.WAITING, block_number__lte=final_number)
    return waiting.filter(Exists(canonical)).order_by("pk")


def _credit(rows: Sequence[Deposit], now: dt.datetime) -> None:
    funding_id = system_account(AccountKind.EXTERNAL_FUNDING).pk
    # What the desk made up for when a reorg took them back has come after all.
    recovered = recoveries_of([source for row in rows for source in row.sources])
    for row in rows:
        row.status, row.credited_at = DepositStatus.CREDITED, now
        row.credits += 1
    post(now=now, journals=[*(_journal(row, funding_id) for row in rows), *recovered])
    fault_point("deposits.before_commit")
    Deposit.objects.bulk_update(rows, ["status", "credited_at", "credits"])


def _journal(row: Deposit, funding_id: int) -> JournalDraft:
    """What came to a deposit address is owed to its account; what came to a hot wallet is the desk's own funding."""
    if row.wallet.credits_id is not None:
        kind, opposite_id = JournalKind.DEPOSIT, row.wallet.credits_id
    else:
        kind, opposite_id = JournalKind.WALLET_FUNDING, funding_id
    entries = [(opposite_id, row.amount_in_wei), (row.wallet.account_id, -row.amount_in_wei)]
    return JournalDraft(kind, row.ledger_source, entries, f"From {row.from_public_address}")


def _reverse(rows: Sequence[Deposit], now: dt.datetime) -> None:
    funding_id = system_account(AccountKind.EXTERNAL_FUNDING).pk
    losses_id = system_account(AccountKind.LOSSES).pk
    drafts = []
    needs = []
    for row in rows:
        [(opposite_id, amount), (asset_id, _)] = _journal(row, funding_id).entries
        drafts.append(
            JournalDraft(
                JournalKind.DEPOSIT_REVERSAL,
                row.ledger_source,
                [(opposite_id, -amount), (asset_id, amount)],
                "Taken back by a deep reorg",
            )
        )
        if opposite_id != funding_id:
            needs.append((opposite_id, row.ledger_source, amount))
    made_up = make_up_for(now=now, needs=needs, losses_id=losses_id)
    post(now=now, journals=drafts)
    message = f"A deep reorg has undone {len(rows)} credited deposits; they were taken back in the ledger."
    raise_alert(kind=AlertKind.DEEP_REORG, subject=f"deposits from #{rows[0].pk}", message=message, now=now)
    for source, wei in made_up.items():
        message = f"Deposit {source} came undone after {wei} wei of it had been spent; the desk made up for it."
        raise_alert(kind=AlertKind.LOSS, subject=f"deposit {source}", message=message, now=now)
