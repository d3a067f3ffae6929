"""List the keys that this process could sign with, say which are no wallet's, and try them."""

from argparse import ArgumentParser
from collections.abc import Callable
from functools import partial
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from accounts.exceptions import AccountsError
from accounts.keys import restore_deposit_xpub
from accounts.keys.deposits import SEED_NAME, deposit_address
from accounts.keys.exceptions import KeyNotFoundError
from accounts.keys.sources import key_sources
from transactions.models import Wallet


class Command(BaseCommand):
    help = (
        "List all keys: address, source and place, and which are no wallet's. With --check, say of each whether it can "
        "sign (exit code 1: no)."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--check", action="store_true", help="open each; takes half a second a file")

    def handle(self, *_args: Any, **options: Any) -> None:
        self.failures = 0
        self.is_check = options["check"]
        wallets = self._read_wallets()
        try:
            for source in key_sources():
                for key in source.places():
                    place = key.place if wallets is None or key.address in wallets else f"{key.place}  no wallet"
                    self._tell(key.address, source.name, place, partial(source.load, key.address))
            self._tell_deposits()
        except AccountsError as error:
            raise CommandError(str(error)) from None
        if self.failures:
            raise CommandError(f"{self.failures} can't be used.")

    def _read_wallets(self) -> set[str] | None:
        """Return the addresses of all wallets; None on a machine that has keys and no database."""
        try:
            return set(Wallet.objects.values_list("address", flat=True))
        except DatabaseError:
            self.stderr.write("The database can't be asked which of them are wallets.")
            return None

    def _tell_deposits(self) -> None:
        """Name the seed by its first address, as wallet software does."""
        try:
            first = deposit_address(0)
        except KeyNotFoundError:
            return
        open_it = partial(restore_deposit_xpub, settings.KEYSTORE_DIR, settings.KEYSTORE_PASSPHRASE)
        self._tell(first, "deposit seed", SEED_NAME, open_it)

    def _tell(self, address: str, source: str, place: str, open_it: Callable[[], object]) -> None:
        verdict = ""
        if self.is_check:
            try:
                open_it()
                verdict = "  opens"
            except AccountsError as error:
                self.failures += 1
                verdict = f"  {error}"
        self.stdout.write(f"{address}  {source:12}  {place}{verdict}")
