"""Where signers come from: the sources that the setting SIGNERS names, asked in its order."""

from dataclasses import dataclass
from functools import cache
from typing import Protocol

from django.conf import settings
from django.utils.module_loading import import_string

from accounts.keys.deposits import forget_deposit_signers
from accounts.keys.exceptions import KeyNotFoundError
from accounts.keys.signer import Signer


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """Where the key of an address is, in words for an operator: no secret."""

    address: str
    place: str


class KeySource(Protocol):
    """One kind of place for keys. A class without arguments, named in SIGNERS by its dotted path."""

    name: str

    def places(self) -> list[KeyPlace]:
        """Return what is there, without opening anything."""

    def load(self, address: str) -> Signer | None:
        """Return the signer for an address (EIP-55), or nothing if its key isn't here. Called for each batch.

        :raises AccountsError: when the key is here and can't be used; then no other source is asked.
        """

    def forget(self) -> None:
        """Drop what is held in memory."""


def load_signer(address: str) -> Signer:
    """Return the signer for an address (EIP-55).

    :raises KeyNotFoundError: when no source has its key.
    :raises KeyPassphraseError: when the passphrase of the settings does not open its file.
    :raises KeyFileError: when its file can't be used, or holds the key of another address.
    :raises KeyEnvironmentError: when WALLET_PRIVATE_KEYS can't be read.
    """
    for source in key_sources():
        signer = source.load(address)
        if signer is not None:
            return signer
    names = ", ".join(source.name for source in key_sources())
    raise KeyNotFoundError(f"There is no key for {address} (looked in: {names}).")


def key_sources() -> tuple[KeySource, ...]:
    """Return this process's sources, in the order in which they are asked."""
    return _made(tuple(settings.SIGNERS))


def key_addresses() -> set[str]:
    """Return the address (EIP-55) of each key that this process could sign with, those made from the seed aside.

    :raises KeyEnvironmentError: when WALLET_PRIVATE_KEYS can't be read.
    """
    return {key.address for source in key_sources() for key in source.places()}


def forget_signers() -> None:
    """Drop all keys from this process's memory."""
    for source in key_sources():
        source.forget()
    forget_deposit_signers()


@cache
def _made(paths: tuple[str, ...]) -> tuple[KeySource, ...]:
    return tuple(import_string(path)() for path in paths)
