"""Deposit addresses: from one seed, without it where only addresses are needed, and never from two seeds."""

import json
import logging
import stat
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from eth_account import Account
from eth_account.hdaccount import ETHEREUM_DEFAULT_PATH
from eth_account.hdaccount.mnemonic import Mnemonic
from pytest_django import Settings

from accounts.exceptions import AccountsError
from accounts.keys import (
    KeyFileError,
    KeyNotFoundError,
    KeyPassphraseError,
    deposit_address,
    deposits,
    draw_mnemonic,
    files,
    forget_signers,
    list_keystores,
    load_deposit_signer,
    restore_deposit_xpub,
    save_deposit_seed,
)
from accounts.keys.deposits import SEED_NAME, XPUB_NAME
from accounts.keys.exceptions import BadMnemonicError, DepositSeedExistsError, UnderivableKeyError
from accounts.keys.hd import HARDENED, master_node
from tests.accounts.keys.material import MNEMONIC, PASSPHRASE
from tests.desk import Crash, dies

ENTROPY = b"\x80" * 32
OTHER_MNEMONIC = (
    "legal winner thank year wave sausage worth useful " * 2 + "legal winner thank year wave sausage worth title"
)
"""Two of the BIP-39 test vectors."""


@pytest.fixture
def seeded(keystore_dir: Path) -> Path:
    """A keystore directory with a deposit seed."""
    save_deposit_seed(keystore_dir, PASSPHRASE, MNEMONIC)
    return keystore_dir


def their_address(mnemonic: str, number: int) -> str:
    """Return what eth_account derives."""
    Account.enable_unaudited_hdwallet_features()
    path = ETHEREUM_DEFAULT_PATH.removesuffix("0") + str(number)
    return str(Account.from_mnemonic(mnemonic, account_path=path).address)


@pytest.mark.parametrize("number", [0, 1, 7, 2**31 - 1])
def test_addresses_and_signers_are_those_of_any_wallet_software(seeded: Path, number: int) -> None:
    assert deposit_address(number) == load_deposit_signer(number).address == their_address(MNEMONIC, number)


@pytest.mark.parametrize("number", [-1, 2**31, 2**32])
def test_there_is_no_other_number(seeded: Path, number: int) -> None:
    for derive in (deposit_address, load_deposit_signer):
        with pytest.raises(UnderivableKeyError):
            derive(number)


def test_new_words_are_24_and_never_the_same() -> None:
    drawn = {draw_mnemonic() for _ in range(20)}
    assert len(drawn) == 20
    assert {len(mnemonic.split()) for mnemonic in drawn} == {24}


def test_new_words_are_saved_like_any(keystore_dir: Path) -> None:
    mnemonic = draw_mnemonic()
    save_deposit_seed(keystore_dir, PASSPHRASE, mnemonic)
    assert deposit_address(3) == their_address(mnemonic, 3)


class TestFiles:
    def test_the_seed_is_encrypted_its_owners_only_and_no_wallets_key(self, seeded: Path) -> None:
        path = seeded / SEED_NAME
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        content = json.loads(path.read_text())
        assert set(content) == {"crypto", "id", "version"}
        assert Account.decrypt(content, PASSPHRASE) == ENTROPY
        assert list_keystores(seeded) == []
        written = b"".join(file.read_bytes() for file in seeded.iterdir())
        assert ENTROPY not in written
        assert ENTROPY.hex().encode() not in written
        assert b"letter" not in written

    def test_the_public_key_is_an_xpub_in_plain(self, seeded: Path) -> None:
        text = (seeded / XPUB_NAME).read_text()
        assert text.startswith("xpub6")
        assert text.endswith("\n")
        assert save_xpub_of(MNEMONIC) == text.strip()

    def test_addresses_need_the_public_key_alone(self, seeded: Path, settings: Settings) -> None:
        (seeded / SEED_NAME).unlink()
        settings.KEYSTORE_PASSPHRASE = ""
        assert deposit_address(5) == their_address(MNEMONIC, 5)
        with pytest.raises(KeyNotFoundError):
            load_deposit_signer(5)

    def test_a_seed_is_never_replaced(self, seeded: Path) -> None:
        before = {path.name: path.read_bytes() for path in seeded.iterdir()}
        with pytest.raises(DepositSeedExistsError):
            save_deposit_seed(seeded, PASSPHRASE, OTHER_MNEMONIC)
        (seeded / SEED_NAME).rename(seeded.parent / "away")
        with pytest.raises(DepositSeedExistsError):
            save_deposit_seed(seeded, PASSPHRASE, OTHER_MNEMONIC)
        (seeded.parent / "away").rename(seeded / SEED_NAME)
        assert {path.name: path.read_bytes() for path in seeded.iterdir()} == before

    def test_of_several_at_once_one_is_saved(self, keystore_dir: Path) -> None:
        mnemonics = [draw_mnemonic() for _ in range(8)]

        def save(mnemonic: str) -> str | None:
            try:
                save_deposit_seed(keystore_dir, PASSPHRASE, mnemonic)
            except (DepositSeedExistsError, KeyFileError):
                return None
            return mnemonic

        with ThreadPoolExecutor(8) as threads:
            (saved,) = filter(None, threads.map(save, mnemonics))
        assert deposit_address(0) == load_deposit_signer(0).address == their_address(saved, 0)

    def test_one_killed_before_its_public_key_was_written_is_restored(
        self, keystore_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def die(*_: object) -> None:
            raise Crash

        with monkeypatch.context() as patch, dies():
            patch.setattr(deposits, "restore_deposit_xpub", die)
            save_deposit_seed(keystore_dir, PASSPHRASE, MNEMONIC)
        with pytest.raises(KeyNotFoundError):
            deposit_address(0)
        restore_deposit_xpub(keystore_dir, PASSPHRASE)
        assert deposit_address(0) == their_address(MNEMONIC, 0)


def save_xpub_of(mnemonic: str) -> str:
    """Return the extended public key of m/44'/60'/0'/0."""
    return master_node(seed_of(mnemonic)).descend(HARDENED + 44, HARDENED + 60, HARDENED, 0).public().xpub()


def seed_of(mnemonic: str) -> bytes:
    return bytes(Mnemonic.to_seed(mnemonic))


class TestTwoSeeds:
    def test_addresses_of_another_seed_are_found_out_before_anything_is_signed(self, seeded: Path) -> None:
        (seeded / XPUB_NAME).write_text(save_xpub_of(OTHER_MNEMONIC))
        for look in (lambda: load_deposit_signer(0), lambda: restore_deposit_xpub(seeded, PASSPHRASE)):
            with pytest.raises(KeyFileError, match="does not belong to the seed"):
                look()

    def test_also_when_the_seed_is_in_memory(self, seeded: Path) -> None:
        load_deposit_signer(0)
        (seeded / XPUB_NAME).write_text(save_xpub_of(OTHER_MNEMONIC))
        with pytest.raises(KeyFileError):
            load_deposit_signer(0)

    @pytest.mark.parametrize("path", [(), (HARDENED + 44, HARDENED + 60, HARDENED), (HARDENED + 44, 60, 0, 1)])
    def test_the_key_of_another_place_in_the_tree_is_refused(self, seeded: Path, path: tuple[int, ...]) -> None:
        (seeded / XPUB_NAME).write_text(master_node(seed_of(MNEMONIC)).descend(*path).public().xpub())
        with pytest.raises(KeyFileError, match="is not the key of"):
            deposit_address(0)

    @pytest.mark.parametrize("text", ["", "nonsense", "\0"])
    def test_what_is_no_key_is_refused(self, seeded: Path, text: str) -> None:
        (seeded / XPUB_NAME).write_text(text)
        with pytest.raises(KeyFileError):
            deposit_address(0)


class TestMemory:
    def test_the_seed_is_decrypted_once_and_forgotten_when_gone(
        self, seeded: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened: list[Path] = []

        def decrypt(path: Path, passphrase: str) -> bytes:
            opened.append(path)
            return files.decrypt(path, passphrase)

        monkeypatch.setattr(deposits, "decrypt", decrypt)
        load_deposit_signer(0)
        load_deposit_signer(1)
        assert len(opened) == 1
        forget_signers()
        load_deposit_signer(1)
        assert len(opened) == 2
        (seeded / SEED_NAME).unlink()
        with pytest.raises(KeyNotFoundError):
            load_deposit_signer(1)

    def test_a_wrong_passphrase_is_not_remembered(self, seeded: Path, settings: Settings) -> None:
        settings.KEYSTORE_PASSPHRASE = "wrong"
        with pytest.raises(KeyPassphraseError):
            load_deposit_signer(0)
        settings.KEYSTORE_PASSPHRASE = PASSPHRASE
        assert load_deposit_signer(0).address == deposit_address(0)


class TestRefused:
    @pytest.mark.parametrize(
        "mnemonic",
        [
            "",
            "letter advice cage",
            MNEMONIC.rsplit(" ", 1)[0],
            MNEMONIC.rsplit(" ", 1)[0] + " avoid",
            MNEMONIC.rsplit(" ", 1)[0] + " notaword",
            "abandon " * 11 + "about",
            "abandon " * 23 + "art",
            "zoo " * 23 + "vote",
        ],
    )
    def test_words_that_are_no_seed_leave_nothing_and_show_nowhere(
        self, keystore_dir: Path, mnemonic: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        with pytest.raises(BadMnemonicError) as caught:
            save_deposit_seed(keystore_dir, PASSPHRASE, mnemonic)
        assert list(keystore_dir.iterdir()) == []
        shown = "".join(traceback.format_exception(caught.value)) + caplog.text
        assert not {"letter", "abandon", "zoo"} & set(shown.split())
        assert isinstance(caught.value, AccountsError)

    def test_an_empty_passphrase_leaves_nothing(self, keystore_dir: Path) -> None:
        with pytest.raises(KeyPassphraseError) as caught:
            save_deposit_seed(keystore_dir, "", MNEMONIC)
        assert list(keystore_dir.iterdir()) == []
        assert "letter" not in "".join(traceback.format_exception(caught.value))
        assert caught.value.__context__ is None

    def test_words_are_taken_as_people_write_them(self, keystore_dir: Path) -> None:
        save_deposit_seed(keystore_dir, PASSPHRASE, f"  {MNEMONIC.upper().replace(' ', '  ')}\n")
        assert deposit_address(0) == their_address(MNEMONIC, 0)

    def test_without_a_seed_there_is_no_address(self, keystore_dir: Path) -> None:
        with pytest.raises(KeyNotFoundError):
            deposit_address(0)
        with pytest.raises(KeyNotFoundError, match="create_deposit_seed"):
            load_deposit_signer(0)
