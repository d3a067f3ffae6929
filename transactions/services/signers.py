"""Signers: who may sign in a run of the broadcaster, once the nonces of all wallets agree with the chain's."""

import logging
from collections.abc import Iterable

from django.utils import timezone

from accounts.exceptions import AccountsError
from accounts.keys import Signer, SignerUnavailableError
from transactions.chain.client import Chain
from transactions.chain.types import BroadcastTerms
from transactions.models import Wallet
from transactions.services.nonces import agrees, fill_gaps, note_strangers
from transactions.services.wallets import load_wallets_signer

logger = logging.getLogger(__name__)

Signers = dict[Wallet, Signer]


def unpaused(wallets: Iterable[Wallet]) -> list[Wallet]:
    """Return those of the wallets for which something may be signed."""
    return [wallet for wallet in wallets if wallet.paused_at is None]


def load_signers(wallets: Iterable[Wallet]) -> Signers:
    """Return the signers of those wallets whose key can be opened here; the log tells of the others."""
    signers: Signers = {}
    for wallet in wallets:
        try:
            signers[wallet] = load_wallets_signer(wallet)
        except AccountsError as error:
            tell_unable(wallet, error)
    return signers


def tell_unable(wallet: Wallet, error: AccountsError) -> None:
    """Log that a wallet can't sign now: without a traceback, which would be one near keys."""
    logger.error("Wallet %s can't sign: %s", wallet, error)


def take_out_unfit(wallets: list[Wallet], signers: Signers, terms: BroadcastTerms, chain: Chain) -> bool:
    """Take out the wallets whose nonces don't agree with the chain's, or can't be mended; say whether there was one."""
    unfit = [wallet for wallet in wallets if not _is_fit(wallet, signers.get(wallet), terms, chain)]
    for wallet in unfit:
        wallets.remove(wallet)
        signers.pop(wallet, None)
    return bool(unfit)


def _is_fit(wallet: Wallet, signer: Signer | None, terms: BroadcastTerms, chain: Chain) -> bool:
    """Say whether a wallet's nonces agree with the chain's, once all that is sure has been mended.

    What a paused one's were used for is looked up by the follower, once a block: nothing waits for it here.
    """
    # Read after the counts were, or its own newest payments would look like a stranger's.
    wallet.read_nonces_again()
    count = terms.nonces[wallet.address]
    if wallet.paused_at is not None:
        note_strangers(wallet, count, timezone.now())
        return wallet.nonces_seen <= wallet.next_nonce
    if not agrees(wallet, count, chain):
        return False
    if signer is not None:
        try:
            fill_gaps(wallet, signer, count, terms.quote, chain)
        except SignerUnavailableError as error:
            tell_unable(wallet, error)
            return False
    return True
