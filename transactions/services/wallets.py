"""Wallets: register those that pay, and choose those that may."""

import datetime as dt
from dataclasses import dataclass

from django.db import transaction as db_transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts.keys import KeyFileError, Signer, load_deposit_signer, load_signer
from accounts.ledger import JournalDraft, post, system_account
from accounts.models import Account, AccountKind, AlertKind, JournalKind
from accounts.services.alerts import raise_alert
from transactions.chain.client import Chain, get_chain
from transactions.exceptions import WalletStateError
from transactions.models import Block, Transaction, Wallet
from transactions.services.blocks import walked_and_final
from transactions.states import Kind, Status, WalletRole

CHAIN_CHANGED = "The chain has changed meanwhile. Try again in a minute."
REASON_LENGTH_MAX = 500
FOUND = "Found by the desk:\n"
"""What the desk's own part of why a wallet is paused begins with. What staff have said, in one line, stands before."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What an address held and how many transactions it had sent, at a block that is final.

    Of a key that was made just now nothing was asked: any block will do, so it has no hash.
    """

    block_number: int
    balance_in_wei: int
    nonce_count: int
    block_hash: str | None = None


def register_wallet(address: str, *, chain: Chain | None = None) -> Wallet:
    """Return the wallet of an address, made with its ledger account if it is new.

    It is opened by what it held, and had sent, at a block that is final; the desk finds what comes or goes later.

    :param address: in EIP-55 form; its key must be in the keystore for it to send.
    :raises ChainError: when the node doesn't answer.
    :raises WalletStateError: when the chain has changed meanwhile.
    """
    existing = Wallet.objects.filter(address=address).first()
    if existing is not None:
        return existing
    return open_wallet(address, find_opening(address, chain or get_chain()))


def find_opening(address: str, chain: Chain) -> Opening:
    """Return what an address held and had sent at a block that is final.

    :raises ChainError: when the node doesn't answer.
    :raises WalletStateError: when the chain has changed meanwhile.
    """
    number = walked_and_final(chain)
    before = chain.headers([number]).get(number)
    balance = chain.balances([address], block_number=number)[address]
    nonce_count = chain.nonces([address], block_number=number)[address]
    # Else one answer could be of another branch than the other, or of another node's.
    if before is None or chain.headers([number]).get(number) != before:
        raise WalletStateError(CHAIN_CHANGED)
    return Opening(number, balance, nonce_count, before.hash)


@db_transaction.atomic
def open_wallet(address: str, opening: Opening) -> Wallet:
    """Return the wallet of an address, made with its ledger account if it is new.

    :raises WalletStateError: when the block of its opening is not the chain's any more.
    """
    _require_chains(opening)
    account = Account.objects.create(kind=AccountKind.HOT_WALLET, name=f"Hot wallet {address}")
    number = opening.block_number
    wallet, created = Wallet.objects.get_or_create(
        address=address,
        defaults={"account": account, "next_nonce": opening.nonce_count, "opened_at_block": number},
    )
    if not created:
        account.delete()
        return wallet
    if opening.balance_in_wei:
        post(now=timezone.now(), journals=[_journal_of_opening(wallet, opening)])
    # Those blocks may have been searched before there was this wallet to find.
    Block.objects.filter(number__gt=number).update(intake_from=None, taken_in_at=None)
    return wallet


def _require_chains(opening: Opening) -> None:
    """Refuse an opening by a block that a reorg has undone; one that is about to waits, and finds the wallet.

    :raises WalletStateError: then.
    """
    if opening.block_hash is None or not Block.objects.exists():
        # Before the first walk no reorg can undo anything.
        return
    block = Block.objects.filter(number=opening.block_number, hash=opening.block_hash)
    if block.select_for_update(no_key=True).first() is None:
        raise WalletStateError(CHAIN_CHANGED)


def wallets_to_compare() -> list[Wallet]:
    """Return the wallets whose nonces must agree with the chain before anything is signed, in id order.

    All hot wallets, also paused ones: by a database restored from a backup each may have paid what waits there. Of
    deposit addresses, of which there may be very many, only those that something is to leave, or somebody's has.
    """
    hot = Wallet.objects.filter(role=WalletRole.HOT)
    unknown = Wallet.objects.filter(role=WalletRole.DEPOSIT, unknown_since__isnull=False)
    # In one query the database would look at every deposit address.
    queries = (hot, deposit_wallets_under_way(), unknown)
    return sorted({wallet for wallets in queries for wallet in wallets}, key=lambda wallet: wallet.pk)


def deposit_wallets_under_way() -> QuerySet[Wallet]:
    """Return the deposit addresses that something is leaving: never anybody's payment."""
    own = Transaction.objects.filter(status=Status.PENDING).exclude(kind=Kind.PAYMENT)
    return Wallet.objects.filter(role=WalletRole.DEPOSIT, pk__in=own.values("wallet"))


def sending_wallets() -> list[Wallet]:
    """Return the hot wallets that may be given payments, in id order."""
    return list(
        Wallet.objects.filter(role=WalletRole.HOT, paused_at__isnull=True, draining_at__isnull=True).order_by("id")
    )


def load_wallets_signer(wallet: Wallet) -> Signer:
    """Return the signer for a wallet: its own key, or for a deposit address the one derived from the seed.

    :raises AccountsError: when the key isn't there, can't be used, or is another seed's.
    """
    if wallet.credits_id is None:
        return load_signer(wallet.address)
    signer = load_deposit_signer(wallet.credits_id)
    if signer.address != wallet.address:
        raise KeyFileError(f"The deposit seed in the keystore directory is not the one that {wallet} comes from.")
    return signer


def pause_wallet(wallet: Wallet, reason: str, now: dt.datetime, *, again: bool = False) -> None:
    """Let nothing more be signed for a wallet until staff resume it; what was sent before goes on.

    :param again: whether it is the desk that has found a reason, which is told of a paused wallet too: beside why staff
        have paused it, and instead of what the desk found before.
    """
    with db_transaction.atomic():
        # Locked, so that nobody who resumes it just now is left with the alert.
        row = Wallet.objects.select_for_update(no_key=True).get(pk=wallet.pk)
        if again:
            staffs_words = row.paused_reason.partition(FOUND)[0].strip()
            reason = f"{staffs_words} {FOUND}{reason[:REASON_LENGTH_MAX]}".lstrip()
        elif row.paused_at is not None:
            return
        row.paused_at, row.paused_reason = row.paused_at or now, reason
        row.save(update_fields=["paused_at", "paused_reason"])
        raise_alert(kind=AlertKind.WALLET_PAUSED, subject=wallet.address, message=reason, now=now)


def _journal_of_opening(wallet: Wallet, opening: Opening) -> JournalDraft:
    funding_id = system_account(AccountKind.EXTERNAL_FUNDING).pk
    entries = [(wallet.account_id, -opening.balance_in_wei), (funding_id, opening.balance_in_wei)]
    words = f"What it held at block {opening.block_number}"
    return JournalDraft(JournalKind.WALLET_FUNDING, f"opening {wallet.address}", entries, words)
