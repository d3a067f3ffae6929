"""A new passphrase: every file or a second try, whenever the first is killed, and no key is ever without its file."""

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accounts.keys import KeyFileError, KeyPassphraseError, change_passphrase, files, list_keystores, save_deposit_seed
from accounts.keys import passphrase as module
from accounts.keys.deposits import SEED_NAME
from accounts.keys.files import decrypt
from tests.accounts.keys.material import (
    ADDRESS,
    KEY,
    MNEMONIC,
    OTHER_ADDRESS,
    OTHER_KEY,
    PASSPHRASE,
    write_cheap_keystore,
)
from tests.desk import Crash, dies

NEW = "another horse, another battery"
WALLET, OTHER, OLDER, RETIRED = "UTC--2--wallet", "UTC--3--other", "UTC--1--older", "retired/UTC--0--retired"
SECRETS = {WALLET: KEY, OTHER: OTHER_KEY, OLDER: KEY, RETIRED: b"\x07" * 32, SEED_NAME: b"\x80" * 32}


@pytest.fixture
def directory(keystore_dir: Path) -> Path:
    """Two wallets' keys, one of them twice, one that was retired, the deposit seed, and what is none of these."""
    (keystore_dir / "retired").mkdir()
    for name, key in SECRETS.items():
        if name != SEED_NAME:
            write_cheap_keystore(keystore_dir, name=name, key=key)
    save_deposit_seed(keystore_dir, PASSPHRASE, MNEMONIC)
    (keystore_dir / "README").write_text("not a key")
    return keystore_dir


def change(directory: Path) -> module.Changed:
    return change_passphrase(directory, old=PASSPHRASE, new=NEW)


def opens(path: Path, passphrase: str) -> bool:
    try:
        decrypt(path, passphrase)
    except KeyPassphraseError:
        return False
    return True


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_every_file_opens_with_the_new_one_and_holds_what_it_held(directory: Path) -> None:
    before = contents(directory)
    done = change(directory)
    assert sorted(done.now) == sorted(name.removeprefix("retired/") for name in SECRETS)
    assert done.before == []
    for name, secret in SECRETS.items():
        assert decrypt(directory / name, NEW) == secret
        assert not opens(directory / name, PASSPHRASE)
    after = contents(directory)
    assert set(after) == set(before), "no file too many, none too few"
    assert after["README"] == before["README"]
    assert list_keystores(directory) == [ADDRESS, OTHER_ADDRESS]


def test_everything_but_the_encryption_stays(directory: Path) -> None:
    path = directory / WALLET
    path.chmod(0o640)
    owner, before = path.stat(), json.loads(path.read_text())
    change(directory)
    after = json.loads(path.read_text())
    assert {**after, "crypto": None} == {**before, "crypto": None}
    assert (path.stat().st_uid, path.stat().st_gid) == (owner.st_uid, owner.st_gid)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_files_stay_their_owners_when_root_does_it(directory: Path) -> None:
    os.chown(directory / WALLET, 12345, 54321)
    change(directory)
    owner = (directory / WALLET).stat()
    assert (owner.st_uid, owner.st_gid) == (12345, 54321)


@pytest.mark.parametrize("step", range(1, 2 * len(SECRETS) + 1))
def test_killed_anywhere_it_is_done_again(directory: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Each file is written once and renamed once; the process dies before each of these in turn."""
    steps = 0

    def dying(operation: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == step:
                raise Crash
            return operation(*args)

        return run

    with monkeypatch.context() as patch, dies():
        patch.setattr(module, "write_and_sync", dying(files.write_and_sync))
        patch.setattr(Path, "rename", dying(Path.rename))
        change(directory)
    assert steps == step, "it died"
    for name in SECRETS:
        assert opens(directory / name, PASSPHRASE) != opens(directory / name, NEW), name
    assert list_keystores(directory) == [ADDRESS, OTHER_ADDRESS]
    done = change(directory)
    assert len(done.now) + len(done.before) == len(SECRETS)
    assert len(done.before) == max(0, step - len(SECRETS) - 1)
    for name, secret in SECRETS.items():
        assert decrypt(directory / name, NEW) == secret
    assert not [name for name in contents(directory) if Path(name).name.startswith(".")]


def test_done_again_there_is_nothing_to_do(directory: Path) -> None:
    change(directory)
    before = contents(directory)
    done = change(directory)
    assert (done.now, len(done.before)) == ([], len(SECRETS))
    assert contents(directory) == before


@pytest.mark.parametrize(("old", "new"), [("wrong", NEW), (PASSPHRASE, PASSPHRASE), (PASSPHRASE, "")])
def test_nothing_is_changed_where_something_is_wrong(directory: Path, old: str, new: str) -> None:
    before = contents(directory)
    with pytest.raises(KeyPassphraseError):
        change_passphrase(directory, old=old, new=new)
    assert contents(directory) == before


def test_one_file_of_another_passphrase_stops_it_and_is_named(directory: Path) -> None:
    change_passphrase(directory, old=PASSPHRASE, new="third")
    write_cheap_keystore(directory, name=WALLET)
    before = contents(directory)
    with pytest.raises(KeyPassphraseError, match="UTC--1--older"):
        change(directory)
    assert contents(directory) == before


def test_what_does_not_come_out_right_takes_nobodys_place(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encrypt = files.encrypt
    monkeypatch.setattr(module, "encrypt", lambda secret, passphrase: encrypt(OTHER_KEY, passphrase))
    with pytest.raises(KeyFileError, match="does not hold what the old one does"):
        change(directory)
    assert all(opens(directory / name, PASSPHRASE) for name in SECRETS)


def test_one_at_a_time(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        with pytest.raises(KeyFileError, match="Another process"):
            change(directory)
    finally:
        os.close(descriptor)
    change(directory)
