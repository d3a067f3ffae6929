"""Reverse settlements: a reorg deeper than anybody waits for has taken back what the ledger calls final.

The ledger forgets nothing: the settlement stays, a journal of its own undoes it, and the funds are held again for the
next round. The payment is followed anew, by the same bytes, and settled once more for whatever comes of it.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping, Sequence

from django.conf import settings
from django.db import transaction as db_transaction
from django.db.models import Exists, OuterRef

from accounts.ledger import HoldDraft, JournalDraft, hold_again, post, system_account
from accounts.models import AccountKind, AlertKind, Entry, Journal, JournalKind
from accounts.services.alerts import raise_alert
from transactions.models import Block, Transaction
from transactions.services.moves import move_transactions
from transactions.services.watchdog import first_check_at
from transactions.states import Kind, Stage, Status

NAMED_MAX = 20


def reverse_settlements(ids: Sequence[int], now: dt.datetime) -> list[int]:
    """Undo the settlements of transactions whose block has left the chain; return the ids that are BROADCAST again."""
    if not ids:
        return []
    losses_id = system_account(AccountKind.LOSSES).pk
    with db_transaction.atomic():
        rows = list(
            Transaction.objects.select_for_update(no_key=True).filter(pk__in=ids, stage=Stage.SETTLED).order_by("pk")
        )
        post(now=now, journals=_reversals([row.ledger_source for row in rows]))
        for row in rows:
            row.reversals += 1
        # Those that were paid first: each takes what its own reversal gave back, so that none lacks what another took.
        holds = [
            HoldDraft(row.user_account_id, row.ledger_source, row.total_in_wei)
            for row in sorted(rows, key=lambda row: row.status != Status.SUCCESSFUL)
            if row.kind == Kind.PAYMENT
        ]
        made_up = hold_again(now=now, holds=holds, losses_id=losses_id)
        moved = move_transactions(
            [row.pk for row in rows],
            old=[Stage.SETTLED],
            new=Stage.BROADCAST,
            columns={"reversals": [row.reversals for row in rows]},
            constants={
                "status": Status.PENDING.value,
                "failure_reason": "",
                "settled_at": None,
                "block_number": None,
                "block_hash": "",
                "succeeded_on_chain": None,
                "transaction_fee_blockchain_in_wei": None,
                "mined_at": None,
                "next_check_at": first_check_at(now),
                "checks_done": 0,
                "needs_attention": True,
            },
        )
        if moved:
            _alert(moved, made_up, now)
    return moved


def recoveries_of(sources: Sequence[str]) -> list[JournalDraft]:
    """Return the journals that take back what the desk made up for under these sources and has not taken back yet.

    Of a payment or a deposit that gives its money after all they are those of all its rounds: what was made up for in
    one round stays with the payment through the next. Post them together with what makes the money available.
    """
    if not sources:
        return []
    losses_id = system_account(AccountKind.LOSSES).pk
    recovered = Journal.objects.filter(kind=JournalKind.RECOVERY, source=OuterRef("journal__source"))
    made_up = (
        Entry.objects.filter(journal__kind=JournalKind.LOSS, journal__source__in=sources, amount_in_wei__gt=0)
        .exclude(Exists(recovered))
        .order_by("id")
        .values_list("journal__source", "account_id", "amount_in_wei")
    )
    return [
        JournalDraft(JournalKind.RECOVERY, source, [(account_id, -wei), (losses_id, wei)], "Given back after all")
        for source, account_id, wei in made_up
    ]


def tell_of_found_ether(lost: Block, now: dt.datetime) -> None:
    """Raise the alerts for ether that was booked as found, or missing, after a final block that has left the chain.

    The one may be gone too, and the other back. No row says in which block such ether came or went, so staff look.
    """
    made_at = dt.datetime.fromtimestamp(lost.timestamp, dt.UTC)
    for kind, doubt, sign in (
        (JournalKind.FOUND, "may be gone with them", "less"),
        (JournalKind.MISSING, "may be back", "more"),
    ):
        booked = Journal.objects.filter(kind=kind, created_at__gte=made_at).order_by("pk")
        ids = list(booked.values_list("pk", flat=True)[: NAMED_MAX + 1])
        if not ids:
            continue
        named = ", ".join(f"#{journal_id}" for journal_id in ids[:NAMED_MAX]) + (", …" if len(ids) > NAMED_MAX else "")
        message = (
            f"A reorg has undone blocks from {lost.number} on, final ones among them. Ether that was booked as "
            f"{kind.value} since {doubt}: journals {named}. Check the ledger: a wallet of theirs has {sign} than its "
            "books then."
        )
        subject = f"ether {kind.value}, block {lost.number}"
        raise_alert(kind=AlertKind.DEEP_REORG, subject=subject, message=message, now=now)


def _alert(moved: Sequence[int], made_up: Mapping[str, int], now: dt.datetime) -> None:
    numbers = ", ".join(f"#{row_id}" for row_id in moved[:NAMED_MAX])
    message = (
        f"A reorg deeper than {settings.CONFIRMATIONS} blocks has undone {len(moved)} settled transactions ({numbers}"
        f"{', …' if len(moved) > NAMED_MAX else ''}). They were taken back in the ledger and are followed anew."
    )
    raise_alert(kind=AlertKind.DEEP_REORG, subject=f"from #{moved[0]}", message=message, now=now)
    for source, wei in made_up.items():
        message = (
            f"Payment #{source} came undone after {wei} wei of its refund had been spent; the desk made up for it."
        )
        raise_alert(kind=AlertKind.LOSS, subject=f"payment #{source}", message=message, now=now)


def _reversals(sources: Sequence[str]) -> list[JournalDraft]:
    """Return the journals that undo settlements: the same entries the other way round."""
    entries: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    settled = Entry.objects.filter(journal__kind=JournalKind.SETTLEMENT, journal__source__in=sources).order_by("id")
    for source, account_id, amount in settled.values_list("journal__source", "account_id", "amount_in_wei"):
        entries[source].append((account_id, -amount))
    return [
        JournalDraft(JournalKind.REVERSAL, source, of_source, "Taken back by a deep reorg")
        for source, of_source in entries.items()
    ]
