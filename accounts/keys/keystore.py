"""Keystore files: private keys encrypted with a passphrase (Web3 Secret Storage, version 3)."""

import json
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import coincurve
from django.conf import settings
from django.views.decorators.debug import sensitive_variables
from eth_keyfile.keyfile import create_keyfile_json, decode_keyfile_json
from eth_utils.address import is_hex_address, to_checksum_address

from accounts.keys.exceptions import KeyFileError, KeyNotFoundError, KeyPassphraseError
from accounts.keys.signer import KeystoreSigner, address_of

MAC_MISMATCH = "MAC mismatch"
"""What eth_keyfile says when the passphrase is wrong."""

_signers: dict[tuple[Path, str], KeystoreSigner] = {}


@sensitive_variables("passphrase", "private_key")
def create_keystore(directory: str | os.PathLike[str], passphrase: str) -> str:
    """Make a new key, write it to a keystore file that only its owner may read, and return its address (EIP-55).

    The file is on disk, and has been opened again with the passphrase, before the address is handed out: whoever
    sends money there can count on the key. Takes about a second (scrypt, twice).

    :raises KeyPassphraseError: when the passphrase is empty.
    """
    if not passphrase:
        raise KeyPassphraseError("A keystore file needs a passphrase, and this one is empty.")
    private_key = coincurve.PrivateKey(secrets.token_bytes(32)).secret
    address = address_of(coincurve.PrivateKey(private_key).public_key)
    content = create_keyfile_json(private_key, _bytes_of(passphrase), kdf="scrypt")
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S.%f000Z")
    path = Path(directory) / f"UTC--{now}--{address.removeprefix('0x').lower()}"
    _write_durably(path, json.dumps(content))
    if open_keystore(path, passphrase).address != address:
        raise KeyFileError(f"The new keystore file {path.name} does not hold the key that it was made for.")
    return address


def list_keystores(directory: str | os.PathLike[str]) -> list[str]:
    """Return the addresses (EIP-55) of all keystore files in a directory, oldest file name first."""
    return list(_paths_by_address(Path(directory)))


@sensitive_variables("passphrase", "private_key")
def open_keystore(path: Path, passphrase: str) -> KeystoreSigner:
    """Decrypt one keystore file; takes about half a second (scrypt).

    :raises KeyPassphraseError: when the passphrase is not the file's.
    :raises KeyFileError: when the file is not a version 3 keystore of a secp256k1 key.
    """
    content = _read_keystore(path)
    if content is None:
        raise KeyFileError(f"{path.name} is not a version 3 keystore file.")
    # Raised below, outside of the handler: a chained exception would carry the passphrase in its frames.
    failure: KeyPassphraseError | KeyFileError
    try:
        private_key = decode_keyfile_json(content, _bytes_of(passphrase))
        return KeystoreSigner(private_key)
    except (ValueError, TypeError, KeyError) as error:
        if MAC_MISMATCH in str(error):
            failure = KeyPassphraseError(f"The passphrase does not open the keystore file {path.name}.")
        else:
            failure = KeyFileError(f"{path.name} is not a usable keystore file: {type(error).__name__}.")
    raise failure


@sensitive_variables("passphrase")
def load_signer(address: str) -> KeystoreSigner:
    """Return the signer for an address from the keystore directory of the settings, decrypted once per process.

    :raises KeyNotFoundError: when no keystore file is for this address.
    :raises KeyPassphraseError: when the passphrase of the settings does not open it.
    :raises KeyFileError: when the file can't be used, or holds the key of another address.
    """
    directory = Path(settings.KEYSTORE_DIR)
    signer = _signers.get((directory, address))
    if signer is None:
        path = _paths_by_address(directory).get(address)
        if path is None:
            raise KeyNotFoundError(f"There is no keystore file for {address} in the keystore directory.")
        signer = open_keystore(path, settings.KEYSTORE_PASSPHRASE)
        if signer.address != address:
            raise KeyFileError(f"{path.name} says it is for {address}, but its key is another.")
        _signers[directory, address] = signer
    return signer


def forget_signers() -> None:
    """Drop all decrypted keys from this process's memory."""
    _signers.clear()


def _bytes_of(passphrase: str) -> bytes:
    """Return the bytes that the passphrase was read from, also where the environment held no valid UTF-8."""
    return passphrase.encode(errors="surrogateescape")


def _paths_by_address(directory: Path) -> dict[str, Path]:
    """Return the file of each address; of two files for one address, the newer name."""
    if not directory.is_dir():
        return {}
    found: dict[str, Path] = {}
    for path in sorted(directory.iterdir()):
        content = _read_keystore(path)
        # The field is optional in version 3; the usual file name ends with the address too.
        named = path.name.rpartition("--")[2] if content is None else str(content.get("address") or "")
        named = named or path.name.rpartition("--")[2]
        if content is not None and is_hex_address(named):
            found[to_checksum_address(named)] = path
    return found


def _read_keystore(path: Path) -> dict[str, Any] | None:
    """Return the JSON of a version 3 keystore file, or None for any other file."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or content.get("version") != 3:
        return None
    return content if "crypto" in content or "Crypto" in content else None


def _write_durably(path: Path, text: str) -> None:
    """Write a new file of mode 0600 so that it is whole or not there at all, even after a power cut."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
