"""What staff do about wallets, each with a reason and an audit row; and the watch over what wallets hold."""

import datetime as dt

from django.conf import settings
from django.db import transaction as db_transaction

from accounts.exceptions import AccountsError
from accounts.keys import load_signer
from accounts.models import AlertKind, User
from accounts.money import format_ether
from accounts.services.alerts import raise_or_resolve, resolve_alert, resolve_others
from accounts.services.audit import clean_reason, record_audit
from transactions.chain.client import Chain, get_chain
from transactions.exceptions import WalletStateError
from transactions.models import Wallet
from transactions.services.wallets import find_opening, open_wallet, pause_wallet, sending_wallets


def add_wallet(*, actor: User | None, address: str, chain: Chain | None = None) -> Wallet:
    """Let the desk pay from an address whose key it has; what it holds is booked as funding.

    :param address: in EIP-55 form.
    :raises WalletStateError: when it is a wallet already, or the chain has changed meanwhile.
    :raises AccountsError: when no signer has its key, or it can't be opened.
    :raises ChainError: when no node answers.
    """
    load_signer(address)
    if Wallet.objects.filter(address=address).exists():
        raise WalletStateError(f"{address} is a wallet already.")
    opening = find_opening(address, chain or get_chain())
    with db_transaction.atomic():
        wallet = open_wallet(address, opening)
        record_audit(actor=actor, action="wallet.added", target=wallet)
    return wallet


@db_transaction.atomic
def pause(*, actor: User, wallet_id: int, reason: str, now: dt.datetime) -> Wallet:
    """Let nothing more be signed for a wallet; what was sent goes on.

    :raises ReasonRequiredError: when no reason is given.
    :raises WalletStateError: when it is paused already.
    """
    reason = clean_reason(reason)
    wallet = _lock(wallet_id)
    check_may_pause(wallet)
    pause_wallet(wallet, reason, now)
    record_audit(actor=actor, action="wallet.paused", target=wallet, reason=reason)
    return _lock(wallet_id)


@db_transaction.atomic
def drain(*, actor: User | None, wallet_id: int, reason: str, now: dt.datetime) -> Wallet:
    """Give a wallet no new payments; what it has under way goes on, replacements included.

    :raises ReasonRequiredError: when no reason is given.
    :raises WalletStateError: when it is draining already.
    """
    reason = clean_reason(reason)
    wallet = _lock(wallet_id)
    check_may_drain(wallet)
    wallet.draining_at = now
    wallet.save(update_fields=["draining_at"])
    record_audit(actor=actor, action="wallet.draining", target=wallet, reason=reason)
    return wallet


def resume(*, actor: User, wallet_id: int, reason: str, now: dt.datetime) -> Wallet:
    """Let a wallet that was paused or drained pay again. What it was paused for is looked at anew before it does.

    One that was replaced stays drained: what is left of it goes on. A retired one needs its key back for that, so it
    is resumed where the keys are.

    :raises ReasonRequiredError: when no reason is given.
    :raises WalletStateError: when it is neither, is drained for having been replaced, or is retired without a key.
    """
    reason = clean_reason(reason)
    retired_at = _check_key_is_back(wallet_id)
    with db_transaction.atomic():
        wallet = _lock(wallet_id)
        check_may_resume(wallet)
        if wallet.retired_at != retired_at:
            raise WalletStateError("This wallet was retired just now.")
        details = {"paused_reason": wallet.paused_reason}
        wallet.paused_at, wallet.paused_reason, wallet.retired_at = None, "", None
        if wallet.replaced_by is None:
            wallet.draining_at = None
        wallet.save(update_fields=["paused_at", "paused_reason", "retired_at", "draining_at"])
        resolve_alert(kind=AlertKind.WALLET_PAUSED, subject=wallet.address, now=now)
        record_audit(actor=actor, action="wallet.resumed", target=wallet, reason=reason, details=details)
    return wallet


def check_may_pause(wallet: Wallet) -> None:
    """Refuse to pause a wallet that is.

    :raises WalletStateError: then.
    """
    if wallet.paused_at is not None:
        raise WalletStateError(f"This wallet is paused already: {wallet.paused_reason}")


def check_may_drain(wallet: Wallet) -> None:
    """Refuse to drain a wallet that is draining.

    :raises WalletStateError: then.
    """
    if wallet.draining_at is not None:
        raise WalletStateError("This wallet is draining already.")


def check_may_resume(wallet: Wallet) -> None:
    """Refuse to resume a wallet that pays, or never will again.

    :raises WalletStateError: then.
    """
    if wallet.paused_at is None and wallet.replaced_by is not None:
        raise WalletStateError(f"This wallet was replaced by {wallet.replaced_by}: it gets no payments any more.")
    if wallet.paused_at is None and wallet.draining_at is None:
        raise WalletStateError("This wallet is neither paused nor draining.")


def watch_balances(now: dt.datetime, *, chain: Chain | None = None) -> None:
    """Raise an alert for each wallet that pays and holds too little; resolve it once it holds enough, or pays no more.

    :raises ChainError: when no node answers; nothing is concluded from that.
    """
    wallets = sending_wallets()
    addresses = [wallet.address for wallet in wallets]
    resolve_others(kind=AlertKind.WALLET_BALANCE_LOW, subjects=addresses, now=now)
    balances = (chain or get_chain()).balances(addresses, block_number=None)
    low = settings.WALLET_BALANCE_LOW_IN_WEI
    for wallet in wallets:
        balance = balances[wallet.address]
        message = ""
        if balance < low:
            message = f"It holds {format_ether(balance)} ETH, less than {format_ether(low)} ETH: refill it."
        raise_or_resolve(kind=AlertKind.WALLET_BALANCE_LOW, subject=wallet.address, message=message, now=now)


def _check_key_is_back(wallet_id: int) -> dt.datetime | None:
    """Return when a wallet was retired, if it was; without a lock, since opening a key takes long.

    :raises WalletStateError: when it was, and nothing can be signed for it here.
    """
    wallet = Wallet.objects.filter(pk=wallet_id, retired_at__isnull=False).first()
    if wallet is None:
        return None
    try:
        load_signer(wallet.address)
    except AccountsError as error:
        raise WalletStateError(f"This wallet is retired: its key has to be put back first. {error}") from error
    return wallet.retired_at


def _lock(wallet_id: int) -> Wallet:
    wallet = Wallet.objects.select_for_update(no_key=True).filter(pk=wallet_id).first()
    if wallet is None:
        raise WalletStateError("There is no such wallet.")
    return wallet
