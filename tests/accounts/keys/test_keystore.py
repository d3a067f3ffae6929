"""Keystore files: encrypted, found without a restart, forgotten when gone, and silent about what is in them."""

import json
import logging
import stat
import traceback
from pathlib import Path

import pytest
from eth_account import Account
from eth_keyfile.keyfile import create_keyfile_json
from pytest_django import Settings

from accounts.exceptions import AccountsError
from accounts.keys import (
    KeyFileError,
    KeyNotFoundError,
    KeyPassphraseError,
    create_keystore,
    files,
    forget_signers,
    list_keystores,
    load_signer,
    open_keystore,
    retire_keystore,
)
from tests.accounts.keys.material import (
    ADDRESS,
    KEY,
    OTHER_ADDRESS,
    OTHER_KEY,
    PASSPHRASE,
    RECIPIENT,
    every_local,
    write_cheap_keystore,
)


def test_a_new_keystore_is_encrypted_and_its_owners_only(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "keystore"
    address = create_keystore(directory, PASSPHRASE)
    [path] = directory.iterdir()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert path.name.startswith("UTC--20")
    assert path.name.endswith(f"--{address[2:].lower()}")
    content = json.loads(path.read_text())
    assert content["version"] == 3
    assert content["crypto"]["kdf"] == "scrypt"
    assert content["crypto"]["kdfparams"]["n"] == 2**18
    # Any other wallet software can open it, and finds the key of the address that was handed out.
    assert Account.from_key(Account.decrypt(content, PASSPHRASE)).address == address
    assert list_keystores(directory) == [address]


def test_a_keystore_needs_a_passphrase(tmp_path: Path) -> None:
    with pytest.raises(KeyPassphraseError):
        create_keystore(tmp_path, "")
    assert list(tmp_path.iterdir()) == []


def test_a_keystore_that_cannot_be_opened_again_is_not_handed_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = create_keyfile_json(KEY, PASSPHRASE.encode(), kdf="pbkdf2", iterations=1)
    monkeypatch.setattr(files, "create_keyfile_json", lambda *args, **kwargs: other)
    with pytest.raises(KeyFileError, match="does not hold the key"):
        create_keystore(tmp_path, PASSPHRASE)


def test_only_keystore_files_are_listed(tmp_path: Path) -> None:
    directory = tmp_path / "keystore"
    assert list_keystores(directory) == []
    write_cheap_keystore(directory, name="b-newer")
    write_cheap_keystore(directory, name="a-other", address="f0109fc8df283027b6285cc889f5aa624eac1f55")
    write_cheap_keystore(directory, name="v4", version=4)
    write_cheap_keystore(directory, name="nameless", address="")
    write_cheap_keystore(directory, name=".being-written", key=OTHER_KEY)
    write_cheap_keystore(directory / "retired", key=OTHER_KEY)
    (directory / "README").write_text("not JSON")
    (directory / "list.json").write_text("[]")
    (directory / "binary").write_bytes(b"\xff\xfe")
    assert list_keystores(directory) == [RECIPIENT, ADDRESS]
    assert list_keystores(str(directory)) == [RECIPIENT, ADDRESS]


def test_a_file_without_an_address_goes_by_its_name(tmp_path: Path) -> None:
    write_cheap_keystore(tmp_path, name=f"UTC--2024-01-01T00-00-00Z--{ADDRESS[2:].lower()}", address="")
    assert list_keystores(tmp_path) == [ADDRESS]


def test_a_wrong_passphrase_tells_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    path, wrong = write_cheap_keystore(tmp_path), PASSPHRASE[::-1]
    with pytest.raises(KeyPassphraseError) as caught:
        open_keystore(path, wrong)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + caplog.text
    for secret in (KEY.hex(), wrong, PASSPHRASE):
        assert secret not in shown
    assert repr(KEY) not in every_local(caught.tb)
    assert caught.value.__context__ is None
    assert isinstance(caught.value, AccountsError)
    assert caught.value.code == "key_passphrase"


class TestLoaded:
    @pytest.fixture
    def path(self, keystore_dir: Path) -> Path:
        return write_cheap_keystore(keystore_dir)

    def test_it_is_decrypted_once_in_a_process(self, path: Path) -> None:
        signer = load_signer(ADDRESS)
        assert signer.address == ADDRESS
        assert load_signer(ADDRESS) is signer
        forget_signers()
        assert load_signer(ADDRESS) is not signer

    def test_it_is_forgotten_when_its_file_is_gone(self, path: Path) -> None:
        load_signer(ADDRESS)
        path.unlink()
        with pytest.raises(KeyNotFoundError):
            load_signer(ADDRESS)

    def test_a_file_that_was_renamed_is_found(self, path: Path) -> None:
        load_signer(ADDRESS)
        path.rename(path.with_name("another"))
        assert load_signer(ADDRESS).address == ADDRESS

    def test_one_under_a_new_passphrase_goes_on_signing_until_the_restart(self, path: Path) -> None:
        signer = load_signer(ADDRESS)
        path.write_text(json.dumps(create_keyfile_json(KEY, b"new", kdf="pbkdf2", iterations=1)))
        assert load_signer(ADDRESS) is signer

    def test_a_new_file_is_found_without_a_restart(self, path: Path) -> None:
        load_signer(ADDRESS)
        with pytest.raises(KeyNotFoundError):
            load_signer(OTHER_ADDRESS)
        write_cheap_keystore(path.parent, name="new", key=OTHER_KEY)
        assert load_signer(OTHER_ADDRESS).address == OTHER_ADDRESS

    def test_there_is_none_for_this_address(self, path: Path) -> None:
        with pytest.raises(KeyNotFoundError, match=rf"{RECIPIENT} \(looked in: keystore, environment\)"):
            load_signer(RECIPIENT)

    def test_a_wrong_passphrase_is_not_remembered(self, path: Path, settings: Settings) -> None:
        settings.KEYSTORE_PASSPHRASE = "wrong"
        with pytest.raises(KeyPassphraseError):
            load_signer(ADDRESS)
        settings.KEYSTORE_PASSPHRASE = PASSPHRASE
        assert load_signer(ADDRESS).address == ADDRESS

    def test_a_file_with_the_key_of_another_address_is_refused(self, path: Path) -> None:
        write_cheap_keystore(path.parent, name="z", address=RECIPIENT[2:])
        with pytest.raises(KeyFileError, match="its key is another"):
            load_signer(RECIPIENT)

    @pytest.mark.parametrize("crypto", [{}, {"kdf": "rot13"}, None, "text"])
    def test_a_broken_file_is_refused(self, path: Path, crypto: object) -> None:
        write_cheap_keystore(path.parent, crypto=crypto)
        with pytest.raises(KeyFileError, match=path.name):
            load_signer(ADDRESS)


class TestRetired:
    def test_nothing_signs_with_it_and_it_is_kept(self, keystore_dir: Path) -> None:
        path = write_cheap_keystore(keystore_dir)
        load_signer(ADDRESS)
        retired = retire_keystore(keystore_dir, ADDRESS)
        assert retired == keystore_dir / "retired" / path.name
        assert open_keystore(retired, PASSPHRASE).address == ADDRESS
        assert list_keystores(keystore_dir) == []
        with pytest.raises(KeyNotFoundError):
            load_signer(ADDRESS)

    def test_there_is_none_for_this_address(self, keystore_dir: Path) -> None:
        write_cheap_keystore(keystore_dir)
        with pytest.raises(KeyNotFoundError):
            retire_keystore(keystore_dir, OTHER_ADDRESS)
        assert list_keystores(keystore_dir) == [ADDRESS]
