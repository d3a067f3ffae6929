"""Displaced: what was signed and can't be mined any more, since something else has used its nonce.

What a node knows is taken in, and ends it once that is final. An authorization (EIP-7702) uses up a nonce of whoever
has signed it without a transaction of theirs: no receipt will ever tell of it, so staff have to give up what the desk
has signed for that nonce.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction as db_transaction
from django.db.models import Case, Exists, OuterRef, Value, When
from django.db.models.functions import Random

from accounts.ledger import post
from accounts.models import User
from accounts.services.audit import clean_reason, record_audit
from transactions.chain.client import Chain, get_chain
from transactions.exceptions import NotDisplacedError, TransactionNotFoundError
from transactions.models import Attempt, PassedNonce, Transaction, Wallet
from transactions.services.attempts import insert_attempts
from transactions.services.holdings import read_holding
from transactions.services.journals import rounds_of
from transactions.services.moves import move_transactions
from transactions.services.nonces import tell_of_stranger, unsigned_attempt
from transactions.services.reverse import recoveries_of
from transactions.services.send import set_wait_reason
from transactions.states import FailureReason, Kind, Stage, Status, WaitReason

UNDER_WAY = (Stage.SIGNED, Stage.BROADCAST)
AT_ONCE = 20
"""How many nonces are looked up at a time; the next block goes on."""


@dataclass(frozen=True, slots=True)
class Displaced:
    """A transaction whose nonce is used for good and by nothing that a node knows; `hashes` are all its attempts'."""

    row: Transaction
    wallet: Wallet
    nonce: int
    hashes: frozenset[str]


def explain_used_nonces(wallet: Wallet, nonce_count: int, head_number: int, chain: Chain) -> None:
    """Find out what used up the nonces of payments for which none of our receipts has turned up in long.

    What it was becomes an attempt like any other: watched, and settled for what it is once it is final. What no node
    can tell is flagged for staff, and asked for again with later blocks.

    :raises ChainError: when the node doesn't answer.
    """
    young = Attempt.objects.filter(transaction=OuterRef("pk"), signed_block__gt=head_number - settings.CONFIRMATIONS)
    missing = Transaction.objects.filter(~Exists(young), wallet=wallet, nonce__lt=nonce_count, stage__in=UNDER_WAY)
    # What waits for staff may do so for ever: it is asked for after the rest, and in turns.
    turn = Case(When(wait_reason=WaitReason.NONCE, then=Random()), default=Value(-1.0))
    rows = {row.nonce: row for row in missing.order_by(turn, "nonce")[:AT_ONCE] if row.nonce is not None}
    if not rows:
        return
    known = set(Attempt.objects.filter(transaction__in=rows.values()).values_list("hash", flat=True))
    found = chain.transactions_of(wallet.address, sorted(rows))
    for nonce, mined in found.items():
        if mined.hash not in known:
            with db_transaction.atomic():
                insert_attempts([unsigned_attempt(rows[nonce], wallet, mined)])
                tell_of_stranger(wallet, mined)
    untold = {nonce: row.pk for nonce, row in rows.items() if nonce not in found and not row.may_be_displaced}
    _flag_untold(untold, wallet, head_number, chain)


def _flag_untold(row_ids: Mapping[int, int], wallet: Wallet, head_number: int, chain: Chain) -> None:
    """Flag what waits for staff to be given up: its nonce was used so long ago that no receipt is merely late.

    :param row_ids: by nonce.
    """
    if not row_ids:
        return
    used = chain.nonces([wallet.address], block_number=max(0, head_number - settings.CONFIRMATIONS))[wallet.address]
    lost = {row_id: WaitReason.NONCE for nonce, row_id in row_ids.items() if nonce < used}
    set_wait_reason(lost, stages=UNDER_WAY)


def give_up(
    *, actor: User, transaction_id: int, reason: str, now: dt.datetime, chain: Chain | None = None
) -> Transaction:
    """Fail a transaction whose nonce is used for good, and by what no node can tell; return it as it is then.

    A payment's owner has all of it back. Its nonce counts as used from then on. If it was made after all, it was paid
    and given back: nothing looks for its receipt any more.

    :raises ReasonRequiredError: when no reason is given.
    :raises TransactionNotFoundError: when there is no such transaction.
    :raises NotDisplacedError: when it may still be mined, or a node can tell what became of it.
    :raises ChainError: when no node can tell; nothing is concluded from that.
    """
    reason = clean_reason(reason)
    found = find_displaced(transaction_id=transaction_id, chain=chain)
    with db_transaction.atomic():
        row = Transaction.objects.select_for_update(no_key=True).get(pk=found.row.pk)
        # One more attempt would be what a node could tell meanwhile.
        if row.stage not in UNDER_WAY or _hashes_of(row) != found.hashes:
            raise NotDisplacedError("Something has happened to it meanwhile. Look at it again.")
        # One that staff passed over before was to be used up by a no-op, and it is that which is given up.
        PassedNonce.objects.bulk_create([PassedNonce(wallet=found.wallet, nonce=found.nonce)], ignore_conflicts=True)
        _fail(row, now)
        details = {"wallet": found.wallet.address, "nonce": found.nonce, "hashes": sorted(found.hashes)}
        record_audit(actor=actor, action="payment.given_up", target=row, reason=reason, details=details)
        row.refresh_from_db()
    return row


def find_displaced(*, transaction_id: int, chain: Chain | None = None) -> Displaced:
    """Return a transaction whose nonce a final block has used, while no node knows any transaction that did it.

    :raises TransactionNotFoundError: when there is no such transaction.
    :raises NotDisplacedError: when it may still be mined, or a node can tell what became of it.
    :raises ChainError: when no node can tell; nothing is concluded from that.
    """
    chain = chain or get_chain()
    row = Transaction.objects.select_related("wallet").filter(pk=transaction_id).first()
    if row is None:
        raise TransactionNotFoundError
    if row.stage not in UNDER_WAY:
        raise NotDisplacedError("It does not wait for a block: there is nothing to give up.")
    assert row.wallet is not None, "a CHECK guarantees it from SIGNED on"
    assert row.nonce is not None, "a CHECK guarantees it from SIGNED on"
    hashes = _hashes_of(row)
    # The count first: what turns up afterwards is looked at all the same.
    if row.nonce >= read_holding(chain, row.wallet).nonces[row.wallet.address]:
        raise NotDisplacedError(f"Its nonce {row.nonce} is not used in any final block yet: it may still be mined.")
    if chain.receipts(sorted(hashes)):
        raise NotDisplacedError("A block holds it, or what took its place: it goes on by itself.")
    if chain.transactions_of(row.wallet.address, [row.nonce]):
        raise NotDisplacedError(f"A node can tell what used its nonce {row.nonce}: it goes on by itself.")
    return Displaced(row, row.wallet, row.nonce, hashes)


def _fail(row: Transaction, now: dt.datetime) -> None:
    """End a locked transaction as displaced, with what it has held given back."""
    if row.kind == Kind.PAYMENT:
        # What the desk made up for in an earlier round it takes back of what is given back now.
        recovered = recoveries_of(rounds_of(row.pk, row.reversals))
        post(now=now, journals=recovered, release_holds=[row.ledger_source])
    move_transactions(
        [row.pk],
        old=UNDER_WAY,
        new=Stage.SETTLED,
        constants={
            "status": Status.FAILED.value,
            "failure_reason": FailureReason.DISPLACED.value,
            "wait_reason": WaitReason.NOTHING.value,
            "settled_at": now,
            "next_check_at": None,
            "needs_attention": False,
        },
    )


def _hashes_of(row: Transaction) -> frozenset[str]:
    return frozenset(Attempt.objects.filter(transaction=row).values_list("hash", flat=True))
