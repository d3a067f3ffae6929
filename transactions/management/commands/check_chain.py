"""Check that the node follows the chain that this database knows."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from transactions.chain.exceptions import ChainError
from transactions.exceptions import ChainMismatchError
from transactions.services.match import require_matching_chain

MISMATCH = 3


class Command(BaseCommand):
    help = "Check that the node follows the chain that this database knows (exit code 3: it does not)."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            require_matching_chain()
        except ChainMismatchError as error:
            raise CommandError(str(error), returncode=MISMATCH) from error
        except ChainError as error:
            raise CommandError(f"The node can't be asked: {error}") from error
        self.stdout.write("The node follows the chain that this database knows.")
