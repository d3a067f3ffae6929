"""Make a new key for a hot wallet and print its address."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from accounts.exceptions import AccountsError
from accounts.keys import create_keystore


class Command(BaseCommand):
    help = "Make a new private key in an encrypted file of KEYSTORE_DIR, under KEYSTORE_PASSPHRASE; print its address."

    def handle(self, *_args: Any, **_options: Any) -> None:
        try:
            address = create_keystore(settings.KEYSTORE_DIR, settings.KEYSTORE_PASSPHRASE)
        except (AccountsError, OSError) as error:
            raise CommandError(str(error)) from None
        self.stderr.write(f"A new key is in {settings.KEYSTORE_DIR}. Back the file up before the address gets money:")
        # Nothing but the address on standard output, so that a script can take it.
        self.stdout.write(address)
