"""Deposit addresses: one for each number, all from one seed (BIP-39, BIP-44: m/44'/60'/0'/0/number).

The seed's entropy lies encrypted in the keystore directory, in the format of key files but under a name and without
the address that would make it a wallet's. Beside it, in plain, the extended public key of m/44'/60'/0'/0: with that
alone a web process derives addresses. Both together with the private key of a single deposit address give away the
private keys of all (BIP-32, "Implications"), so no such key ever leaves a process.
"""

import json
import os
import secrets
from pathlib import Path

from django.conf import settings
from django.views.decorators.debug import sensitive_variables
from eth_account.hdaccount.mnemonic import Mnemonic

from accounts.keys.exceptions import (
    BadExtendedKeyError,
    BadMnemonicError,
    DepositSeedExistsError,
    DepositSeedNotFoundError,
    KeyFileError,
)
from accounts.keys.files import decrypt, encrypt, lock_directory, write_durably
from accounts.keys.hd import HARDENED, PrivateNode, PublicNode, master_node, parse_xpub
from accounts.keys.signer import CURVE_ORDER, LocalSigner, address_of

SEED_NAME = "deposit-seed.json"
XPUB_NAME = "deposit-seed.xpub"
ENTROPY_BYTES = 32
WORDS = 24
CHAIN_OF_ADDRESSES = (HARDENED + 44, HARDENED + 60, HARDENED + 0, 0)
"""m/44'/60'/0'/0: purpose (BIP-44), ether (SLIP-44), first account, addresses for others to pay to."""

DEPOSIT_NUMBER_MAX = HARDENED - 1
"""Web processes derive addresses without a private key, which hardened children would take."""

_opened: dict[Path, PrivateNode] = {}


def draw_mnemonic() -> str:
    """Return 24 new words: 256 random bits."""
    return str(Mnemonic().to_mnemonic(secrets.token_bytes(ENTROPY_BYTES)))


@sensitive_variables("passphrase", "mnemonic", "entropy")
def save_deposit_seed(directory: str | os.PathLike[str], passphrase: str, mnemonic: str) -> str:
    """Encrypt the seed of 24 words into the keystore directory and return the extended public key.

    The seed is on disk, and has been opened again, before there is a key to derive addresses with.

    :raises DepositSeedExistsError: when there is one already.
    :raises BadMnemonicError: when these are not 24 English words whose checksum is right.
    :raises KeyPassphraseError: when the passphrase is empty.
    """
    entropy, folder = _entropy_of(mnemonic), Path(directory)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with lock_directory(folder):
        if (folder / SEED_NAME).exists() or (folder / XPUB_NAME).exists():
            raise DepositSeedExistsError
        content = encrypt(entropy, passphrase)
        # Only private keys have an address.
        del content["address"]
        write_durably(folder / SEED_NAME, json.dumps(content))
    return restore_deposit_xpub(folder, passphrase)


@sensitive_variables("passphrase")
def restore_deposit_xpub(directory: str | os.PathLike[str], passphrase: str) -> str:
    """Write the extended public key where it is missing beside the seed, and return it.

    :raises DepositSeedNotFoundError: when there is no seed.
    :raises KeyPassphraseError: when the passphrase does not open it.
    :raises KeyFileError: when the seed can't be used, or the key that is there is another seed's.
    """
    folder = Path(directory)
    xpub = _open_seed(folder / SEED_NAME, passphrase).public().xpub()
    if not (folder / XPUB_NAME).exists():
        write_durably(folder / XPUB_NAME, f"{xpub}\n")
    if _read_xpub(folder).xpub() != xpub:
        raise KeyFileError(f"{XPUB_NAME} does not belong to the seed in {SEED_NAME}.")
    return xpub


def deposit_address(number: int) -> str:
    """Return the deposit address (EIP-55) of a number; needs no passphrase.

    :raises DepositSeedNotFoundError: when there is no deposit seed.
    :raises KeyFileError: when its extended public key can't be used.
    :raises UnderivableKeyError: when the number is not between 0 and 2^31-1.
    """
    return address_of(_read_xpub(Path(settings.KEYSTORE_DIR)).child(number).key)


def load_deposit_signer(number: int) -> LocalSigner:
    """Return the signer for a deposit address; the seed is decrypted once in a process, and forgotten when it is gone.

    :raises DepositSeedNotFoundError: when there is no deposit seed.
    :raises KeyPassphraseError: when the passphrase of the settings does not open it.
    :raises KeyFileError: when it can't be used, or the addresses in use are another seed's.
    :raises UnderivableKeyError: when the number is not between 0 and 2^31-1.
    """
    folder = Path(settings.KEYSTORE_DIR)
    path = folder / SEED_NAME
    node = _opened.pop(path, None)
    if node is None or not path.exists():
        node = _open_seed(path, settings.KEYSTORE_PASSPHRASE)
    signer = LocalSigner(node.child(number).private_key)
    if signer.address != deposit_address(number):
        raise KeyFileError(f"{XPUB_NAME} does not belong to the seed in {SEED_NAME}.")
    _opened[path] = node
    return signer


def forget_deposit_signers() -> None:
    """Drop the seed from this process's memory."""
    _opened.clear()


@sensitive_variables("passphrase", "entropy", "mnemonic")
def _open_seed(path: Path, passphrase: str) -> PrivateNode:
    """Return the key of m/44'/60'/0'/0."""
    if not path.exists():
        raise DepositSeedNotFoundError("There is no deposit seed: manage.py create_deposit_seed makes one.")
    entropy = decrypt(path, passphrase)
    if len(entropy) != ENTROPY_BYTES:
        raise KeyFileError(f"{path.name} does not hold the entropy of {WORDS} words.")
    mnemonic = Mnemonic().to_mnemonic(entropy)
    return master_node(Mnemonic.to_seed(mnemonic)).descend(*CHAIN_OF_ADDRESSES)


def _read_xpub(folder: Path) -> PublicNode:
    try:
        node = parse_xpub((folder / XPUB_NAME).read_text().strip())
    except FileNotFoundError:
        raise DepositSeedNotFoundError(
            f"This desk takes no deposits yet: there is no {XPUB_NAME} in its keystore directory."
        ) from None
    except (OSError, ValueError, BadExtendedKeyError):
        raise KeyFileError(f"{XPUB_NAME} can't be read.") from None
    if (node.position.depth, node.position.number) != (len(CHAIN_OF_ADDRESSES), CHAIN_OF_ADDRESSES[-1]):
        raise KeyFileError(f"{XPUB_NAME} is not the key of m/44'/60'/0'/0.")
    return node


@sensitive_variables("mnemonic", "words", "entropy")
def _entropy_of(mnemonic: str) -> bytes:
    """Return the 256 bits that 24 words stand for (BIP-39: eleven bits a word, the last eight are a checksum)."""
    words = mnemonic.lower().split()
    if len(words) != WORDS or not Mnemonic().is_mnemonic_valid(" ".join(words)):
        raise BadMnemonicError
    number = 0
    for word in words:
        number = number << 11 | Mnemonic().wordlist.index(word)
    # Key files take numbers of a private key's range; only words that somebody made up are outside of it.
    if not 0 < number >> 8 < CURVE_ORDER:
        raise BadMnemonicError("No program draws such words: they are no secret.")
    return (number >> 8).to_bytes(ENTROPY_BYTES, "big")
