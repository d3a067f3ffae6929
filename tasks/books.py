"""The check of the books as a task run: progress while it goes on, every difference kept and logged at its end."""

import logging

from accounts.services.verify import Report
from tasks.progress import Progress
from transactions.services.verify import check_books

logger = logging.getLogger(__name__)

CHECK_LEDGER = "Check the ledger"


def check_ledger_with_progress(progress: Progress) -> Report:
    """Check the books and say in the run how it went; a difference fails the run and is logged as an error."""
    report = check_books(on_total=progress.set_total, on_progress=progress.advance)
    checked = ", ".join(f"{what}: {count:,}" for what, count in report.checked.items())
    if report.is_clean:
        progress.finish(f"Everything adds up. Checked {checked}.")
        return report
    for difference in report.differences:
        logger.error("The books don't add up: %s", difference)
    count = report.differences_total
    logger.error("The books don't add up: %d differences. Checked %s.", count, checked)
    heading = "1 difference" if count == 1 else f"{count:,} differences"
    details = "\n".join(str(difference) for difference in report.differences)
    progress.fail(f"{heading}:\n{details}", f"Checked {checked}. The worker's log has all rows.")
    return report
