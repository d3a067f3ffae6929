"""Look after the desk: tell staff of nodes that are not well, and of payments and ether that need people to go on."""

import datetime as dt

from django.conf import settings
from django.db.models import Count

from accounts.models import AlertKind
from accounts.money import format_ether
from accounts.services.alerts import raise_or_resolve
from transactions.chain.client import Chain, get_chain
from transactions.chain.exceptions import ChainError
from transactions.models import Transaction, Wallet
from transactions.states import Kind, Stage, Status, WaitReason

PATIENCE = dt.timedelta(minutes=5)
"""How long payments may wait for something that only people can give before people are told."""

SWEEP_PATIENCE = dt.timedelta(hours=1)
"""A sweep that takes longer may wait for ether that a reorg has taken away for good."""

NEED_PEOPLE = (WaitReason.KEY, WaitReason.WALLET, WaitReason.WALLET_FUNDS, WaitReason.UNCLEAR)
NAMED_MAX = 10


def watch_nodes(now: dt.datetime, *, chain: Chain | None = None) -> None:
    """Raise an alert for each node that is set aside, and one when none answers; resolve those whose node is well."""
    chain = chain or get_chain()
    message = ""
    try:
        chain.view([], with_finalized=False)
    except ChainError as error:
        message = f"No node answers, so nothing is sent or settled; payments are accepted all the same. {error}"
    raise_or_resolve(kind=AlertKind.NODE, subject="all nodes", message=message, now=now)
    states = chain.node_states()
    if len(states) < 2:
        return
    for state in states:
        message = ""
        if state.trouble is not None:
            message = f"It is set aside ({state.trouble.value}); the others are asked. {state.detail}"
        raise_or_resolve(kind=AlertKind.NODE, subject=state.label, message=message, now=now)


def watch_payments(now: dt.datetime) -> None:
    """Raise alerts for payments that are flagged for staff, and for what many wait for that only staff can give."""
    flagged = Transaction.objects.filter(needs_attention=True, status=Status.PENDING).order_by("pk")
    numbers = list(flagged.values_list("pk", flat=True)[: NAMED_MAX + 1])
    named = ", ".join(f"#{number}" for number in numbers[:NAMED_MAX]) + (", …" if len(numbers) > NAMED_MAX else "")
    message = f"These payments need attention: {named}. Each one's page says what it waits for."
    _tell_stuck("flagged", message if numbers else "", now)
    pending = Transaction.objects.exclude(kind=Kind.PAYMENT).filter(status=Status.PENDING)
    late = pending.filter(kind=Kind.SWEEP, accepted_at__lt=now - SWEEP_PATIENCE).count()
    message = f"{late} sweeps were ordered more than an hour ago and are not final. They can be called off."
    _tell_stuck("sweeps", message if late else "", now)
    waiting = Transaction.objects.filter(
        stage=Stage.ACCEPTED, wait_reason__in=NEED_PEOPLE, accepted_at__lt=now - PATIENCE
    )
    counts = dict(waiting.order_by().values_list("wait_reason").annotate(Count("pk")))
    for reason in NEED_PEOPLE:
        count = counts.get(reason.value, 0)
        message = f"{count} payments have waited for more than {PATIENCE.seconds // 60} minutes: {reason.label}."
        _tell_stuck(f"waiting: {reason.value}", message if count else "", now)


def watch_retired_wallets(now: dt.datetime) -> None:
    """Raise an alert for each retired wallet that was paid to since, as far as it is worth moving; resolve the others'.

    None of these is paused for anything else, and who resumes one knows of it.
    """
    for wallet in Wallet.objects.filter(retired_at__isnull=False).select_related("account"):
        held = -wallet.account.current_balance_in_wei
        message = (
            f"It is retired and holds {format_ether(held)} ETH: somebody pays to it still. Put its key back, resume it "
            "and rotate it again."
        )
        worth_it = held >= settings.SWEEP_MIN_IN_WEI
        raise_or_resolve(
            kind=AlertKind.WALLET_PAUSED, subject=wallet.address, message=message if worth_it else "", now=now
        )


def _tell_stuck(subject: str, message: str, now: dt.datetime) -> None:
    raise_or_resolve(kind=AlertKind.PAYMENT_STUCK, subject=subject, message=message, now=now)
