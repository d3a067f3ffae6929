"""Deposits: credited once their block is final, and taken back, once for each credit, when a reorg has undone it."""

import datetime as dt
from collections.abc import Sequence

from django.db import transaction as db_transaction

from accounts.ledger import JournalDraft, make_up_for, post, system_account
from accounts.models import AccountKind, AlertKind, JournalKind
from accounts.services.alerts import raise_alert
from transactions.models import Block, Deposit
from transactions.services.reverse import recoveries_of
from transactions.states import DepositStatus
from txnsite.faults import fault_point

CHUNK = 500


def credit_final(final_number: int, now: dt.datetime) -> int:
    """Credit every deposit whose block is final and still canonical; return how many."""
    credited = 0
    while True:
        with db_transaction.atomic():
            rows = _lock_final(final_number)
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


def _lock_final(final_number: int) -> list[Deposit]:
    waiting = Deposit.objects.filter(status=DepositStatus.WAITING, block_number__lte=final_number)
    rows = list(
        waiting.select_for_update(of=("self",), no_key=True, skip_locked=True)
        .select_related("wallet")
        .order_by("pk")[:CHUNK]
    )
    canonical = dict(Block.objects.filter(number__in={row.block_number for row in rows}).values_list("number", "hash"))
    return [row for row in rows if row.block_number is not None and canonical.get(row.block_number) == row.block_hash]


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
