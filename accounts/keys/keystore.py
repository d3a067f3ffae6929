"""Keystore files: one encrypted private key each, in the usual names, which other wallet software can open too."""

import json
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path

import coincurve
from django.conf import settings
from django.views.decorators.debug import sensitive_variables
from eth_utils.address import is_hex_address, to_checksum_address

from accounts.keys.exceptions import KeyFileError, KeyNotFoundError
from accounts.keys.files import decrypt, encrypt, read_key_file, sync_directory, write_durably
from accounts.keys.signer import LocalSigner, Secret, address_of
from accounts.keys.sources import KeyPlace

RETIRED = "retired"
"""The folder of keys that nothing signs with any more; they are kept, since somebody may still pay to them."""


@sensitive_variables("passphrase", "private_key")
def create_keystore(directory: str | os.PathLike[str], passphrase: str) -> str:
    """Make a new key, write it to a keystore file that only its owner may read, and return its address (EIP-55).

    The file is on disk, and has been opened again with the passphrase, before the address is handed out: whoever
    sends money there can count on the key. Takes about a second (scrypt, twice).

    :raises KeyPassphraseError: when the passphrase is empty.
    """
    private_key = coincurve.PrivateKey(secrets.token_bytes(32)).secret
    address = address_of(coincurve.PrivateKey(private_key).public_key)
    content = encrypt(private_key, passphrase)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S.%f000Z")
    path = Path(directory) / f"UTC--{now}--{address.removeprefix('0x').lower()}"
    write_durably(path, json.dumps(content))
    if open_keystore(path, passphrase).address != address:
        raise KeyFileError(f"The new keystore file {path.name} does not hold the key that it was made for.")
    return address


def list_keystores(directory: str | os.PathLike[str]) -> list[str]:
    """Return the addresses (EIP-55) of all keystore files in a directory, oldest file name first."""
    return list(keystore_paths(Path(directory)))


@sensitive_variables("passphrase", "private_key")
def open_keystore(path: Path, passphrase: str) -> LocalSigner:
    """Decrypt one keystore file; takes about half a second (scrypt).

    :raises KeyPassphraseError: when the passphrase is not the file's.
    :raises KeyFileError: when the file is not a version 3 keystore of a secp256k1 key.
    """
    private_key = decrypt(path, passphrase)
    try:
        return LocalSigner(private_key)
    except ValueError:
        pass
    raise KeyFileError(f"{path.name} holds something that is no private key.")


def retire_keystore(directory: str | os.PathLike[str], address: str) -> Path:
    """Move the keystore file of an address to where no process finds it, and return its new place.

    Workers that hold the key forget it before they sign their next batch. Done again, after a crash say, it moves
    what is left: a file of the same address with an older name.

    :raises KeyNotFoundError: when there is no keystore file for this address.
    """
    path = keystore_paths(Path(directory)).get(address)
    if path is None:
        raise KeyNotFoundError(f"There is no keystore file for {address} in the keystore directory.")
    retired = path.parent / RETIRED / path.name
    retired.parent.mkdir(mode=0o700, exist_ok=True)
    path.rename(retired)
    sync_directory(retired.parent)
    sync_directory(path.parent)
    return retired


def keystore_paths(directory: Path) -> dict[str, Path]:
    """Return the file of each address (EIP-55); of two files for one address, the newer name."""
    if not directory.is_dir():
        return {}
    found: dict[str, Path] = {}
    for path in sorted(directory.iterdir()):
        # With a dot first: a file that is being written, or was when its process died.
        content = None if path.name.startswith(".") else read_key_file(path)
        # The field is optional in version 3; the usual file name ends with the address too.
        named = path.name.rpartition("--")[2] if content is None else str(content.get("address") or "")
        named = named or path.name.rpartition("--")[2]
        if content is not None and is_hex_address(named):
            found[to_checksum_address(named)] = path
    return found


class KeystoreSource(Secret):
    """The keystore directory of the settings. A file is decrypted once in a process, and forgotten when it is gone.

    New files are found without a restart. One that was changed is not opened again: its key is the same, and the
    passphrase that this process was started with may no longer open it.
    """

    name = "keystore"

    def __init__(self) -> None:
        self._opened: dict[tuple[Path, str], tuple[Path, LocalSigner]] = {}

    def places(self) -> list[KeyPlace]:
        """Return the address and the file name of each key."""
        return [KeyPlace(address, path.name) for address, path in keystore_paths(Path(settings.KEYSTORE_DIR)).items()]

    def load(self, address: str) -> LocalSigner | None:
        """Return the signer for an address (EIP-55), or nothing when it has no file.

        :raises KeyPassphraseError: when the passphrase of the settings does not open its file.
        :raises KeyFileError: when the file can't be used, or holds the key of another address.
        """
        directory = Path(settings.KEYSTORE_DIR)
        path, signer = self._opened.pop((directory, address), (None, None))
        if path is None or signer is None or not path.exists():
            path = keystore_paths(directory).get(address)
            if path is None:
                return None
            signer = open_keystore(path, settings.KEYSTORE_PASSPHRASE)
            if signer.address != address:
                raise KeyFileError(f"{path.name} says it is for {address}, but its key is another.")
        self._opened[directory, address] = path, signer
        return signer

    def forget(self) -> None:
        """Drop all decrypted keys; they are read again when needed."""
        self._opened.clear()
