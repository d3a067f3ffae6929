"""Signing keys. Nothing outside of this package sees a private key."""

from accounts.keys.exceptions import KeyFileError, KeyNotFoundError, KeyPassphraseError, UnsignableTransferError
from accounts.keys.keystore import create_keystore, forget_signers, list_keystores, load_signer, open_keystore
from accounts.keys.signer import KeystoreSigner, SignedTransfer, Signer, UnsignedTransfer

__all__ = [
    "KeyFileError",
    "KeyNotFoundError",
    "KeyPassphraseError",
    "KeystoreSigner",
    "SignedTransfer",
    "Signer",
    "UnsignableTransferError",
    "UnsignedTransfer",
    "create_keystore",
    "forget_signers",
    "list_keystores",
    "load_signer",
    "open_keystore",
]
