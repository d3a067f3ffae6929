"""Rotate a hot wallet's key, step by step."""

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from accounts.exceptions import AccountsError
from transactions.addresses import parse_address
from transactions.chain.exceptions import ChainError
from transactions.exceptions import TransactionsError
from transactions.management.acting_user import add_by_argument, read_acting_user
from transactions.services.rotate import Standing, rotate_key

PAUSE_SECONDS = 5


class Command(BaseCommand):
    help = (
        "Rotate a hot wallet's key: make a new key and wallet, drain the old one, move what it holds to the new one, "
        "retire the old key. Each run takes the next step and says what it waits for; run it again until it is over, "
        "or with --wait. It can be stopped at any point."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("address", help="of the wallet whose key is to go")
        parser.add_argument("--reason", default="", help="why, for the audit trail; needed by the first run")
        add_by_argument(parser)
        parser.add_argument("--to", metavar="ADDRESS", help="take over with this address, whose key is there already")
        parser.add_argument("--wait", action="store_true", help="go on until it is over")
        parser.add_argument("--finish", action="store_true", help="fail unless it is over with this run")

    def handle(self, *_args: Any, **options: Any) -> None:
        said: tuple[str, ...] = ()
        while True:
            standing = self._step(options)
            if standing.words != said:
                self.stdout.write("\n".join(standing.words))
                self.stdout.flush()
            if standing.is_over:
                self.stdout.write("The rotation is over.")
                return
            if not options["wait"]:
                break
            said = standing.words
            time.sleep(PAUSE_SECONDS)
        if options["finish"]:
            raise CommandError("The rotation is not over.")
        self.stdout.write("The rotation is not over: run this again in a while.")

    def _step(self, options: dict[str, Any]) -> Standing:
        try:
            return rotate_key(
                actor=read_acting_user(options),
                address=parse_address(options["address"]).address,
                reason=options["reason"],
                to_address=parse_address(options["to"]).address if options["to"] else None,
                now=timezone.now(),
            )
        except (AccountsError, TransactionsError, OSError) as error:
            raise CommandError(str(error)) from None
        except ChainError as error:
            raise CommandError(f"The node can't be asked: {error}") from None
