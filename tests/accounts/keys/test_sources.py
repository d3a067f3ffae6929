"""Where signers come from: the sources of the settings in their order, and keys from the environment."""

import logging
import traceback
from pathlib import Path

import pytest
from pytest_django import Settings

from accounts.keys import KeyNotFoundError, KeyPassphraseError, LocalSigner, Signer, forget_signers, load_signer
from accounts.keys.exceptions import KeyEnvironmentError
from accounts.keys.sources import KeyPlace, key_sources
from tests.accounts.keys.material import (
    ADDRESS,
    KEY,
    OTHER_ADDRESS,
    OTHER_KEY,
    RECIPIENT,
    every_local,
    write_cheap_keystore,
)

HEX, OTHER_HEX = f"0x{KEY.hex()}", f"0x{OTHER_KEY.hex()}"


class ServiceSource:
    """A source as one for a key management service is written."""

    name = "service"

    def places(self) -> list[KeyPlace]:
        return [KeyPlace(RECIPIENT, "arn:key/1")]

    def load(self, address: str) -> Signer | None:
        return LocalSigner(OTHER_KEY) if address == OTHER_ADDRESS else None

    def forget(self) -> None:
        pass


class TestEnvironment:
    def test_its_keys_sign(self, keystore_dir: Path, settings: Settings) -> None:
        settings.WALLET_PRIVATE_KEYS = f" {HEX} ,{OTHER_HEX.upper().replace('X', 'x')},"
        assert load_signer(ADDRESS).address == ADDRESS
        assert load_signer(OTHER_ADDRESS).address == OTHER_ADDRESS
        assert load_signer(ADDRESS) is load_signer(ADDRESS)
        with pytest.raises(KeyNotFoundError):
            load_signer(RECIPIENT)

    @pytest.mark.parametrize(
        "bad",
        [
            HEX[2:],
            HEX[:-1],
            HEX + "0",
            HEX[:-1] + "g",
            "0x" + "00" * 32,
            "0x" + "ff" * 32,
            "secret words",
        ],
    )
    def test_one_that_is_no_key_is_told_by_its_number_alone(
        self, keystore_dir: Path, settings: Settings, bad: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        settings.WALLET_PRIVATE_KEYS = f"{OTHER_HEX},{bad}"
        with pytest.raises(KeyEnvironmentError) as caught:
            load_signer(OTHER_ADDRESS)
        assert str(caught.value) == ("Key 2 of 2 in WALLET_PRIVATE_KEYS is not a private key: 0x and 64 hex digits.")
        shown = "".join(traceback.format_exception(caught.value)) + caplog.text
        assert bad not in shown
        assert OTHER_KEY.hex() not in shown
        assert caught.value.__context__ is None
        assert repr(OTHER_KEY) not in every_local(caught.tb)

    def test_a_key_in_a_file_does_not_need_it(self, keystore_dir: Path, settings: Settings) -> None:
        write_cheap_keystore(keystore_dir)
        settings.WALLET_PRIVATE_KEYS = "nonsense"
        assert load_signer(ADDRESS).address == ADDRESS


class TestOrder:
    def test_the_first_that_has_it_signs(self, keystore_dir: Path, settings: Settings) -> None:
        settings.WALLET_PRIVATE_KEYS = HEX
        from_environment = load_signer(ADDRESS)
        write_cheap_keystore(keystore_dir)
        from_file = load_signer(ADDRESS)
        assert from_file is not from_environment
        settings.SIGNERS = settings.SIGNERS[::-1]
        assert load_signer(ADDRESS) is not from_file

    def test_one_that_fails_is_not_passed_over(self, keystore_dir: Path, settings: Settings) -> None:
        """Else a mistake in one place would silently be paid from another."""
        write_cheap_keystore(keystore_dir)
        settings.WALLET_PRIVATE_KEYS = HEX
        settings.KEYSTORE_PASSPHRASE = "wrong"
        with pytest.raises(KeyPassphraseError):
            load_signer(ADDRESS)

    def test_a_service_is_one_entry(self, keystore_dir: Path, settings: Settings) -> None:
        settings.SIGNERS = [*settings.SIGNERS, f"{__name__}.ServiceSource"]
        assert [source.name for source in key_sources()] == ["keystore", "environment", "service"]
        assert load_signer(OTHER_ADDRESS).address == OTHER_ADDRESS
        forget_signers()
        with pytest.raises(KeyNotFoundError, match="looked in: keystore, environment, service"):
            load_signer(ADDRESS)
