"""Broadcast: give accepted payments a nonce, sign them, save every byte, and only then send.

One broadcaster works a wallet at a time (an advisory lock, which dies with its process). That keeps sends in order;
what keeps the money safe are the rows: a payment is claimed by a conditional update, a nonce is unique, and after a
crash the saved bytes are sent again, which is the same transaction with the same hash.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db import connection
from django.db import transaction as db_transaction
from django.utils import timezone

from accounts.exceptions import AccountsError
from accounts.keys import (
    SignedTransfer,
    Signer,
    SignerUnavailableError,
    UnsignedTransfer,
    load_signer,
    sign_transfers,
)
from accounts.ledger import post
from accounts.locks import advisory_lock
from transactions.chain.client import Chain, get_chain
from transactions.chain.exceptions import ChainError
from transactions.chain.types import BroadcastTerms, EstimateOutcome, Transfer
from transactions.models import Attempt, Transaction, Wallet
from transactions.services.moves import move_transactions
from transactions.services.pricing import price_transfer
from transactions.services.send import resend_signed, send_attempts, set_wait_reason
from transactions.services.wallets import sending_wallets
from transactions.states import FailureReason, Stage, Status, WaitReason
from txnsite.faults import fault_point

logger = logging.getLogger(__name__)

PLAIN_GAS = 21_000
"""The gas of a transfer to an address without code (Ethereum yellow paper, appendix G)."""

RUN_SECONDS = 30
"""After this a broadcaster stops and the follower's next tick wakes another: no task runs for ever."""

GATHERED_PER_SECOND = 250
"""After a batch of n the next one is gathered for n/250 s: at once when little is going on, and when much is, batches
that cost the node few round trips."""

GAS_MARGIN_PERCENT = 20
"""What is added for a recipient with code, which may need more by the time the payment is mined."""


@dataclass(slots=True)
class _Plan:
    """What to do with a batch of accepted payments."""

    send: list[tuple[Transaction, UnsignedTransfer]]
    reject: dict[int, str]
    wait: dict[int, WaitReason]


class _RacedError(Exception):
    """Another process took one of the payments or the nonce: nothing was saved, plan again."""


def broadcast_payments(chain: Chain | None = None) -> int:
    """Send what is waiting, wallet by wallet, and return how many payments a node has taken."""
    chain = chain or get_chain()
    wallets = sending_wallets()
    if not wallets:
        set_wait_reason(dict.fromkeys(_peek_ids(settings.CHAIN_RPC_BATCH_SIZE), WaitReason.WALLET))
    return sum(broadcast_wallet(wallet, chain) for wallet in wallets)


def has_work() -> bool:
    """Say whether a payment waits to be signed or sent."""
    return Transaction.objects.filter(stage__in=[Stage.ACCEPTED, Stage.SIGNED]).exists()


def broadcast_wallet(wallet: Wallet, chain: Chain) -> int:
    """Send from one wallet until nothing more can go; return how many payments a node has taken."""
    with advisory_lock("broadcast", wallet.pk) as held:
        if not held:
            return 0
        try:
            signer = load_signer(wallet.address)
        except AccountsError as error:
            logger.error("Wallet %s can't sign: %s", wallet.address, error)  # noqa: TRY400 (no traceback near keys)
            set_wait_reason(dict.fromkeys(_peek_ids(settings.CHAIN_RPC_BATCH_SIZE), WaitReason.KEY))
            return 0
        taken, unsent = resend_signed(wallet, chain)
        if unsent:
            # While a node refuses what is signed, more of it would only make the queue behind it longer.
            return taken
        return taken + _broadcast_batches(wallet, chain, signer)


def _broadcast_batches(wallet: Wallet, chain: Chain, signer: Signer) -> int:
    """Send batch after batch until nothing more can go; return how many payments a node has taken."""
    taken = after_id = 0
    deadline = time.monotonic() + RUN_SECONDS
    while time.monotonic() < deadline:
        batch = _peek(after_id)
        sent = _broadcast_batch(wallet, batch, chain, signer) if batch else None
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


def _peek(after_id: int) -> list[Transaction]:
    return list(
        Transaction.objects.filter(stage=Stage.ACCEPTED, pk__gt=after_id).order_by("pk")[
            : settings.CHAIN_RPC_BATCH_SIZE
        ]
    )


def _peek_ids(limit: int) -> list[int]:
    return list(Transaction.objects.filter(stage=Stage.ACCEPTED).order_by("pk").values_list("pk", flat=True)[:limit])


def _broadcast_batch(wallet: Wallet, batch: list[Transaction], chain: Chain, signer: Signer) -> int | None:
    """Send one batch and return how many a node has taken, or nothing when it makes no sense to go on now."""
    transfers = [Transfer(wallet.address, row.to_public_address, row.transaction_amount_in_wei) for row in batch]
    # Before the balance is read: what is mined in between is then counted twice, and never left out.
    in_flight_in_wei = _in_flight_in_wei(wallet)
    try:
        terms = chain.terms(transfers, [wallet.address])
    except ChainError as error:
        logger.warning("No terms from the node: %s", error)
        set_wait_reason({row.pk: WaitReason.NODE for row in batch})
        return None
    wallet.refresh_from_db(fields=["next_nonce", "paused_at"])
    plan = _plan_batch(wallet, batch, terms, in_flight_in_wei)
    _reject(plan.reject)
    set_wait_reason(plan.wait)
    sent = 0
    if plan.send:
        try:
            signed = sign_transfers(signer, [transfer for _, transfer in plan.send])
            attempts = _save_attempts(wallet, plan.send, signed)
        except SignerUnavailableError as error:
            logger.error("Wallet %s can't sign: %s", wallet.address, error)  # noqa: TRY400 (no traceback near keys)
            set_wait_reason({row.pk: WaitReason.KEY for row, _ in plan.send})
            return None
        except _RacedError:
            return None
        sent = send_attempts(attempts, chain)
        if sent < len(attempts):
            return None
    # A fee that is too low for a plain transfer is too low for all; any other wait must not hold up the rest.
    too_dear = price_transfer(terms.quote, gas_limit=PLAIN_GAS, fee_paid_in_wei=settings.PAYMENT_FEE_IN_WEI) is None
    return None if too_dear else sent


def _plan_batch(wallet: Wallet, batch: list[Transaction], terms: BroadcastTerms, in_flight_in_wei: int) -> _Plan:
    """Decide for each payment: send, reject or wait. Nonces follow the batch's order without a gap."""
    plan = _Plan([], {}, {})
    budget = terms.balances[wallet.address] - in_flight_in_wei
    nonce = wallet.next_nonce
    for row, estimate in zip(batch, terms.estimates, strict=True):
        if estimate.outcome == EstimateOutcome.REVERTED:
            plan.reject[row.pk] = estimate.error
            continue
        if estimate.outcome != EstimateOutcome.OK or estimate.gas is None:
            # An unclear answer, which may just be our own wallet's lack of funds, is never a "no".
            short = row.total_in_wei > budget
            plan.wait[row.pk] = WaitReason.WALLET_FUNDS if short else WaitReason.RECIPIENT
            continue
        gas_limit = _gas_limit(estimate.gas)
        price = price_transfer(terms.quote, gas_limit=gas_limit, fee_paid_in_wei=row.transaction_fee_total_in_wei)
        if price is None:
            plan.wait[row.pk] = WaitReason.NETWORK_FEE
            continue
        cost = row.transaction_amount_in_wei + gas_limit * price.max_fee_per_gas_in_wei
        if cost > budget:
            plan.wait[row.pk] = WaitReason.WALLET_FUNDS
            continue
        budget -= cost
        transfer = UnsignedTransfer(
            chain_id=settings.CHAIN_ID,
            nonce=nonce,
            to_address=row.to_public_address,
            value_in_wei=row.transaction_amount_in_wei,
            gas_limit=gas_limit,
            max_fee_per_gas_in_wei=price.max_fee_per_gas_in_wei,
            max_priority_fee_per_gas_in_wei=price.max_priority_fee_per_gas_in_wei,
        )
        nonce += 1
        plan.send.append((row, transfer))
    return plan


def _gas_limit(estimated_gas: int) -> int:
    """Return the limit to sign: a plain transfer needs exactly what it needs, code may need more later."""
    return estimated_gas if estimated_gas == PLAIN_GAS else estimated_gas * (100 + GAS_MARGIN_PERCENT) // 100


def _in_flight_in_wei(wallet: Wallet) -> int:
    """Return the most wei that payments under way can still take from the wallet."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(sum(transaction_amount_in_wei + transaction_fee_total_in_wei), 0) "
            "FROM transactions_transaction WHERE wallet_id = %s AND stage IN ('SIGNED', 'BROADCAST')",
            [wallet.pk],
        )
        (total,) = cursor.fetchone() or (0,)
    return int(total)


def _save_attempts(
    wallet: Wallet, planned: list[tuple[Transaction, UnsignedTransfer]], signed: Sequence[SignedTransfer]
) -> list[Attempt]:
    """Claim the nonces and the payments and save the signed bytes, all or nothing, before anything is sent.

    :raises _RacedError: when the wallet was paused, its nonce moved, or a payment is no longer ACCEPTED.
    """
    now = timezone.now()
    first, last = planned[0][1].nonce, planned[-1][1].nonce
    with db_transaction.atomic():
        claimed = Wallet.objects.filter(pk=wallet.pk, next_nonce=first, paused_at__isnull=True).update(
            next_nonce=last + 1
        )
        moved = move_transactions(
            [row.pk for row, _ in planned],
            old=[Stage.ACCEPTED],
            new=Stage.SIGNED,
            columns={
                "nonce": [transfer.nonce for _, transfer in planned],
                "transaction_hash": [each.hash for each in signed],
            },
            constants={
                "wallet_id": wallet.pk,
                "from_public_address": wallet.address,
                "signed_at": now,
                "wait_reason": WaitReason.NOTHING.value,
            },
        )
        if not claimed or len(moved) != len(planned):
            raise _RacedError
        attempts = [
            Attempt(
                wallet=wallet,
                nonce=transfer.nonce,
                transaction=row,
                hash=each.hash,
                raw_transaction=each.raw,
                gas_limit=transfer.gas_limit,
                max_fee_per_gas_in_wei=transfer.max_fee_per_gas_in_wei,
                max_priority_fee_per_gas_in_wei=transfer.max_priority_fee_per_gas_in_wei,
                signed_at=now,
            )
            for (row, transfer), each in zip(planned, signed, strict=True)
        ]
        _insert_attempts(attempts)
        fault_point("broadcast.before_commit")
    fault_point("broadcast.saved")
    return attempts


def _insert_attempts(attempts: list[Attempt]) -> None:
    """Insert rows and give them their ids; arrays take a fifth of the time of as many parameters."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO transactions_attempt (
                wallet_id, nonce, transaction_id, hash, raw_transaction, gas_limit, max_fee_per_gas_in_wei,
                max_priority_fee_per_gas_in_wei, signed_at, sends, last_error)
            SELECT wallet_id, nonce, transaction_id, hash, raw, gas_limit, max_fee, max_priority_fee, signed_at, 0, ''
            FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::text[], %s::bytea[], %s::bigint[], %s::numeric[],
                        %s::numeric[], %s::timestamptz[]) WITH ORDINALITY
                AS data(wallet_id, nonce, transaction_id, hash, raw, gas_limit, max_fee, max_priority_fee, signed_at,
                        position)
            ORDER BY position
            RETURNING id, hash
            """,
            [
                [attempt.wallet_id for attempt in attempts],
                [attempt.nonce for attempt in attempts],
                [attempt.transaction_id for attempt in attempts],
                [attempt.hash for attempt in attempts],
                [bytes(attempt.raw_transaction) for attempt in attempts],
                [attempt.gas_limit for attempt in attempts],
                [str(attempt.max_fee_per_gas_in_wei) for attempt in attempts],
                [str(attempt.max_priority_fee_per_gas_in_wei) for attempt in attempts],
                [attempt.signed_at for attempt in attempts],
            ],
        )
        ids = {tx_hash: attempt_id for attempt_id, tx_hash in cursor.fetchall()}
    for attempt in attempts:
        attempt.pk = ids[attempt.hash]


def _reject(errors: dict[int, str]) -> None:
    """Fail payments that the network refuses before anything is sent, and give the whole hold back."""
    if not errors:
        return
    now = timezone.now()
    with db_transaction.atomic():
        ids = sorted(errors)
        moved = move_transactions(
            ids,
            old=[Stage.ACCEPTED],
            new=Stage.SETTLED,
            columns={"failure_detail": [errors[row_id][:500] for row_id in ids]},
            constants={
                "status": Status.FAILED.value,
                "failure_reason": FailureReason.REJECTED.value,
                "wait_reason": WaitReason.NOTHING.value,
                "settled_at": now,
                "next_check_at": None,
                "needs_attention": False,
            },
        )
        post(now=now, release_holds=[str(row_id) for row_id in moved])
