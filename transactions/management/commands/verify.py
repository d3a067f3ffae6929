"""`manage.py verify`: prove the reserves at a terminal or in a script, by its exit code."""

from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from accounts.money import format_ether
from transactions.exceptions import BlockNotComparableError
from transactions.models import ReservesReport
from transactions.services.reserves import Proof, prove_reserves
from transactions.services.reserves_reports import keep_report, sign_report

DIFFERENT = 1
NOT_DONE = 2


class Command(BaseCommand):
    help = (
        "Recompute every balance from entries, compare each wallet with the chain at one block, and keep a report. "
        "Exit codes: 0 everything adds up, 1 something differs, 2 it could not all be checked."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        which = parser.add_mutually_exclusive_group()
        which.add_argument(
            "--block", type=_block_number, metavar="N", help="compare at this block, not at the newest possible"
        )
        which.add_argument("--no-chain", action="store_true", help="check the books alone")

    def handle(self, *_args: Any, **options: Any) -> None:
        self._total = self._done = 0
        self._shows_progress = self.stderr.isatty()
        with_chain = not options["no_chain"]
        try:
            proof = prove_reserves(
                with_chain=with_chain,
                block_number=options["block"],
                on_total=self._set_total,
                on_progress=self._advance,
            )
            row = keep_report(proof, timezone.now())
            sign_report(row.pk, timezone.now())
            row.refresh_from_db()
        except BlockNotComparableError as error:
            raise CommandError(str(error), returncode=NOT_DONE) from error
        except (OperationalError, InterfaceError) as error:
            raise CommandError("PostgreSQL can't be asked.", returncode=NOT_DONE) from error
        finally:
            self._end_line()
        self._tell(proof, row)
        if row.differences_total:
            raise CommandError(f"{row.differences_in_words}.", returncode=DIFFERENT)
        if with_chain and not row.is_compared:
            raise CommandError(f"The chain was not compared: {row.not_compared}", returncode=NOT_DONE)

    def _tell(self, proof: Proof, row: ReservesReport) -> None:
        for difference in proof.report.differences:
            self.stdout.write(str(difference))
        self.stdout.write(f"Checked {proof.report.checked_in_words}.")
        self.stdout.write(f"Owed to users: {format_ether(row.owed_in_wei)} ETH.")
        if row.held_in_wei is not None and row.surplus_in_wei is not None:
            self.stdout.write(f"Held at block {row.block_number}: {format_ether(row.held_in_wei)} ETH.")
            if row.in_flight_in_wei:
                self.stdout.write(f"In flight (chain less ledger): {format_ether(row.in_flight_in_wei)} ETH.")
            words = "Short of what is owed" if row.surplus_in_wei < 0 else "Held beyond what is owed"
            self.stdout.write(f"{words}: {format_ether(abs(row.surplus_in_wei))} ETH.")
        signers = ", ".join(given["address"] for given in row.signatures)
        self.stdout.write(f"{row}, signed by {signers}." if signers else f"{row}, not signed yet.")
        if not row.differences_total:
            self.stdout.write("Everything adds up." if row.is_compared else "The books by themselves add up.")

    def _set_total(self, total: int) -> None:
        self._total = total

    def _advance(self, steps: int) -> None:
        self._done = min(self._done + steps, self._total)
        if self._shows_progress:
            self.stderr.write(f"\r{100 * self._done // max(self._total, 1)} %", ending="")
            self.stderr.flush()

    def _end_line(self) -> None:
        if self._shows_progress and self._done:
            self.stderr.write("")


def _block_number(text: str) -> int:
    if not text.isdecimal():
        raise ArgumentTypeError(f"{text!r} is no number of a block")
    return int(text)
