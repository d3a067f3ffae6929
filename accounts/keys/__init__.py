"""Signing keys. Nothing outside of this package sees a private key."""

from accounts.keys.deposits import (
    DEPOSIT_NUMBER_MAX,
    deposit_address,
    draw_mnemonic,
    load_deposit_signer,
    restore_deposit_xpub,
    save_deposit_seed,
)
from accounts.keys.exceptions import (
    BadSignatureError,
    DepositSeedNotFoundError,
    KeyFileError,
    KeyNotFoundError,
    KeyPassphraseError,
    SignerUnavailableError,
    UnderivableKeyError,
    UnsignableTransferError,
)
from accounts.keys.keystore import create_keystore, list_keystores, open_keystore, retire_keystore
from accounts.keys.messages import recover_message, sign_message
from accounts.keys.passphrase import change_passphrase
from accounts.keys.signer import LocalSigner, Signer, complete_signature
from accounts.keys.sources import forget_signers, key_addresses, load_signer
from accounts.keys.transfers import SignedTransfer, UnsignedTransfer, sign_transfers

__all__ = [
    "DEPOSIT_NUMBER_MAX",
    "BadSignatureError",
    "DepositSeedNotFoundError",
    "KeyFileError",
    "KeyNotFoundError",
    "KeyPassphraseError",
    "LocalSigner",
    "SignedTransfer",
    "Signer",
    "SignerUnavailableError",
    "UnderivableKeyError",
    "UnsignableTransferError",
    "UnsignedTransfer",
    "change_passphrase",
    "complete_signature",
    "create_keystore",
    "deposit_address",
    "draw_mnemonic",
    "forget_signers",
    "key_addresses",
    "list_keystores",
    "load_deposit_signer",
    "load_signer",
    "open_keystore",
    "recover_message",
    "restore_deposit_xpub",
    "retire_keystore",
    "save_deposit_seed",
    "sign_message",
    "sign_transfers",
]
