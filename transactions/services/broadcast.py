"""Broadcast: give accepted payments a nonce, sign them, save every byte, and only then send.

One broadcaster works at a time (an advisory lock, which dies with its process), and whatever is signed is signed under
its lock. That keeps sends in order; what keeps the money safe are the rows: a payment is claimed by a conditional
update, a nonce is unique, and after a crash the saved bytes are sent again, which is the same transaction with the
same hash.
"""

import logging
import time
from collections.abc import Iterable

from django.conf import settings
from django.db import transaction as db_transaction
from django.utils import timezone

from accounts.keys import SignerUnavailableError, sign_transfers
from accounts.locks import advisory_lock
from transactions.chain.client import Chain, get_chain
from transactions.chain.exceptions import ChainError
from transactions.chain.types import FeeQuote, Transfer
from transactions.models import Attempt, Transaction, Wallet
from transactions.services.attempts import insert_attempts, signed_attempt
from transactions.services.moves import move_transactions
from transactions.services.plan import Plan, open_purses, plan_batch, share_out
from transactions.services.pricing import PLAIN_GAS, price_transfer
from transactions.services.refuse import refuse_unsigned
from transactions.services.replace import has_stuck, replace_stuck
from transactions.services.send import resend_signed, send_attempts, set_wait_reason
from transactions.services.signers import Signers, load_signers, take_out_unfit, tell_unable, unpaused
from transactions.services.unclear import only_unclear, without_unclear
from transactions.services.wallets import wallets_to_compare
from transactions.states import FailureReason, Purpose, Stage, WaitReason
from txnsite.faults import fault_point

logger = logging.getLogger(__name__)

RUN_SECONDS = 10
"""After this a broadcaster stops and the follower's next tick wakes another: no task runs for ever, and what is stuck
is looked at even while payments come without end."""

GATHERED_PER_SECOND = 250
"""After a batch of n the next one is gathered for n/250 s: at once when little is going on, and when much is, batches
that cost the node few round trips."""


class _RacedError(Exception):
    """Another process took one of the payments or a nonce: nothing was saved, plan again."""


class _UnfitWalletError(Exception):
    """A wallet's nonces don't agree with the chain: share the payments out anew, without it."""


def broadcast_payments(chain: Chain | None = None) -> int:
    """Send all that waits to be sent, and return how many transactions a node has taken.

    Only one process does so at a time; another one returns at once.
    """
    with advisory_lock("broadcast") as held:
        if not held:
            return 0
        chain = chain or get_chain()
        wallets = wallets_to_compare()
        signers = load_signers(unpaused(wallets))
        taken, refused = _resend(signers, chain)
        taken += _mend(wallets, signers, chain)
        for wallet in refused:
            signers.pop(wallet, None)
        taken += _broadcast_batches(wallets, signers, chain)
        if not any(wallet.takes_payments for wallet in signers):
            _wait_for_wallets(wallets)
        _tell_unclear()
        return taken


def has_work() -> bool:
    """Say whether something waits to be signed, sent or mended."""
    waiting = Transaction.objects.filter(stage__in=[Stage.ACCEPTED, Stage.SIGNED])
    return waiting.exists() or _has_to_mend(wallets_to_compare())


def _has_to_mend(wallets: Iterable[Wallet]) -> bool:
    awake = unpaused(wallets)
    return any(wallet.unknown_since is not None for wallet in awake) or has_stuck(awake)


def _resend(signers: Signers, chain: Chain) -> tuple[int, list[Wallet]]:
    """Send what was signed and no node is known to have; return how many one has taken, and whose were refused.

    While a node refuses what a wallet has signed, more of it would only make the queue behind it longer.
    """
    taken = 0
    refused = []
    for wallet in signers:
        sent, unsent = resend_signed(wallet, chain)
        taken += sent
        if unsent:
            refused.append(wallet)
    return taken, refused


def _mend(wallets: list[Wallet], signers: Signers, chain: Chain) -> int:
    """Mend nonces and replace what is stuck, where there is such a thing; return how many replacements were taken.

    What was signed and refused is among it: a higher fee, or its cancel, may be taken.
    """
    if not _has_to_mend(wallets):
        return 0
    try:
        terms = chain.terms([], [wallet.address for wallet in wallets])
    except ChainError as error:
        logger.warning("No terms from the node: %s", error)
        return 0
    take_out_unfit(wallets, signers, terms, chain)
    return replace_stuck(signers, terms, chain)


def _wait_for_wallets(wallets: list[Wallet]) -> None:
    """Say what payments wait for while no wallet can be given any.

    One whose nonces are being checked can't, even to those that none of its transactions may have paid.
    """
    paying = [wallet for wallet in wallets if wallet.takes_payments and wallet.unknown_since is None]
    if not paying:
        reason = WaitReason.WALLET
    elif load_signers(paying):
        # It is that wallet's turn to get rid of what it has signed.
        return
    else:
        reason = WaitReason.KEY
    set_wait_reason({row.pk: reason for row in _accepted() if row.wallet_id is None})


def _tell_unclear() -> None:
    """Say of payments that a transaction which nobody can tell may have paid already that they wait for that."""
    unclear = only_unclear(Transaction.objects.filter(stage=Stage.ACCEPTED)).order_by("pk")
    ids = unclear.values_list("pk", flat=True)[: settings.CHAIN_RPC_BATCH_SIZE]
    set_wait_reason(dict.fromkeys(ids, WaitReason.UNCLEAR))


def _accepted(after_id: int = 0, *, bound: bool = False) -> list[Transaction]:
    """Return the next payments to send, but none that a transaction which nobody can tell may have paid already.

    :param bound: only those that must leave a wallet of their own.
    """
    waiting = Transaction.objects.filter(stage=Stage.ACCEPTED, pk__gt=after_id, cancel_requested_at__isnull=True)
    if bound:
        waiting = waiting.filter(wallet__isnull=False)
    return list(without_unclear(waiting).order_by("pk")[: settings.CHAIN_RPC_BATCH_SIZE])


def _broadcast_batches(wallets: list[Wallet], signers: Signers, chain: Chain) -> int:
    """Send batch after batch until nothing more can go; return how many payments a node has taken.

    :param wallets: those that are compared with the chain before each batch is signed; who doesn't agree with it is
        seen to, and taken out.
    :param signers: of those among them to pay from; who turns out not to be fit for it is taken out.
    """
    taken = after_id = 0
    deadline = time.monotonic() + RUN_SECONDS
    while signers and time.monotonic() < deadline:
        batch = _accepted(after_id, bound=not any(wallet.takes_payments for wallet in signers))
        try:
            sent = _broadcast_batch(batch, wallets, signers, chain) if batch else None
        except _UnfitWalletError:
            continue
        if sent is None:
            break
        taken += sent
        if len(batch) == settings.CHAIN_RPC_BATCH_SIZE:
            after_id = batch[-1].pk
        elif sent:
            # From the start again: a payment with a smaller id may have been committed later.
            after_id = 0
            time.sleep(min(sent / GATHERED_PER_SECOND, settings.BROADCAST_GATHER_SECONDS))
        else:
            break
    return taken


def _broadcast_batch(batch: list[Transaction], wallets: list[Wallet], signers: Signers, chain: Chain) -> int | None:
    """Send one batch and return how many a node has taken, or nothing when it makes no sense to go on now.

    :raises _UnfitWalletError: when a wallet was taken out; nothing was sent.
    """
    try:
        purses = open_purses(signers, chain)
        chosen = share_out(batch, purses)
        unplaced = [row for row in batch if row.pk not in chosen]
        set_wait_reason({row.pk: _why_not_placed(row, signers) for row in unplaced})
        batch = [row for row in batch if row.pk in chosen]
        if not batch:
            # What only its own wallet can send must not hold up what comes after it.
            return 0 if any(row.wallet_id is not None for row in unplaced) else None
        terms = chain.terms(_transfers(batch, chosen), [wallet.address for wallet in wallets])
    except ChainError as error:
        logger.warning("No terms from the node: %s", error)
        set_wait_reason({row.pk: WaitReason.NODE for row in batch})
        return None
    if take_out_unfit(wallets, signers, terms, chain):
        raise _UnfitWalletError
    plan = plan_batch(batch, chosen, purses, terms)
    refuse_unsigned(plan.reject, FailureReason.REJECTED, timezone.now())
    set_wait_reason(plan.wait)
    sent = 0
    if plan.send:
        try:
            attempts = _save_attempts(_sign(plan, signers))
        except _RacedError:
            return None
        sent = send_attempts(attempts, chain)
        if sent < len(attempts):
            return None
    return None if _is_too_dear(terms.quote) else sent


def _why_not_placed(row: Transaction, signers: Signers) -> WaitReason:
    is_bound_elsewhere = row.wallet_id is not None and row.wallet_id not in {wallet.pk for wallet in signers}
    return WaitReason.KEY if is_bound_elsewhere else WaitReason.IN_FLIGHT


def _transfers(batch: list[Transaction], chosen: dict[int, Wallet]) -> list[Transfer]:
    return [Transfer(chosen[row.pk].address, row.to_public_address, row.transaction_amount_in_wei) for row in batch]


def _is_too_dear(quote: FeeQuote) -> bool:
    """Say whether the fee is too low for a plain transfer, and so for all; any other wait must not hold up the rest."""
    return price_transfer(quote, gas_limit=PLAIN_GAS, fee_paid_in_wei=settings.PAYMENT_FEE_IN_WEI) is None


def _sign(plan: Plan, signers: Signers) -> dict[Wallet, list[Attempt]]:
    """Return the attempts of a plan, not saved yet.

    :raises _UnfitWalletError: when one of the wallets can't sign now; it was taken out of `signers`.
    """
    attempts = {}
    for wallet, planned in plan.send.items():
        try:
            signed = sign_transfers(signers[wallet], [transfer for _, transfer in planned])
        except SignerUnavailableError as error:
            tell_unable(wallet, error)
            set_wait_reason({row.pk: WaitReason.KEY for row, _ in planned})
            del signers[wallet]
            raise _UnfitWalletError from None
        attempts[wallet] = [
            signed_attempt(row, wallet, transfer, each, Purpose.PAYMENT)
            for (row, transfer), each in zip(planned, signed, strict=True)
        ]
    return attempts


def _save_attempts(signed: dict[Wallet, list[Attempt]]) -> list[Attempt]:
    """Claim the nonces and the payments and save the signed bytes, all or nothing, before anything is sent.

    :raises _RacedError: when a wallet was paused, or drained before a payment, its nonce moved, or a payment is no
        longer ACCEPTED.
    """
    now = timezone.now()
    attempts = [attempt for of_wallet in signed.values() for attempt in of_wallet]
    with db_transaction.atomic():
        for wallet in sorted(signed, key=lambda wallet: wallet.pk):
            first, last = signed[wallet][0].nonce, signed[wallet][-1].nonce
            fit = Wallet.objects.filter(pk=wallet.pk, next_nonce=first, paused_at__isnull=True)
            if any(attempt.transaction.wallet_id is None for attempt in signed[wallet]):
                fit = fit.filter(draining_at__isnull=True)
            if not fit.update(next_nonce=last + 1):
                raise _RacedError
        moved = move_transactions(
            [attempt.transaction_id for attempt in attempts],
            old=[Stage.ACCEPTED],
            new=Stage.SIGNED,
            columns={
                "wallet_id": [attempt.wallet_id for attempt in attempts],
                "from_public_address": [attempt.wallet.address for attempt in attempts],
                "nonce": [attempt.nonce for attempt in attempts],
                "transaction_hash": [attempt.hash for attempt in attempts],
            },
            constants={"signed_at": now, "wait_reason": WaitReason.NOTHING.value},
        )
        if len(moved) != len(attempts):
            raise _RacedError
        insert_attempts(attempts)
        fault_point("broadcast.before_commit")
    fault_point("broadcast.saved")
    return attempts
