"""Rotate a hot wallet's key: a new key with a wallet of its own, the old wallet drained, emptied into it and retired.

How far a rotation has come is in the rows: `replaced_by` once there is a new wallet, a move under way while money goes
there, `retired_at` at the end. Whoever asks again goes on where the last one stopped, at any point.
"""

import datetime as dt
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction as db_transaction
from django.db.models import Q, QuerySet

from accounts.keys import create_keystore, list_keystores, load_signer, retire_keystore
from accounts.keys.sources import key_sources
from accounts.locks import advisory_lock
from accounts.models import AlertKind, User
from accounts.money import format_ether
from accounts.services.alerts import resolve_alert
from accounts.services.audit import clean_reason, record_audit
from transactions.chain.client import Chain, get_chain
from transactions.exceptions import WalletStateError
from transactions.models import Transaction, Wallet
from transactions.services import wallet_care
from transactions.services.blocks import walked_and_final
from transactions.services.pricing import PLAIN_GAS, reserve_for_move, usual_price
from transactions.services.refuse import refuse_unsigned
from transactions.services.sweep import order_move
from transactions.services.wallets import Opening, find_opening, open_wallet
from transactions.states import FailureReason, Kind, Stage, Status, WalletRole


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a rotation has come: whether it is over, and in sentences what was done and what it waits for."""

    is_over: bool
    words: tuple[str, ...]


def rotate_key(
    *,
    actor: User | None,
    address: str,
    reason: str,
    to_address: str | None = None,
    now: dt.datetime,
    chain: Chain | None = None,
) -> Standing:
    """Begin to rotate a hot wallet's key, or take the next step of it; say where it stands.

    :param address: of the old wallet, in EIP-55 form.
    :param reason: needed to begin.
    :param to_address: whose key is there already and takes over; None makes a new one in the keystore.
    :raises WalletStateError: when this can't be done with such a wallet or such a key to take over, or another rotation
        is being worked on.
    :raises ReasonRequiredError: when no reason is given to begin.
    :raises AccountsError: when a key can't be made, opened or put away.
    :raises ChainError: when no node answers.
    """
    if to_address == address:
        raise WalletStateError("A key can't replace itself.")
    chain = chain or get_chain()
    with advisory_lock("rotate_key") as is_mine:
        if not is_mine:
            raise WalletStateError("Another rotation is being worked on; run this again when that is done.")
        wallet = Wallet.objects.filter(address=address, role=WalletRole.HOT).first()
        if wallet is None:
            raise WalletStateError(f"There is no hot wallet {address}.")
        begun: tuple[str, ...] = ()
        if wallet.replaced_by_id is None:
            begun = _begin(wallet, actor, clean_reason(reason), to_address, now, chain)
            wallet.refresh_from_db()
        elif to_address is not None and wallet.replaced_by != Wallet.objects.filter(address=to_address).first():
            raise WalletStateError(f"{wallet} is being replaced by {wallet.replaced_by} already.")
        standing = _go_on(wallet, actor, now, chain)
    return Standing(standing.is_over, (*begun, *standing.words))


def _begin(
    wallet: Wallet, actor: User | None, reason: str, to_address: str | None, now: dt.datetime, chain: Chain
) -> tuple[str, ...]:
    """Have a new wallet take over from the old one, for good."""
    if to_address is None:
        # Asked first: without a node there would be a key that no row knows of. Its address is known to nobody yet.
        opening = Opening(walked_and_final(chain), balance_in_wei=0, nonce_count=0)
        new_address = create_keystore(settings.KEYSTORE_DIR, settings.KEYSTORE_PASSPHRASE)
    else:
        new_address = load_signer(to_address).address
        opening = find_opening(new_address, chain)
    with db_transaction.atomic():
        new = open_wallet(new_address, opening)
        if new.role != WalletRole.HOT or new.draining_at is not None:
            raise WalletStateError(f"{new} can't take over: it is no hot wallet that may be given payments.")
        if wallet.draining_at is None:
            wallet_care.drain(actor=actor, wallet_id=wallet.pk, reason=reason, now=now)
        Wallet.objects.filter(pk=wallet.pk).update(replaced_by=new)
        record_audit(actor=actor, action="wallet.replaced", target=wallet, reason=reason, details={"by": new.address})
    words = f"{new} takes over from {wallet}, which gets no new payments."
    if to_address is None:
        words = f"{words} Its key file is in {settings.KEYSTORE_DIR}: back it up now."
    return (words,)


def _go_on(wallet: Wallet, actor: User | None, now: dt.datetime, chain: Chain) -> Standing:
    """Take the step that is next; where money is under way, that is to wait for it."""
    if wallet.retired_at is not None:
        return Standing(is_over=True, words=_put_key_away(wallet.address))
    if wallet.paused_at is not None:
        words = f"{wallet} is paused, so nothing can leave it: {wallet.paused_reason} See to that and resume it."
        return Standing(is_over=False, words=(words,))
    terms = chain.terms([], [wallet.address])
    balance = terms.balances[wallet.address]
    _call_off_unpayable(wallet, balance, PLAIN_GAS * usual_price(terms.quote), now)
    count = _under_way(wallet).count()
    if count:
        words = f"{count} of its transactions {'is' if count == 1 else 'are'} not final yet."
        return Standing(is_over=False, words=(words,))
    counted = terms.nonces[wallet.address]
    if not counted.latest == counted.pending == wallet.next_nonce:
        words = f"The chain counts {counted.pending} of its transactions, the desk {wallet.next_nonce}: being checked."
        return Standing(is_over=False, words=(words,))
    fee_max = reserve_for_move(terms.quote)
    rest = balance - fee_max
    # Less than it costs to move is left behind.
    if rest > fee_max:
        return Standing(is_over=False, words=(move_rest(wallet, _successor(wallet), rest, fee_max, actor, now),))
    if not _retire(wallet, actor, now):
        return Standing(is_over=False, words=("Something has happened to it just now.",))
    left = f"It keeps {format_ether(balance)} ETH, less than it would cost to move."
    return Standing(is_over=True, words=(left, *_put_key_away(wallet.address)))


def move_rest(
    wallet: Wallet, target: Wallet, amount_in_wei: int, fee_max_in_wei: int, actor: User | None, now: dt.datetime
) -> str:
    """Order that what a wallet still holds goes to another one; say so."""
    with db_transaction.atomic():
        row_id = order_move(wallet, target, amount_in_wei, fee_max_in_wei, now)
        if row_id is None:
            return "A transaction of its own is under way."
        details = {"amount_in_wei": str(amount_in_wei), "to": target.address, "transaction": row_id}
        record_audit(actor=actor, action="wallet.rest_moved", target=wallet, details=details)
    return f"Transaction #{row_id} moves {format_ether(amount_in_wei)} ETH to {target}."


def _under_way(wallet: Wallet) -> QuerySet[Transaction]:
    """Return what may still take from a wallet or bring to it."""
    return Transaction.objects.filter(Q(wallet=wallet) | Q(to_public_address=wallet.address), status=Status.PENDING)


def _successor(wallet: Wallet) -> Wallet:
    """Return the wallet that takes over in the end: the one that replaces this may have been replaced itself."""
    while wallet.replaced_by is not None:
        wallet = wallet.replaced_by
    return wallet


def _call_off_unpayable(wallet: Wallet, balance_in_wei: int, fee_in_wei: int, now: dt.datetime) -> None:
    """End a move, as long as nothing of it is signed, for which there is too little now: one that fits is ordered."""
    moves = Transaction.objects.filter(wallet=wallet, kind=Kind.SWEEP, stage=Stage.ACCEPTED)
    unpayable = [
        move.pk
        for move in moves
        if move.total_in_wei > balance_in_wei or move.transaction_fee_total_in_wei < fee_in_wei
    ]
    refuse_unsigned(dict.fromkeys(unpayable, "It can't be paid any more."), FailureReason.CANCELLED, now)


@db_transaction.atomic
def _retire(wallet: Wallet, actor: User | None, now: dt.datetime) -> bool:
    """Let nothing be signed for a wallet any more, unless there is something under way after all."""
    locked = Wallet.objects.select_for_update(no_key=True).get(pk=wallet.pk)
    is_idle = locked.paused_at is None and locked.next_nonce == wallet.next_nonce and not _under_way(locked).exists()
    if not is_idle:
        return False
    locked.paused_at = locked.retired_at = now
    locked.paused_reason = f"Replaced by {_successor(locked)}; its key is retired."
    locked.save(update_fields=["paused_at", "paused_reason", "retired_at"])
    # Not an alert: it was meant to be so. And that it holds little is no news any more.
    resolve_alert(kind=AlertKind.WALLET_BALANCE_LOW, subject=locked.address, now=now)
    record_audit(actor=actor, action="wallet.retired", target=locked, reason=locked.paused_reason)
    return True


def _put_key_away(address: str) -> tuple[str, ...]:
    """Retire the key files of an address; say what became of its key, and where another one is."""
    words = []
    while address in list_keystores(settings.KEYSTORE_DIR):
        path = retire_keystore(settings.KEYSTORE_DIR, address)
        words.append(f"Its key file is {path} now: keep it, somebody may still pay to {address}.")
    elsewhere = [
        f"Its key is still in {place.place} ({source.name}): take it out there, and restart the workers of queue money."
        for source in key_sources()
        for place in source.places()
        if place.address == address
    ]
    if not words and not elsewhere:
        words.append(
            f"No file of its key is in {settings.KEYSTORE_DIR}. Where other machines have one, move it to retired/."
        )
    return (*words, *elsewhere)
