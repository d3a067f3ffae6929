"""Keys from the environment: WALLET_PRIVATE_KEYS, for platforms that keep secrets as variables."""

import re

from django.conf import settings
from django.views.decorators.debug import sensitive_variables

from accounts.keys.exceptions import KeyEnvironmentError
from accounts.keys.signer import LocalSigner, Secret
from accounts.keys.sources import KeyPlace

_KEY = re.compile("0x[0-9a-fA-F]{64}")


class EnvironmentSource(Secret):
    """Read the variable once, when a key is first asked for."""

    name = "environment"

    def __init__(self) -> None:
        self._signers: dict[str, LocalSigner] | None = None

    def places(self) -> list[KeyPlace]:
        """Return the address of each key.

        :raises KeyEnvironmentError: when one of them is no key.
        """
        return [KeyPlace(address, "WALLET_PRIVATE_KEYS") for address in self._by_address()]

    def load(self, address: str) -> LocalSigner | None:
        """Return the signer for an address (EIP-55), or nothing.

        :raises KeyEnvironmentError: when one of the keys is none.
        """
        return self._by_address().get(address)

    def forget(self) -> None:
        """Drop the keys; they are read again when needed."""
        self._signers = None

    def _by_address(self) -> dict[str, LocalSigner]:
        if self._signers is None:
            self._signers = {signer.address: signer for signer in _read(settings.WALLET_PRIVATE_KEYS)}
        return self._signers


@sensitive_variables("text", "words", "word", "signers")
def _read(text: str) -> list[LocalSigner]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    signers = [_signer(word) for word in words]
    for number, signer in enumerate(signers, start=1):
        if signer is None:
            raise KeyEnvironmentError(
                f"Key {number} of {len(words)} in WALLET_PRIVATE_KEYS is not a private key: 0x and 64 hex digits."
            )
    return [signer for signer in signers if signer is not None]


@sensitive_variables("word")
def _signer(word: str) -> LocalSigner | None:
    """Return the signer of a key, or nothing; no exception leaves from where the key is."""
    if not _KEY.fullmatch(word):
        return None
    try:
        return LocalSigner(bytes.fromhex(word.removeprefix("0x")))
    except ValueError:
        # Zero, or not below the order of the curve.
        return None
