"""Look after the desk: tell staff of nodes, payments, ether and keys that need people."""

import datetime as dt
import logging

from django.conf import settings
from django.db.models import Count

from accounts.exceptions import AccountsError
from accounts.keys import key_addresses
from accounts.models import Alert, AlertKind
from accounts.money import format_ether
from accounts.services.alerts import raise_alert, raise_or_resolve, resolve_alert, resolve_others
from transactions.chain.client import Chain, get_chain
from transactions.chain.exceptions import ChainError
from transactions.models import Transaction, Wallet
from transactions.services.unclear import only_unclear, without_unclear
from transactions.states import Kind, Stage, Status, WaitReason

logger = logging.getLogger(__name__)

PATIENCE = dt.timedelta(minutes=5)
"""How long payments may wait for something that only people can give before people are told."""

SWEEP_PATIENCE = dt.timedelta(hours=1)
"""A sweep that takes longer may wait for ether that a reorg has taken away for good."""

NEED_PEOPLE = (WaitReason.KEY, WaitReason.WALLET, WaitReason.WALLET_FUNDS, WaitReason.UNCLEAR)
NAMED_MAX = 10
ALL_NODES = "all nodes"
NO_WALLET = " has no wallet"
"""What the subject of an alert about a key ends with, after its address."""


def watch_nodes(now: dt.datetime, *, chain: Chain | None = None) -> None:
    """Raise an alert for each node that is set aside, and one when none answers.

    Resolve those whose node is well, or is not in the list any more: a label holds place and host.
    """
    chain = chain or get_chain()
    message = ""
    try:
        chain.view([], with_finalized=False)
    except ChainError as error:
        message = f"No node answers, so nothing is sent or settled; payments are accepted all the same. {error}"
    raise_or_resolve(kind=AlertKind.NODE, subject=ALL_NODES, message=message, now=now)
    states = chain.node_states()
    # Of a single node the alert above tells.
    watched = states if len(states) > 1 else []
    resolve_others(kind=AlertKind.NODE, subjects=[ALL_NODES, *(state.label for state in watched)], now=now)
    for state in watched:
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
    waiting = Transaction.objects.filter(stage=Stage.ACCEPTED, accepted_at__lt=now - PATIENCE)
    clear = without_unclear(waiting.filter(wait_reason__in=NEED_PEOPLE))
    counts = dict(clear.order_by().values_list("wait_reason").annotate(Count("pk")))
    # Only the first of them are marked so, a batch at a time.
    counts[WaitReason.UNCLEAR.value] = only_unclear(waiting).count()
    for reason in NEED_PEOPLE:
        count = counts.get(reason.value, 0)
        message = f"{count} payments have waited for more than {PATIENCE.seconds // 60} minutes: {reason.label}."
        _tell_stuck(f"waiting: {reason.value}", message if count else "", now)


def watch_retired_wallets(now: dt.datetime) -> None:
    """Raise an alert for each retired wallet that was paid to since, as far as it is worth moving; resolve the others'.

    Who resumes one knows of it. One whose transactions nobody can tell has another alert until they are told.
    """
    retired = Wallet.objects.filter(retired_at__isnull=False, unknown_since__isnull=True)
    for wallet in retired.select_related("account"):
        held = -wallet.account.current_balance_in_wei
        message = (
            f"It is retired and holds {format_ether(held)} ETH: somebody pays to it still. Put its key back, resume it "
            "and rotate it again."
        )
        worth_it = held >= settings.SWEEP_MIN_IN_WEI
        raise_or_resolve(
            kind=AlertKind.WALLET_PAUSED, subject=wallet.address, message=message if worth_it else "", now=now
        )


def watch_keys(now: dt.datetime, *, chain: Chain | None = None) -> None:
    """Raise an alert for each key that is no wallet's and has sent transactions; resolve those whose it is by now.

    A database that was restored from a backup doesn't know the wallets that were added after it. That a key is not here
    says nothing: another machine may have it. What staff have acknowledged is told again when the key has sent more.
    """
    told = Alert.objects.filter(kind=AlertKind.NONCE_DRIFT, subject__endswith=NO_WALLET, resolved_at=None)
    for subject in told.values_list("subject", flat=True):
        if Wallet.objects.filter(address=subject.removesuffix(NO_WALLET)).exists():
            resolve_alert(kind=AlertKind.NONCE_DRIFT, subject=subject, now=now)
    try:
        own = key_addresses()
        keys = sorted(own - set(Wallet.objects.filter(address__in=own).values_list("address", flat=True)))
        counts = (chain or get_chain()).view(keys, with_finalized=False).nonces if keys else {}
    except (AccountsError, ChainError) as error:
        logger.warning("Whether keys without a wallet have sent anything can't be told now: %s", error)
        return
    sent = {f"{address}{NO_WALLET}": counts[address].latest for address in keys if counts[address].latest}
    for subject, count in sent.items():
        message = (
            f"The key of {subject.removesuffix(NO_WALLET)} is here, it is no wallet, and it has sent {count} "
            "transactions: if this database was restored from a backup, it may have paid what waits here. Stop the "
            "workers, look up what it sent, and add it as a wallet; or take its key away."
        )
        if not Alert.objects.filter(subject=subject, message=message, acknowledged_at__isnull=False).exists():
            raise_alert(kind=AlertKind.NONCE_DRIFT, subject=subject, message=message, now=now)


def _tell_stuck(subject: str, message: str, now: dt.datetime) -> None:
    raise_or_resolve(kind=AlertKind.PAYMENT_STUCK, subject=subject, message=message, now=now)
