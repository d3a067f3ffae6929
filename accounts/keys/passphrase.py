"""A new passphrase for all key files, so that it may stop at any point and be done again."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from django.views.decorators.debug import sensitive_variables

from accounts.keys.exceptions import KeyFileError, KeyPassphraseError
from accounts.keys.files import decrypt, encrypt, lock_directory, read_key_file, sync_directory, write_and_sync
from accounts.keys.keystore import RETIRED
from accounts.keys.signer import Secret


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change did: the names of the files it wrote anew, and of those that an earlier try had."""

    now: list[str]
    before: list[str]


class _Opened(Secret):
    """A key file and its secret."""

    __slots__ = ("path", "secret")

    def __init__(self, path: Path, secret: bytes) -> None:
        self.path, self.secret = path, secret

    @property
    def new_path(self) -> Path:
        """Where the file is written before it takes its place; the dot keeps it from being taken for a key file."""
        return self.path.with_name(f".{self.path.name}.new")


@sensitive_variables("old", "new")
def change_passphrase(directory: str | os.PathLike[str], *, old: str, new: str) -> Changed:
    """Encrypt every key file of a directory anew: those of wallets, of retired ones, and the deposit seed.

    All are written beside the old ones and opened again before the first takes its place. Killed in between, some
    files are under the new passphrase and some under the old; done again, it goes on with the rest.

    :raises KeyPassphraseError: when a file opens with neither, or the new one is empty or the old one; nothing was
        changed then.
    :raises KeyFileError: when a file can't be used, or another change is under way.
    """
    if new in ("", old):
        raise KeyPassphraseError("The new passphrase must be another one, and not empty.")
    folder = Path(directory)
    with lock_directory(folder):
        opened, before = _open_all(folder, old, new)
        for file in opened:
            _write_beside(file, new)
        for file in opened:
            file.new_path.rename(file.path)
        for parent in {file.path.parent for file in opened}:
            sync_directory(parent)
    return Changed([file.path.name for file in opened], before)


@sensitive_variables("old", "new")
def _open_all(folder: Path, old: str, new: str) -> tuple[list[_Opened], list[str]]:
    """Return the files that open with the old passphrase, and the names of those that open with the new one."""
    opened, before = [], []
    for path in _key_files(folder):
        try:
            opened.append(_Opened(path, decrypt(path, old)))
        except KeyPassphraseError:
            decrypt(path, new)
            before.append(path.name)
    return opened, before


@sensitive_variables("new", "content")
def _write_beside(file: _Opened, new: str) -> None:
    content = read_key_file(file.path) or {}
    content.pop("Crypto", None)
    content["crypto"] = encrypt(file.secret, new)["crypto"]
    # One that a killed change has left.
    file.new_path.unlink(missing_ok=True)
    write_and_sync(file.new_path, json.dumps(content))
    owner = file.path.stat()
    os.chown(file.new_path, owner.st_uid, owner.st_gid)
    if decrypt(file.new_path, new) != file.secret:
        raise KeyFileError(f"The new {file.path.name} does not hold what the old one does; nothing was changed.")


def _key_files(folder: Path) -> list[Path]:
    folders = [place for place in (folder, folder / RETIRED) if place.is_dir()]
    paths = [path for place in folders for path in sorted(place.iterdir())]
    return [path for path in paths if not path.name.startswith(".") and read_key_file(path) is not None]
