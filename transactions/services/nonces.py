"""Nonces: find what sets a wallet's row and the chain apart, and mend it where that can be done for sure.

The row says which nonce comes next. The chain may have used it already: another program has the key, or our database
was restored from a backup that did not know of it yet. What it did with it is looked up. If no waiting payment could
be the one that was paid there, it is taken in as a stranger's transaction and the row moves on; otherwise the wallet
pauses, and staff tell. Until then nothing that was accepted before goes out, from any wallet.
"""

import datetime as dt
import logging
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.db import connection
from django.db import transaction as db_transaction
from django.db.models import F, Q, Value
from django.db.models.functions import Coalesce
from django.utils import timezone

from accounts.keys import Signer, UnsignedTransfer, sign_transfers
from accounts.ledger import system_account
from accounts.models import AccountKind, AlertKind
from accounts.services.alerts import raise_alert
from transactions.chain.client import Chain
from transactions.chain.exceptions import ChainError
from transactions.chain.types import FeeQuote, MinedTransaction, NonceCount
from transactions.models import Attempt, Transaction, Wallet
from transactions.services.attempts import insert_attempts, signed_attempt
from transactions.services.pricing import PLAIN_GAS, price_transfer
from transactions.services.send import send_attempts
from transactions.services.wallets import pause_wallet
from transactions.states import UNSIGNED, Kind, Purpose, Stage
from txnsite.faults import fault_point

logger = logging.getLogger(__name__)

AT_ONCE = 20
"""How many nonces are looked up or filled at a time; the next run goes on."""

PATIENCE = dt.timedelta(minutes=5)
"""How long a transaction that nobody knows may stay out of sight before staff are asked."""


def agrees(wallet: Wallet, count: NonceCount, chain: Chain) -> bool:
    """Say whether the wallet's row and the chain's count agree, once the strangers that are sure have been taken in.

    :param wallet: read after the count was, or its own newest payments would look like a stranger's.
    """
    note_strangers(wallet, count, timezone.now())
    if wallet.nonces_seen <= wallet.next_nonce:
        if wallet.unknown_since is not None:
            # What somebody else has noted meanwhile stays noted.
            told = Wallet.objects.filter(pk=wallet.pk, nonces_seen__lte=F("next_nonce"))
            told.update(unknown_since=None, untold_since=None)
            wallet.read_nonces_again()
        return wallet.unknown_since is None
    _take_in_strangers(wallet, count, chain)
    return False


def note_strangers(wallet: Wallet, count: NonceCount, now: dt.datetime) -> None:
    """Note that the chain counts more transactions of a wallet than its row: somebody has to look into it.

    The row is read after the chain was asked: each nonce of ours is counted in it before it is sent. What was seen
    once stays so, though a node counts less: it may lag, or have lost its pool, and the transaction may come back.
    """
    if count.next_nonce > max(wallet.next_nonce, wallet.nonces_seen):
        newly_seen = Wallet.objects.filter(
            pk=wallet.pk, next_nonce__lt=count.next_nonce, nonces_seen__lt=count.next_nonce
        )
        newly_seen.update(
            nonces_seen=count.next_nonce, unknown_since=now, untold_since=Coalesce("untold_since", Value(now))
        )
        wallet.read_nonces_again()
    elif wallet.nonces_seen > wallet.next_nonce and wallet.unknown_since is None:
        # A process of the version before may have taken it for told.
        still_unknown = Wallet.objects.filter(pk=wallet.pk, nonces_seen__gt=F("next_nonce"), unknown_since=None)
        still_unknown.update(unknown_since=now, untold_since=now)
        wallet.read_nonces_again()


def is_payment(row: Transaction, mined: MinedTransaction) -> bool:
    """Say whether a transaction did what this payment is to do."""
    return (mined.to_address, mined.value_in_wei) == (row.to_public_address, row.transaction_amount_in_wei)


def take_in_stranger(wallet: Wallet, mined: MinedTransaction) -> bool:
    """Let the wallet's next nonce be a stranger's transaction; say whether it still was the next one."""
    with db_transaction.atomic():
        if not claim_next_nonce(wallet, mined.nonce):
            return False
        row = _make_own(
            wallet,
            mined.nonce,
            Kind.STRANGER,
            AccountKind.EXTERNAL_FUNDING,
            stage=Stage.BROADCAST,
            to_public_address=mined.to_address or "",
            transaction_amount_in_wei=mined.value_in_wei,
            transaction_hash=mined.hash,
        )
        insert_attempts([unsigned_attempt(row, wallet, mined)])
        tell_of_stranger(wallet, mined)
    return True


def tell_of_stranger(wallet: Wallet, mined: MinedTransaction) -> None:
    """Raise an alert for a transaction of a wallet's that was signed elsewhere."""
    message = (
        f"{mined.hash} used nonce {mined.nonce} and was not signed by this desk as it is now: another program has the "
        "key, or the database was restored from a backup. It is booked as what it did."
    )
    subject = f"{wallet.address} nonce {mined.nonce}"
    raise_alert(kind=AlertKind.NONCE_DRIFT, subject=subject, message=message, now=timezone.now())


def claim_next_nonce(wallet: Wallet, nonce: int) -> bool:
    """Count a nonce as used if it is the wallet's next one, and it was told what used it; say whether it was."""
    return bool(
        Wallet.objects.filter(pk=wallet.pk, next_nonce=nonce).update(next_nonce=nonce + 1, untold_since=timezone.now())
    )


def unsigned_attempt(row: Transaction, wallet: Wallet, mined: MinedTransaction) -> Attempt:
    """Return the attempt, not saved yet, that a transaction signed elsewhere is for a row of ours."""
    if row.kind in (Kind.PAYMENT, Kind.SWEEP) and is_payment(row, mined):
        purpose = Purpose.PAYMENT
    elif (mined.to_address, mined.value_in_wei) == (wallet.address, 0):
        purpose = Purpose.CANCEL
    else:
        purpose = Purpose.STRANGER
    return Attempt(
        wallet=wallet,
        nonce=mined.nonce,
        transaction=row,
        purpose=purpose,
        value_in_wei=mined.value_in_wei if purpose == Purpose.STRANGER else None,
        hash=mined.hash,
        raw_transaction=b"",
        gas_limit=0,
        max_fee_per_gas_in_wei=0,
        max_priority_fee_per_gas_in_wei=0,
    )


def _take_in_strangers(wallet: Wallet, count: NonceCount, chain: Chain) -> None:
    """Look up what used the nonces from the wallet's next one on, and take in what can't be one of our payments.

    What no block holds yet is waited for, and so is what no node can tell; when that takes too long, staff are asked.
    """
    nonces = range(wallet.next_nonce, min(count.latest, wallet.next_nonce + AT_ONCE))
    if not nonces:
        _ask_staff_if_late(wallet, _tell_waiting(wallet, count))
        return
    try:
        found = chain.transactions_of(wallet.address, nonces)
    except ChainError as error:
        logger.warning("What used nonces of %s can't be told now, as a node can't be asked: %s", wallet, error)
        _ask_staff_if_late(
            wallet,
            f"What used nonce {wallet.next_nonce} can't be told: a node that may know fails or is too busy, as the "
            "workers' log says. It has to be mended, or taken out of CHAIN_RPC_URLS.",
        )
        return
    for nonce in nonces:
        mined = found.get(nonce)
        if mined is None:
            reason = f"No node can tell what used nonce {nonce}: one that keeps older blocks has to be asked."
            _ask_staff_if_late(wallet, reason)
            return
        candidates = _candidates(wallet, mined)
        if candidates:
            _pause(wallet, _ask_staff(mined, candidates))
            return
        if not take_in_stranger(wallet, mined):
            return


def _tell_waiting(wallet: Wallet, count: NonceCount) -> str:
    """Say where transactions are that nobody knows and no block holds."""
    in_pool = count.pending - wallet.next_nonce
    if in_pool > 0:
        return (
            f"Transactions that this desk does not know wait in the node's pool from nonce {wallet.next_nonce} on "
            f"({in_pool} of them), and no block takes them: whoever sent them has to replace them."
        )
    return (
        f"Transactions that this desk does not know were seen from nonce {wallet.next_nonce} on "
        f"({wallet.nonces_seen - wallet.next_nonce} of them), and no node has them any more: they may come back."
    )


def _ask_staff_if_late(wallet: Wallet, reason: str) -> None:
    """Pause a wallet whose transactions have been unknown for long."""
    if wallet.untold_since is not None and timezone.now() - wallet.untold_since > PATIENCE:
        _pause(wallet, reason)


def _pause(wallet: Wallet, reason: str) -> None:
    """Pause a wallet, or tell of one that is paused already what staff have to see to before it is resumed."""
    pause_wallet(wallet, reason, timezone.now(), again=True)


def _candidates(wallet: Wallet, mined: MinedTransaction) -> list[int]:
    """Return the ids of waiting payments that this transaction of a wallet may have paid.

    One that waits for approval is among them: a backup may be older than its verdict. What is bound to another wallet
    is not: that alone can have sent it.
    """
    if mined.to_address is None:
        return []
    same = Transaction.objects.filter(
        Q(wallet__isnull=True) | Q(wallet=wallet),
        stage__in=UNSIGNED,
        to_public_address=mined.to_address,
        transaction_amount_in_wei=mined.value_in_wei,
    )
    return list(same.order_by("pk").values_list("pk", flat=True)[:AT_ONCE])


def _ask_staff(mined: MinedTransaction, candidates: Sequence[int]) -> str:
    payments = ", ".join(f"#{row_id}" for row_id in candidates)
    return (
        f"Nonce {mined.nonce} was used by {mined.hash}, which this desk does not know. It pays what these payments are "
        f"to pay: {payments}. Tell which one it is, or that it is none of them."
    )[:500]


def fill_gaps(wallet: Wallet, signer: Signer, count: NonceCount, quote: FeeQuote, chain: Chain) -> None:
    """Use up nonces that no row of ours has: all later ones wait for them.

    :raises SignerUnavailableError: when nothing can be signed now.
    """
    # What staff have passed over has no row, though a pool may hold a stranger's transaction there.
    first = count.latest if count.latest < wallet.nonces_seen else count.pending
    nonces = range(first, wallet.next_nonce)
    if not nonces:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT nonce FROM generate_series(%s::bigint, %s::bigint) AS nonce WHERE NOT EXISTS ("
            "SELECT FROM transactions_transaction AS row WHERE row.wallet_id = %s AND row.nonce = nonce.nonce) "
            "ORDER BY nonce LIMIT %s",
            [nonces.start, nonces.stop - 1, wallet.pk, AT_ONCE],
        )
        gaps = [row[0] for row in cursor.fetchall()]
    price = price_transfer(quote, gas_limit=PLAIN_GAS, fee_paid_in_wei=settings.CANCEL_FEE_MAX_IN_WEI)
    if not gaps or price is None:
        return
    transfers = [
        UnsignedTransfer(
            chain_id=settings.CHAIN_ID,
            nonce=nonce,
            to_address=wallet.address,
            value_in_wei=0,
            gas_limit=PLAIN_GAS,
            max_fee_per_gas_in_wei=price.max_fee_per_gas_in_wei,
            max_priority_fee_per_gas_in_wei=price.max_priority_fee_per_gas_in_wei,
        )
        for nonce in gaps
    ]
    with db_transaction.atomic():
        attempts = []
        for transfer, signed in zip(transfers, sign_transfers(signer, transfers), strict=True):
            row = _make_own(
                wallet,
                transfer.nonce,
                Kind.FILL,
                AccountKind.NETWORK_FEES,
                stage=Stage.SIGNED,
                to_public_address=wallet.address,
                transaction_amount_in_wei=0,
                transaction_hash=signed.hash,
            )
            attempts.append(signed_attempt(row, wallet, transfer, signed, Purpose.CANCEL))
        insert_attempts(attempts)
        fault_point("nonces.before_commit")
    logger.warning("Nonces %s of %s are used by nobody; filled with no-ops.", gaps, wallet)
    send_attempts(attempts, chain)


def _make_own(wallet: Wallet, nonce: int, kind: Kind, opposite: AccountKind, **columns: Any) -> Transaction:
    """Insert a row for a nonce that is nobody's payment. It concerns no user, so no watchdog and no cache."""
    now = timezone.now()
    return Transaction.objects.create(
        kind=kind,
        user_account=system_account(opposite),
        transaction_fee_total_in_wei=0,
        payload_hash="",
        wallet=wallet,
        from_public_address=wallet.address,
        nonce=nonce,
        accepted_at=now,
        signed_at=now,
        broadcast_at=now if columns["stage"] == Stage.BROADCAST else None,
        **columns,
    )
