"""The check of books and reserves as a task run: progress while it goes on, a signed report of whatever it found."""

import logging

from django.utils import timezone
from kombu.exceptions import OperationalError

from tasks.money import sign_reserves_reports
from tasks.progress import Progress
from transactions.models import ReservesReport
from transactions.services.reserves import Proof, prove_reserves
from transactions.services.reserves_reports import keep_report

logger = logging.getLogger(__name__)

CHECK_LEDGER = "Check the ledger"
LOGGED_MAX = 100
SHOWN_MAX = 20


def check_ledger_with_progress(progress: Progress) -> ReservesReport:
    """Check the books and compare the wallets with the chain, keep the report, and say in the run how it went.

    A difference fails the run and is logged as an error. So does a chain that can't be compared; it is no difference.
    """
    proof = prove_reserves(on_total=progress.set_total, on_progress=progress.advance)
    row = keep_report(proof, timezone.now())
    _have_it_signed()
    checked = proof.report.checked_in_words
    if row.is_clean:
        progress.finish(
            f"Everything adds up, and with the chain at block {row.block_number}. {row}. Checked {checked}."
        )
    elif row.differences_total:
        _tell_differences(progress, proof, row, checked)
    else:
        error = f"The chain was not compared: {row.not_compared}"
        logger.warning("%s The books by themselves add up.", error)
        progress.fail(error, f"The books by themselves add up. {row}. Checked {checked}.")
    return row


def _have_it_signed() -> None:
    try:
        sign_reserves_reports.apply_async(expires=60)
    except OperationalError:
        logger.warning("The broker does not answer; the report is signed with a later tick.")


def _tell_differences(progress: Progress, proof: Proof, row: ReservesReport, checked: str) -> None:
    differences = proof.report.differences
    for difference in differences[:LOGGED_MAX]:
        logger.error("The books don't add up: %s", difference)
    logger.error("The books don't add up: %s. %s lists them. Checked %s.", row.differences_in_words, row, checked)
    details = "\n".join(str(difference) for difference in differences[:SHOWN_MAX])
    compared = "" if row.is_compared else f" The chain was not compared: {row.not_compared}"
    progress.fail(
        f"{row.differences_in_words}:\n{details}", f"{row} lists all with their rows.{compared} Checked {checked}."
    )
