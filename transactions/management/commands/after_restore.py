"""Prepare a database that was restored from a backup, before anything is started on it."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from accounts.exceptions import AccountsError
from transactions.services.renumber import move_numbers_ahead
from transactions.services.restored import hold_wallets


class Command(BaseCommand):
    help = (
        "After a restore from a backup, before anything is started: pause all hot wallets, so that nothing is paid "
        "that was called off since; and go on with numbers 1,000,000 above those in the backup, so that no new "
        "account or payment gets the number, or deposit address, of one that is lost."
    )

    def handle(self, *_args: Any, **_options: Any) -> None:
        try:
            sequences = move_numbers_ahead()
        except AccountsError as error:
            raise CommandError(str(error)) from None
        for wallet in hold_wallets(timezone.now()):
            self.stdout.write(f"{wallet} is paused. Resume it at the end, as the runbook says.")
        for sequence in sequences:
            self.stdout.write(f"{sequence.model._meta.label} goes on from {sequence.next_id}.")
