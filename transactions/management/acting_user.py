"""Who runs a command, for the audit trail."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts.models import User


def add_by_argument(parser: CommandParser) -> None:
    """Let a command be told who runs it."""
    parser.add_argument("--by", metavar="USERNAME", help="who does it, for the audit trail")


def read_acting_user(options: dict[str, Any]) -> User | None:
    """Return the user whom `--by` names; nobody where it isn't given.

    :raises CommandError: when there is no such active user.
    """
    if not options["by"]:
        return None
    user = User.objects.filter(username=options["by"], is_active=True).first()
    if user is None:
        raise CommandError(f"There is no active user “{options['by']}”.")
    return user
