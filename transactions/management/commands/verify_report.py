"""`manage.py verify_report`: whose names are under a report of reserves; needs neither database nor node for a file."""

import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.keys import BadSignatureError
from transactions.models import ReservesReport
from transactions.services.reserves_reports import signers_of


class Command(BaseCommand):
    help = "Check the signatures of a report of reserves and name who signed it (exit code 1: not all are right)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("file", nargs="?", help="as downloaded in the admin; - for standard input")
        which.add_argument("--id", type=int, help="of a report in the database")

    def handle(self, *_args: Any, **options: Any) -> None:
        text, signatures = _from_database(options["id"]) if options["id"] is not None else _from_file(options["file"])
        try:
            signers = signers_of(text, signatures)
        except BadSignatureError as error:
            raise CommandError(str(error)) from error
        for address in signers:
            self.stdout.write(f"Signed by {address}.")


def _from_database(report_id: int) -> tuple[str, list[dict[str, str]]]:
    row = ReservesReport.objects.filter(pk=report_id).first()
    if row is None:
        raise CommandError(f"There is no reserves report #{report_id}.")
    return row.text, row.signatures


def _from_file(name: str) -> tuple[str, list[dict[str, str]]]:
    try:
        content = json.loads(sys.stdin.read() if name == "-" else Path(name).read_text())
        return str(content["text"]), [{key: str(given[key]) for key in given} for given in content["signatures"]]
    except FileNotFoundError as error:
        raise CommandError(f"There is no such file: {name}") from error
    except OSError as error:
        raise CommandError(f"{name} can't be read: {error.strerror}.") from error
    except (ValueError, TypeError, KeyError) as error:
        raise CommandError("This is no report of reserves as the admin gives it.") from error
