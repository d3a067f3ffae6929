"""Key files: 32 secret bytes encrypted with a passphrase (Web3 Secret Storage, version 3), written to stay."""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.views.decorators.debug import sensitive_variables
from eth_keyfile.keyfile import create_keyfile_json, decode_keyfile_json

from accounts.keys.exceptions import KeyFileError, KeyPassphraseError

KDF: dict[str, Any] = {"kdf": "scrypt"}
"""How the passphrase becomes a key: half a second of scrypt, for us and for who guesses. Tests take less of it."""

MAC_MISMATCH = "MAC mismatch"
"""What eth_keyfile says when the passphrase is wrong."""


@sensitive_variables("secret", "passphrase")
def encrypt(secret: bytes, passphrase: str) -> dict[str, Any]:
    """Return the content of a new key file.

    :raises KeyPassphraseError: when the passphrase is empty.
    """
    if not passphrase:
        raise KeyPassphraseError("A key file needs a passphrase, and this one is empty.")
    return create_keyfile_json(secret, _bytes_of(passphrase), **KDF)


@sensitive_variables("secret", "passphrase")
def decrypt(path: Path, passphrase: str) -> bytes:
    """Return the secret of a key file; takes about half a second (scrypt).

    :raises KeyPassphraseError: when the passphrase is not the file's.
    :raises KeyFileError: when it is not a version 3 key file.
    """
    content = read_key_file(path)
    if content is None:
        raise KeyFileError(f"{path.name} is not a version 3 keystore file.")
    # Raised below, outside of the handler: a chained exception would carry the passphrase in its frames.
    failure: KeyPassphraseError | KeyFileError
    try:
        return decode_keyfile_json(content, _bytes_of(passphrase))
    except (ValueError, TypeError, KeyError) as error:
        if MAC_MISMATCH in str(error):
            failure = KeyPassphraseError(f"The passphrase does not open the keystore file {path.name}.")
        else:
            failure = KeyFileError(f"{path.name} is not a usable keystore file: {type(error).__name__}.")
    raise failure


def read_key_file(path: Path) -> dict[str, Any] | None:
    """Return the JSON of a version 3 key file, or None for any other file."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or content.get("version") != 3:
        return None
    return content if "crypto" in content or "Crypto" in content else None


def write_durably(path: Path, text: str) -> None:
    """Write a new file of mode 0600 so that it is whole or not there at all, even after a power cut."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    write_and_sync(temporary, text)
    temporary.rename(path)
    sync_directory(path.parent)


def write_and_sync(path: Path, text: str) -> None:
    """Write a file of mode 0600 that wasn't there, and see it on the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(directory: Path) -> None:
    """See the names in a directory on the disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def lock_directory(directory: Path) -> Iterator[None]:
    """Be the only process that changes a directory's files; the lock dies with its process.

    :raises KeyFileError: when another is at it.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise KeyFileError("Another process is changing the key files; try again when it is done.") from None
        yield
    finally:
        os.close(descriptor)


def _bytes_of(passphrase: str) -> bytes:
    """Return the bytes that the passphrase was read from, also where the environment held no valid UTF-8."""
    return passphrase.encode(errors="surrogateescape")
