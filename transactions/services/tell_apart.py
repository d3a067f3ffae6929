"""Staff tell what has used a paused wallet's next nonces: a payment of ours, or none, also where no node can tell."""

import datetime as dt
from dataclasses import dataclass

from django.db import transaction as db_transaction
from django.db.models import Q, Value
from django.db.models.functions import Greatest
from django.utils import timezone

from accounts.models import User
from accounts.services.audit import clean_reason, record_audit
from transactions.chain.client import Chain, get_chain
from transactions.chain.types import MinedTransaction
from transactions.exceptions import NonceNotUnknownError, NotTheSamePaymentError
from transactions.models import PassedNonce, Transaction, Wallet
from transactions.services.attempts import insert_attempts
from transactions.services.moves import move_transactions
from transactions.services.nonces import claim_next_nonce, is_payment, take_in_stranger, unsigned_attempt
from transactions.states import Stage, WaitReason

MINED_AT_ONCE = 100
IN_POOL_AT_ONCE = 1_000
"""How many nonces are passed over at a time; of those that blocks hold, the nodes are asked for each."""

CHANGED = "What is unknown has changed meanwhile. Look again."


def identify_nonce(
    *,
    actor: User,
    wallet_id: int,
    transaction_hash: str,
    payment_id: int | None,
    reason: str,
    now: dt.datetime,
    chain: Chain | None = None,
) -> None:
    """Tell what the transaction is that used a paused wallet's next nonce.

    :param transaction_hash: the one that is told. What comes after it, once it was told, is another one.
    :param payment_id: the waiting payment that it paid; None when it is none of ours.
    :raises ReasonRequiredError: when no reason is given.
    :raises NonceNotUnknownError: when the wallet isn't paused, no node knows such a transaction, or it was told.
    :raises NotTheSamePaymentError: when the payment doesn't wait, or is to pay something else.
    :raises ChainError: when no node answers.
    """
    reason = clean_reason(reason)
    wallet, mined = find_unknown(wallet_id=wallet_id, chain=chain)
    if mined.hash != transaction_hash:
        raise NonceNotUnknownError(CHANGED)
    with db_transaction.atomic():
        if payment_id is None:
            done = take_in_stranger(wallet, mined)
        else:
            row = (
                Transaction.objects.select_for_update(no_key=True)
                .filter(Q(wallet__isnull=True) | Q(wallet=wallet), pk=payment_id, stage=Stage.ACCEPTED)
                .first()
            )
            if row is None or not is_payment(row, mined):
                raise NotTheSamePaymentError
            done = claim_next_nonce(wallet, mined.nonce)
            if done:
                constants = {
                    "wallet_id": wallet.pk,
                    "from_public_address": wallet.address,
                    "nonce": mined.nonce,
                    "transaction_hash": mined.hash,
                    "signed_at": now,
                    "wait_reason": WaitReason.NOTHING.value,
                }
                move_transactions(
                    [row.pk], old=[Stage.ACCEPTED], new=Stage.SIGNED, constants=constants, though_cancelled=True
                )
                row.refresh_from_db()
                insert_attempts([unsigned_attempt(row, wallet, mined)])
        if not done:
            raise NonceNotUnknownError(CHANGED)
        details = {"nonce": mined.nonce, "hash": mined.hash, "payment": payment_id}
        record_audit(actor=actor, action="wallet.nonce_identified", target=wallet, reason=reason, details=details)


def find_unknown(*, wallet_id: int, chain: Chain | None = None) -> tuple[Wallet, MinedTransaction]:
    """Return a paused wallet and the transaction that used its next nonce: what staff are to tell apart.

    :raises NonceNotUnknownError: when the wallet isn't paused, or no node knows such a transaction.
    :raises ChainError: when no node answers.
    """
    wallet = _paused(wallet_id)
    mined = (chain or get_chain()).transactions_of(wallet.address, [wallet.next_nonce]).get(wallet.next_nonce)
    if mined is None:
        raise NonceNotUnknownError
    return wallet, mined


def pass_over(*, actor: User, wallet_id: int, nonces: range, reason: str, chain: Chain | None = None) -> None:
    """Go on, though no node can tell what has used a paused wallet's next nonces: staff say that none of it is ours.

    What a block holds is gone; what a pool holds is used up by no-ops once the wallet is resumed; what was seen and no
    node has any more is forgotten, and its nonces are given out. What one of them has moved after all is in no book
    where no no-op was signed for it, and differs from the chain until it is booked.

    :param nonces: as `find_untold` told them.
    :raises ReasonRequiredError: when no reason is given.
    :raises NonceNotUnknownError: when they aren't those any more.
    :raises ChainError: when no node answers, or one that may know doesn't.
    """
    reason = clean_reason(reason)
    untold = find_untold(wallet_id=wallet_id, chain=chain)
    with db_transaction.atomic():
        # Compared and set: nobody has told one apart meanwhile, or sent this twice.
        rows = Wallet.objects.filter(pk=wallet_id, next_nonce=nonces.start, paused_at__isnull=False)
        if untold.is_gone:
            changed = rows.filter(nonces_seen=nonces.stop).update(nonces_seen=nonces.start)
        else:
            seen = Greatest("nonces_seen", Value(nonces.stop))
            changed = rows.update(next_nonce=nonces.stop, nonces_seen=seen, untold_since=timezone.now())
        if untold.nonces != nonces or not changed:
            raise NonceNotUnknownError(CHANGED)
        if not untold.is_gone:
            PassedNonce.objects.bulk_create([PassedNonce(wallet=untold.wallet, nonce=nonce) for nonce in nonces])
        details = {"first_nonce": nonces.start, "last_nonce": nonces.stop - 1, "gone": untold.is_gone}
        action = "wallet.nonces_passed_over"
        record_audit(actor=actor, action=action, target=untold.wallet, reason=reason, details=details)


@dataclass(frozen=True, slots=True)
class Untold:
    """Those of a paused wallet's next nonces that were seen to be used, and by what no node can tell.

    :param is_gone: whether no node counts them any more.
    """

    wallet: Wallet
    nonces: range
    is_gone: bool


def find_untold(*, wallet_id: int, chain: Chain | None = None) -> Untold:
    """Return which of a paused wallet's next nonces no node can tell anything of: of one state, from the next one on.

    :raises NonceNotUnknownError: when the wallet isn't paused, or there is nothing that can't be told.
    :raises ChainError: when no node answers, or one that may know doesn't.
    """
    chain = chain or get_chain()
    wallet = _paused(wallet_id)
    count = chain.view([wallet.address], with_finalized=False).nonces[wallet.address]
    first = wallet.next_nonce
    if count.latest > first:
        nonces = range(first, min(count.latest, first + MINED_AT_ONCE))
        told = chain.transactions_of(wallet.address, nonces)
        if first in told:
            raise NonceNotUnknownError("A node can tell what it was.")
        run = range(first, min(told, default=nonces.stop))
        # By themselves: beside what is found, one whose receipt isn't there yet is absent, too.
        if told and chain.transactions_of(wallet.address, run):
            raise NonceNotUnknownError(CHANGED)
        return Untold(wallet, run, is_gone=False)
    if count.pending > first:
        return Untold(wallet, range(first, min(count.pending, first + IN_POOL_AT_ONCE)), is_gone=False)
    if wallet.nonces_seen > first:
        return Untold(wallet, range(first, wallet.nonces_seen), is_gone=True)
    raise NonceNotUnknownError("The chain counts no transaction of it that this desk does not know.")


def _paused(wallet_id: int) -> Wallet:
    wallet = Wallet.objects.filter(pk=wallet_id, paused_at__isnull=False).first()
    if wallet is None:
        raise NonceNotUnknownError("Only a paused wallet's transactions are told apart by hand.")
    return wallet
