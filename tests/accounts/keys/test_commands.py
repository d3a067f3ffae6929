"""The commands for keys: secrets come in by standard input or a file, and go nowhere but into encrypted files."""

import getpass
import io
import sys
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.db.models import QuerySet
from pytest_django import Settings

from accounts.keys import deposit_address, draw_mnemonic, forget_signers, list_keystores, load_deposit_signer
from accounts.keys import load_signer as load
from accounts.keys.deposits import SEED_NAME, XPUB_NAME
from tests.accounts.keys.material import ADDRESS, KEY, MNEMONIC, OTHER_ADDRESS, OTHER_KEY, write_cheap_keystore
from tests.desk import make_wallet

NEW = "another horse, another battery"


class Terminal(io.StringIO):
    """Standard input that a person types on."""

    def isatty(self) -> bool:
        return True


def pipe(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def type_unseen(monkeypatch: pytest.MonkeyPatch, *lines: str) -> list[str]:
    """Let a person type lines at a prompt that shows nothing; return the prompts."""
    prompts: list[str] = []
    answers = iter(lines)

    def answer(prompt: str) -> str:
        prompts.append(prompt)
        return next(answers)

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(getpass, "getpass", answer)
    return prompts


class TestCreateKey:
    def test_it_prints_the_address_and_nothing_else(
        self, keystore_dir: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        call_command("create_key")
        printed = capsys.readouterr()
        (address,) = list_keystores(keystore_dir)
        assert printed.out == f"{address}\n"
        assert "Back the file up" in printed.err
        assert load(address).address == address

    def test_without_a_passphrase_there_is_no_key(self, keystore_dir: Path, settings: Settings) -> None:
        settings.KEYSTORE_PASSPHRASE = ""
        with pytest.raises(CommandError, match="needs a passphrase"):
            call_command("create_key")
        assert list_keystores(keystore_dir) == []


@pytest.mark.django_db
class TestListKeys:
    @pytest.fixture
    def _keys(self, keystore_dir: Path, settings: Settings) -> None:
        write_cheap_keystore(keystore_dir, name="UTC--1--a")
        settings.WALLET_PRIVATE_KEYS = f"0x{OTHER_KEY.hex()}"

    @pytest.mark.usefixtures("_keys")
    def test_each_with_its_source_and_place(self, capsys: pytest.CaptureFixture[str]) -> None:
        make_wallet(ADDRESS)
        make_wallet(OTHER_ADDRESS)
        call_command("list_keys")
        assert capsys.readouterr().out == (
            f"{ADDRESS}  keystore      UTC--1--a\n{OTHER_ADDRESS}  environment   WALLET_PRIVATE_KEYS\n"
        )

    @pytest.mark.usefixtures("_keys")
    def test_which_are_no_wallets(self, capsys: pytest.CaptureFixture[str]) -> None:
        make_wallet(OTHER_ADDRESS)
        call_command("list_keys")
        assert capsys.readouterr().out == (
            f"{ADDRESS}  keystore      UTC--1--a  no wallet\n{OTHER_ADDRESS}  environment   WALLET_PRIVATE_KEYS\n"
        )

    @pytest.mark.usefixtures("_keys")
    def test_without_a_database(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_arguments: object, **_options: object) -> None:
            raise OperationalError

        monkeypatch.setattr(QuerySet, "values_list", fail)
        call_command("list_keys")
        printed = capsys.readouterr()
        assert printed.out == (
            f"{ADDRESS}  keystore      UTC--1--a\n{OTHER_ADDRESS}  environment   WALLET_PRIVATE_KEYS\n"
        )
        assert "can't be asked" in printed.err

    @pytest.mark.usefixtures("_keys")
    def test_whether_each_opens(self, keystore_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
        call_command("create_deposit_seed", "--no-input")
        capsys.readouterr()
        call_command("list_keys", "--check")
        lines = capsys.readouterr().out.splitlines()
        assert [line.rsplit("  ", 1)[1] for line in lines] == ["opens"] * 3
        assert lines[2].startswith(f"{deposit_address(0)}  deposit seed  {SEED_NAME}")

    @pytest.mark.usefixtures("_keys")
    def test_one_that_does_not_open_fails_the_check(
        self, keystore_dir: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
    ) -> None:
        settings.KEYSTORE_PASSPHRASE = "wrong"
        call_command("list_keys")
        capsys.readouterr()
        with pytest.raises(CommandError, match=r"^1 can't be used\.$"):
            call_command("list_keys", "--check")
        printed = capsys.readouterr().out
        assert "The passphrase does not open the keystore file UTC--1--a." in printed
        assert "WALLET_PRIVATE_KEYS  no wallet  opens" in printed
        assert "wrong" not in printed

    def test_a_malformed_key_is_told_without_showing_it(self, keystore_dir: Path, settings: Settings) -> None:
        settings.WALLET_PRIVATE_KEYS = KEY.hex()
        with pytest.raises(CommandError, match="Key 1 of 1") as caught:
            call_command("list_keys")
        assert KEY.hex() not in str(caught.value)


class TestCreateDepositSeed:
    def test_it_shows_the_words_once_and_they_are_the_seed(
        self, keystore_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        call_command("create_deposit_seed", "--no-input")
        printed = capsys.readouterr()
        words = printed.out.strip()
        assert len(words.split()) == 24
        assert words not in printed.err
        address = deposit_address(0)
        assert f"deposit address 0 is {address}" in printed.err
        # What is on paper brings everything back.
        for path in keystore_dir.iterdir():
            path.unlink()
        pipe(monkeypatch, f"{words}\n")
        call_command("create_deposit_seed", "--import")
        assert deposit_address(0) == address == load_deposit_signer(0).address
        assert words not in capsys.readouterr().out

    @pytest.mark.parametrize("answer", ["no\n", "\n", ""])
    def test_who_has_not_written_them_down_gets_no_seed(
        self, keystore_dir: Path, monkeypatch: pytest.MonkeyPatch, answer: str
    ) -> None:
        pipe(monkeypatch, answer)
        with pytest.raises(CommandError, match="Nothing was made"):
            call_command("create_deposit_seed")
        assert list(keystore_dir.iterdir()) == []

    def test_who_has_gets_one(self, keystore_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pipe(monkeypatch, "yes\n")
        call_command("create_deposit_seed")
        assert deposit_address(0) == load_deposit_signer(0).address

    def test_words_typed_are_not_echoed(self, keystore_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert type_unseen(monkeypatch, MNEMONIC) == []
        call_command("create_deposit_seed", "--import")
        assert deposit_address(0) == load_deposit_signer(0).address

    def test_words_that_are_none_are_refused_without_showing_them(
        self, keystore_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pipe(monkeypatch, "secret words\n")
        with pytest.raises(CommandError) as caught:
            call_command("create_deposit_seed", "--import")
        assert "secret" not in str(caught.value) + "".join(capsys.readouterr())
        assert list(keystore_dir.iterdir()) == []

    def test_there_is_one_already(
        self, keystore_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        call_command("create_deposit_seed", "--no-input")
        address = deposit_address(0)
        capsys.readouterr()
        pipe(monkeypatch, draw_mnemonic())
        for options in (["--no-input"], ["--import"]):
            with pytest.raises(CommandError, match="There is a deposit seed already"):
                call_command("create_deposit_seed", *options)
        assert capsys.readouterr().out == "", "no words were drawn in vain"
        assert deposit_address(0) == address

    def test_what_a_killed_run_left_is_finished(self, keystore_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
        call_command("create_deposit_seed", "--no-input")
        address = deposit_address(0)
        (keystore_dir / XPUB_NAME).unlink()
        capsys.readouterr()
        call_command("create_deposit_seed", "--no-input")
        assert capsys.readouterr().out == ""
        assert deposit_address(0) == address

    def test_without_a_passphrase_no_words_are_shown(
        self, keystore_dir: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
    ) -> None:
        settings.KEYSTORE_PASSPHRASE = ""
        with pytest.raises(CommandError):
            call_command("create_deposit_seed", "--no-input")
        assert capsys.readouterr().out == ""


class TestChangePassphrase:
    @pytest.fixture(autouse=True)
    def _keys(self, keystore_dir: Path) -> None:
        write_cheap_keystore(keystore_dir, name="UTC--1--a")

    def assert_changed(self, settings: Settings) -> None:
        settings.KEYSTORE_PASSPHRASE = NEW
        forget_signers()
        assert load(ADDRESS).address == ADDRESS

    def test_the_new_one_from_a_pipe(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pipe(monkeypatch, f"{NEW}\nrest\n")
        call_command("change_passphrase")
        printed = "".join(capsys.readouterr())
        assert printed.startswith("Changed: UTC--1--a\n")
        assert NEW not in printed
        self.assert_changed(settings)

    def test_the_new_one_from_a_file(self, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "new").write_text(f"{NEW}\n")
        monkeypatch.setenv("NEW_KEYSTORE_PASSPHRASE_FILE", str(tmp_path / "new"))
        pipe(monkeypatch, "")
        call_command("change_passphrase")
        self.assert_changed(settings)

    def test_typed_twice_unseen(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        prompts = type_unseen(monkeypatch, NEW, NEW)
        call_command("change_passphrase")
        assert prompts == ["New passphrase: ", "New passphrase, once more: "]
        self.assert_changed(settings)

    def test_two_different_ones_change_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        type_unseen(monkeypatch, NEW, NEW + "x")
        with pytest.raises(CommandError, match="two different ones"):
            call_command("change_passphrase")
        assert load(ADDRESS).address == ADDRESS

    def test_nothing_typed_changes_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pipe(monkeypatch, "\n")
        with pytest.raises(CommandError, match="Nothing was given"):
            call_command("change_passphrase")
        assert load(ADDRESS).address == ADDRESS

    def test_without_files_it_says_so(
        self, keystore_dir: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        settings.KEYSTORE_DIR = tmp_path / "empty"
        settings.KEYSTORE_DIR.mkdir()
        pipe(monkeypatch, NEW)
        with pytest.raises(CommandError, match="There are no key files"):
            call_command("change_passphrase")


def test_no_command_takes_a_secret_as_an_argument() -> None:
    for name in ("create_key", "list_keys", "create_deposit_seed", "change_passphrase"):
        with pytest.raises(CommandError, match="unrecognized arguments"):
            call_command(name, "a-secret")
