"""Make, or bring along, the seed of all deposit addresses."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from accounts.exceptions import AccountsError
from accounts.keys import draw_mnemonic, restore_deposit_xpub, save_deposit_seed
from accounts.keys.deposits import SEED_NAME, XPUB_NAME, deposit_address
from accounts.keys.exceptions import DepositSeedExistsError, KeyPassphraseError
from accounts.management.secret_input import confirm, read_secret


class Command(BaseCommand):
    help = (
        "Make the seed that all deposit addresses are derived from, in KEYSTORE_DIR under KEYSTORE_PASSPHRASE, and "
        "show its 24 words once, for a backup on paper. Refused when there is one; where only its public key is "
        "missing, that is written anew."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--import", action="store_true", dest="is_import", help="read 24 words from standard input")
        parser.add_argument("--no-input", action="store_false", dest="is_interactive", help="ask nothing")

    def handle(self, *_args: Any, **options: Any) -> None:
        try:
            if not self._restore():
                self._create(is_import=options["is_import"], is_interactive=options["is_interactive"])
            first = deposit_address(0)
        except (AccountsError, OSError) as error:
            raise CommandError(str(error)) from None
        self.stderr.write(
            f"{SEED_NAME} and {XPUB_NAME} are in {settings.KEYSTORE_DIR}; deposit address 0 is {first}.\n"
            f"A process that only shows addresses needs {XPUB_NAME} and no passphrase."
        )

    def _restore(self) -> bool:
        """Finish what a killed run began; return whether there was a seed without its public key."""
        directory = settings.KEYSTORE_DIR
        if (directory / SEED_NAME).exists() and not (directory / XPUB_NAME).exists():
            restore_deposit_xpub(directory, settings.KEYSTORE_PASSPHRASE)
            return True
        return False

    def _create(self, *, is_import: bool, is_interactive: bool) -> None:
        if (settings.KEYSTORE_DIR / XPUB_NAME).exists():
            raise DepositSeedExistsError
        if not settings.KEYSTORE_PASSPHRASE:
            raise KeyPassphraseError("KEYSTORE_PASSPHRASE is not set.")
        if is_import:
            mnemonic = read_secret("The 24 words")
        else:
            mnemonic = draw_mnemonic()
            self.stderr.write("These 24 words are the deposit seed. They are shown only now; keep them on paper:")
            self.stdout.write(mnemonic)
            if is_interactive and not confirm("Have you written them down?"):
                raise CommandError("Nothing was made.")
        save_deposit_seed(settings.KEYSTORE_DIR, settings.KEYSTORE_PASSPHRASE, mnemonic)
