"""Hot wallets: register them and choose those that may send."""

import datetime as dt

from django.db import transaction as db_transaction

from accounts.models import Account, AccountKind, AlertKind
from accounts.services.alerts import raise_alert
from transactions.chain.client import Chain, get_chain
from transactions.models import Wallet


def register_wallet(address: str, *, chain: Chain | None = None) -> Wallet:
    """Return the wallet of an address, made with its ledger account if it is new.

    Its first nonce is the node's `pending` count, so that transactions sent before by other means are counted.

    :param address: in EIP-55 form; its key must be in the keystore for it to send.
    :raises ChainError: when the node doesn't answer.
    """
    existing = Wallet.objects.filter(address=address).first()
    if existing is not None:
        return existing
    next_nonce = (chain or get_chain()).pending_nonces([address])[address]
    return insert_wallet(address, next_nonce=next_nonce)


@db_transaction.atomic
def insert_wallet(address: str, *, next_nonce: int) -> Wallet:
    """Return the wallet of an address, made with its ledger account if it is new."""
    account = Account.objects.create(kind=AccountKind.HOT_WALLET, name=f"Hot wallet {address}")
    wallet, created = Wallet.objects.get_or_create(
        address=address, defaults={"account": account, "next_nonce": next_nonce}
    )
    if not created:
        account.delete()
    return wallet


def signing_wallets() -> list[Wallet]:
    """Return the wallets for which something may be signed, in id order."""
    return list(Wallet.objects.filter(paused_at__isnull=True).order_by("id"))


def sending_wallets() -> list[Wallet]:
    """Return the wallets that may be given payments, in id order."""
    return [wallet for wallet in signing_wallets() if wallet.draining_at is None]


def pause_wallet(wallet: Wallet, reason: str, now: dt.datetime) -> None:
    """Let nothing more be signed for a wallet until staff resume it; what was sent before goes on."""
    with db_transaction.atomic():
        unpaused = Wallet.objects.filter(pk=wallet.pk, paused_at__isnull=True)
        if unpaused.update(paused_at=now, paused_reason=reason[:500]):
            raise_alert(kind=AlertKind.WALLET_PAUSED, subject=wallet.address, message=reason, now=now)
