"""Staff tell what has used a paused wallet's next nonces: a payment of ours, or none, also where no node can tell."""

import datetime as dt

from django.db import transaction as db_transaction
from django.db.models import Q

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

PASSED_OVER_MAX = 1_000
"""How many nonces are passed over at a time."""


def identify_nonce(
    *, actor: User, wallet_id: int, payment_id: int | None, reason: str, now: dt.datetime, chain: Chain | None = None
) -> str:
    """Tell what the transaction is that used a paused wallet's next nonce; return its hash.

    :param payment_id: the waiting payment that it paid; None when it is none of ours.
    :raises ReasonRequiredError: when no reason is given.
    :raises NonceNotUnknownError: when the wallet isn't paused, or no node knows such a transaction.
    :raises NotTheSamePaymentError: when the payment doesn't wait, or is to pay something else.
    :raises ChainError: when no node answers.
    """
    reason = clean_reason(reason)
    wallet, mined = find_unknown(wallet_id=wallet_id, chain=chain)
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
            raise NonceNotUnknownError
        details = {"nonce": mined.nonce, "hash": mined.hash, "payment": payment_id}
        record_audit(actor=actor, action="wallet.nonce_identified", target=wallet, reason=reason, details=details)
    return mined.hash


def find_unknown(*, wallet_id: int, chain: Chain | None = None) -> tuple[Wallet, MinedTransaction]:
    """Return a paused wallet and the transaction that used its next nonce: what staff are to tell apart.

    :raises NonceNotUnknownError: when the wallet isn't paused, or no node knows such a transaction.
    :raises ChainError: when no node answers.
    """
    wallet = _paused(wallet_id)
    mined = _find_mined(wallet, chain or get_chain())
    if mined is None:
        raise NonceNotUnknownError
    return wallet, mined


def pass_over(*, actor: User, wallet_id: int, nonces: range, reason: str, chain: Chain | None = None) -> None:
    """Go on behind nonces of a paused wallet that no node can tell anything of: staff say that none of it is ours.

    Those that no block holds are used up by no-ops once it is resumed. What one of them has moved after all is in no
    book, and differs from the chain until it is booked.

    :param nonces: as `find_untold` returned them.
    :raises ReasonRequiredError: when no reason is given.
    :raises NonceNotUnknownError: when they aren't those any more.
    :raises ChainError: when no node answers.
    """
    reason = clean_reason(reason)
    wallet, untold = find_untold(wallet_id=wallet_id, chain=chain)
    with db_transaction.atomic():
        # Compared and set: nobody has told one apart meanwhile, or sent this twice.
        rows = Wallet.objects.filter(pk=wallet.pk, next_nonce=nonces.start, paused_at__isnull=False)
        if untold != nonces or not rows.update(next_nonce=nonces.stop):
            raise NonceNotUnknownError("What is unknown has changed meanwhile. Look again.")
        PassedNonce.objects.bulk_create([PassedNonce(wallet=wallet, nonce=nonce) for nonce in nonces])
        details = {"first_nonce": nonces.start, "last_nonce": nonces.stop - 1}
        record_audit(actor=actor, action="wallet.nonces_passed_over", target=wallet, reason=reason, details=details)


def find_untold(*, wallet_id: int, chain: Chain | None = None) -> tuple[Wallet, range]:
    """Return a paused wallet and those of its next nonces that were seen to be used, and by what no node can tell.

    One that a block holds comes alone: what used the nonces after it may be told.

    :raises NonceNotUnknownError: when the wallet isn't paused, or there is nothing that can't be told.
    :raises ChainError: when no node answers.
    """
    chain = chain or get_chain()
    wallet = _paused(wallet_id)
    count = chain.view([wallet.address], with_finalized=False).nonces[wallet.address]
    first, end = wallet.next_nonce, max(count.next_nonce, wallet.nonces_seen)
    if count.latest > first:
        if _find_mined(wallet, chain) is not None:
            raise NonceNotUnknownError("A node can tell what it was.")
        end = first + 1
    if end <= first:
        raise NonceNotUnknownError("The chain counts no transaction of it that this desk does not know.")
    return wallet, range(first, min(end, first + PASSED_OVER_MAX))


def _paused(wallet_id: int) -> Wallet:
    wallet = Wallet.objects.filter(pk=wallet_id, paused_at__isnull=False).first()
    if wallet is None:
        raise NonceNotUnknownError("Only a paused wallet's transactions are told apart by hand.")
    return wallet


def _find_mined(wallet: Wallet, chain: Chain) -> MinedTransaction | None:
    return chain.transactions_of(wallet.address, [wallet.next_nonce]).get(wallet.next_nonce)
