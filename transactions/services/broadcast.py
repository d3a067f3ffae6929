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

from accounts.exceptions import AccountsError
from accounts.keys import Signer, SignerUnavailableError, sign_transfers
from accounts.locks import advisory_lock
from transactions.chain.client import Chain, get_chain
from transactions.chain.exceptions import ChainError
from transactions.chain.types import BroadcastTerms, FeeQuote, Transfer
from transactions.models import Attempt, Transaction, Wallet
from transactions.services.attempts import insert_attempts, signed_attempt
from transactions.services.moves import move_transactions
from transactions.services.nonces import may_send, unclear_until
from transactions.services.plan import Plan, open_purses, plan_batch, share_out
from transactions.services.pricing import PLAIN_GAS, price_transfer
from transactions.services.refuse import refuse_unsigned
from transactions.services.replace import has_stuck, replace_stuck
from transactions.services.send import resend_signed, send_attempts, set_wait_reason
from transactions.services.wallets import load_wallets_signer, signing_wallets
from transactions.states import FailureReason, Purpose, Stage, WaitReason
from txnsite.faults import fault_point

logger = logging.getLogger(__name__)

RUN_SECONDS = 10
"""After this a broadcaster stops and the follower's next tick wakes another: no task runs for ever, and what is stuck
is looked at even while payments come without end."""

GATHERED_PER_SECOND = 250
"""After a batch of n the next one is gathered for n/250 s: at once when little is going on, and when much is, batches
that cost the node few round trips."""

Signers = dict[Wallet, Signer]


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
        wallets = signing_wallets()
        signers = _load_signers(wallets)
        taken = _resend(signers, chain) + _mend(signers, chain)
        if signers:
            taken += _broadcast_batches(signers, chain)
        if not any(wallet.takes_payments for wallet in signers):
            _wait_for_wallets(wallets)
        _tell_unclear()
        return taken


def has_work() -> bool:
    """Say whether something waits to be signed, sent or mended."""
    waiting = Transaction.objects.filter(stage__in=[Stage.ACCEPTED, Stage.SIGNED])
    return waiting.exists() or _has_to_mend(signing_wallets())


def _has_to_mend(wallets: Iterable[Wallet]) -> bool:
    return any(wallet.unknown_since is not None for wallet in wallets) or has_stuck(wallets)


def _load_signers(wallets: Iterable[Wallet]) -> Signers:
    signers: Signers = {}
    for wallet in wallets:
        try:
            signers[wallet] = load_wallets_signer(wallet)
        except AccountsError as error:
            logger.error("Wallet %s can't sign: %s", wallet, error)  # noqa: TRY400 (no traceback near keys)
    return signers


def _resend(signers: Signers, chain: Chain) -> int:
    """Send what was signed and no node is known to have; return how many one has taken.

    While a node refuses what a wallet has signed, more of it would only make the queue behind it longer: such wallets
    are taken out.
    """
    taken = 0
    for wallet in list(signers):
        sent, unsent = resend_signed(wallet, chain)
        taken += sent
        if unsent:
            del signers[wallet]
    return taken


def _mend(signers: Signers, chain: Chain) -> int:
    """Mend nonces and replace what is stuck, where there is such a thing; return how many replacements were taken."""
    if not _has_to_mend(signers):
        return 0
    try:
        terms = chain.terms([], [wallet.address for wallet in signers])
    except ChainError as error:
        logger.warning("No terms from the node: %s", error)
        return 0
    try:
        _take_out_unfit(signers, terms, chain)
        return replace_stuck(signers, terms, chain)
    except SignerUnavailableError as error:
        logger.error("A wallet can't sign: %s", error)  # noqa: TRY400 (no traceback near keys)
        return 0


def _wait_for_wallets(wallets: list[Wallet]) -> None:
    """Say what payments wait for while no wallet can be given any.

    One whose nonces are being checked can't, even to those that none of its transactions may have paid.
    """
    paying = [wallet for wallet in wallets if wallet.takes_payments and wallet.unknown_since is None]
    if not paying:
        reason = WaitReason.WALLET
    elif _load_signers(paying):
        # It is that wallet's turn to get rid of what it has signed.
        return
    else:
        reason = WaitReason.KEY
    set_wait_reason({row.pk: reason for row in _accepted() if row.wallet_id is None})


def _tell_unclear() -> None:
    """Say of payments that a transaction which nobody can tell may have paid already that they wait for that."""
    until = unclear_until()
    if until is not None:
        unclear = Transaction.objects.filter(stage=Stage.ACCEPTED, accepted_at__lte=until).order_by("pk")
        ids = unclear.values_list("pk", flat=True)[: settings.CHAIN_RPC_BATCH_SIZE]
        set_wait_reason(dict.fromkeys(ids, WaitReason.UNCLEAR))


def _accepted(after_id: int = 0, *, bound: bool = False) -> list[Transaction]:
    """Return the next payments to send, but none that a transaction which nobody can tell may have paid already.

    :param bound: only those that must leave a wallet of their own.
    """
    waiting = Transaction.objects.filter(stage=Stage.ACCEPTED, pk__gt=after_id)
    if bound:
        waiting = waiting.filter(wallet__isnull=False)
    until = unclear_until()
    if until is not None:
        waiting = waiting.filter(accepted_at__gt=until)
    return list(waiting.order_by("pk")[: settings.CHAIN_RPC_BATCH_SIZE])


def _broadcast_batches(signers: Signers, chain: Chain) -> int:
    """Send batch after batch until nothing more can go; return how many payments a node has taken.

    :param signers: of the wallets to pay from; those that turn out not to be fit for it are taken out.
    """
    taken = after_id = 0
    deadline = time.monotonic() + RUN_SECONDS
    while signers and time.monotonic() < deadline:
        batch = _accepted(after_id, bound=not any(wallet.takes_payments for wallet in signers))
        try:
            sent = _broadcast_batch(batch, signers, chain) if batch else None
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


def _broadcast_batch(batch: list[Transaction], signers: Signers, chain: Chain) -> int | None:
    """Send one batch and return how many a node has taken, or nothing when it makes no sense to go on now.

    :raises _UnfitWalletError: when a wallet was taken out of `signers`; nothing was sent.
    """
    try:
        purses = open_purses(signers, chain)
        wallets = share_out(batch, purses)
        set_wait_reason({row.pk: _why_not_placed(row, signers) for row in batch if row.pk not in wallets})
        batch = [row for row in batch if row.pk in wallets]
        if not batch:
            return None
        terms = chain.terms(_transfers(batch, wallets), [wallet.address for wallet in signers])
    except ChainError as error:
        logger.warning("No terms from the node: %s", error)
        set_wait_reason({row.pk: WaitReason.NODE for row in batch})
        return None
    if _take_out_unfit(signers, terms, chain):
        raise _UnfitWalletError
    plan = plan_batch(batch, wallets, purses, terms)
    refuse_unsigned(plan.reject, FailureReason.REJECTED, timezone.now())
    set_wait_reason(plan.wait)
    sent = 0
    if plan.send:
        try:
            attempts = _save_attempts(_sign(plan, signers))
        except SignerUnavailableError as error:
            logger.error("A wallet can't sign: %s", error)  # noqa: TRY400 (no traceback near keys)
            rows = [row for planned in plan.send.values() for row, _ in planned]
            set_wait_reason({row.pk: WaitReason.KEY for row in rows})
            return None
        except _RacedError:
            return None
        sent = send_attempts(attempts, chain)
        if sent < len(attempts):
            return None
    return None if _is_too_dear(terms.quote) else sent


def _why_not_placed(row: Transaction, signers: Signers) -> WaitReason:
    is_bound_elsewhere = row.wallet_id is not None and row.wallet_id not in {wallet.pk for wallet in signers}
    return WaitReason.KEY if is_bound_elsewhere else WaitReason.IN_FLIGHT


def _transfers(batch: list[Transaction], wallets: dict[int, Wallet]) -> list[Transfer]:
    return [Transfer(wallets[row.pk].address, row.to_public_address, row.transaction_amount_in_wei) for row in batch]


def _take_out_unfit(signers: Signers, terms: BroadcastTerms, chain: Chain) -> bool:
    """Take out those wallets whose nonces don't agree with the chain's; say whether there was one."""
    for wallet in signers:
        wallet.refresh_from_db(fields=["next_nonce", "unknown_since"])
    unfit = [wallet for wallet, signer in signers.items() if not may_send(wallet, signer, terms, chain)]
    for wallet in unfit:
        del signers[wallet]
    return bool(unfit)


def _is_too_dear(quote: FeeQuote) -> bool:
    """Say whether the fee is too low for a plain transfer, and so for all; any other wait must not hold up the rest."""
    return price_transfer(quote, gas_limit=PLAIN_GAS, fee_paid_in_wei=settings.PAYMENT_FEE_IN_WEI) is None


def _sign(plan: Plan, signers: Signers) -> dict[Wallet, list[Attempt]]:
    return {
        wallet: [
            signed_attempt(row, wallet, transfer, signed, Purpose.PAYMENT)
            for (row, transfer), signed in zip(
                planned, sign_transfers(signers[wallet], [transfer for _, transfer in planned]), strict=True
            )
        ]
        for wallet, planned in plan.send.items()
    }


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
