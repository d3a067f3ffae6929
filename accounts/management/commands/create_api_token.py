"""Make an API token and print it, once."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.exceptions import AccountsError
from accounts.models import User
from accounts.services.tokens import create_token


class Command(BaseCommand):
    help = "Make an API token for a user and print it. It is stored hashed: this is the only time it can be read."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--name", default="command line", help="what it is for, to tell tokens apart")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username=options["username"]).first()
        if user is None:
            raise CommandError(f"There is no user “{options['username']}”.")
        if not user.is_active:
            raise CommandError(f"The user “{user.username}” is deactivated: a token of theirs would be refused.")
        try:
            token = create_token(user=user, name=options["name"])
        except AccountsError as error:
            raise CommandError(str(error)) from error
        # Nothing but the token on standard output, so that a script can take it.
        self.stderr.write(f"Token “{token.row.name}” of {user.username}; keep it safe, it is not shown again:")
        self.stdout.write(token.text)
