"""Let the desk pay from one more hot wallet."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.exceptions import AccountsError
from transactions.addresses import parse_address
from transactions.chain.exceptions import ChainError
from transactions.exceptions import TransactionsError
from transactions.management.acting_user import add_by_argument, read_acting_user
from transactions.services.wallet_care import add_wallet


class Command(BaseCommand):
    help = "Let the desk pay from an address whose key it has. What it holds, and what comes, is booked by itself."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("address", help="as create_key or list_keys shows it")
        add_by_argument(parser)

    def handle(self, *_args: Any, **options: Any) -> None:
        try:
            wallet = add_wallet(actor=read_acting_user(options), address=parse_address(options["address"]).address)
        except (AccountsError, TransactionsError) as error:
            raise CommandError(str(error)) from None
        except ChainError as error:
            raise CommandError(f"The node can't be asked: {error}") from None
        self.stdout.write(f"{wallet} may pay from now on.")
