"""A keystore directory of a test's own, whose files open at once."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from accounts.keys import files, forget_signers
from tests.accounts.keys.material import PASSPHRASE


@pytest.fixture
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the half second of scrypt that each file costs."""
    monkeypatch.setattr(files, "KDF", {"kdf": "pbkdf2", "iterations": 1})


@pytest.fixture
def keystore_dir(_cheap: None, tmp_path: Path, settings: Settings) -> Iterator[Path]:
    """The directory of the settings, empty; and no key in memory."""
    settings.KEYSTORE_DIR = tmp_path / "keystore"
    settings.KEYSTORE_DIR.mkdir()
    settings.KEYSTORE_PASSPHRASE = PASSPHRASE
    settings.WALLET_PRIVATE_KEYS = ""
    forget_signers()
    yield settings.KEYSTORE_DIR
    forget_signers()
