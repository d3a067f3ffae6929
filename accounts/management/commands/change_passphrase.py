"""Encrypt all key files under a new passphrase."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from accounts.exceptions import AccountsError
from accounts.keys import change_passphrase
from accounts.management.secret_input import read_secret
from txnsite.env import running_env


class Command(BaseCommand):
    help = (
        "Encrypt every key file of KEYSTORE_DIR and the deposit seed anew. The old passphrase is KEYSTORE_PASSPHRASE; "
        "the new one comes from the file that NEW_KEYSTORE_PASSPHRASE_FILE names, else from standard input. "
        "If it is stopped half-way, run it again with the same two."
    )

    def handle(self, *_args: Any, **_options: Any) -> None:
        new = running_env(settings.BASE_DIR).secret("NEW_KEYSTORE_PASSPHRASE", "")
        new = new or read_secret("New passphrase", repeat=True)
        try:
            changed = change_passphrase(settings.KEYSTORE_DIR, old=settings.KEYSTORE_PASSPHRASE, new=new)
        except (AccountsError, OSError) as error:
            raise CommandError(str(error)) from None
        for name in changed.now:
            self.stdout.write(f"Changed: {name}")
        for name in changed.before:
            self.stdout.write(f"Changed before: {name}")
        if not changed.now and not changed.before:
            raise CommandError(f"There are no key files in {settings.KEYSTORE_DIR}.")
        self.stdout.write("Now give the new passphrase to the workers of queue money, and restart them.")
