"""Let the desk check its own books: `python -m chaos.books` prints each difference and how much was checked."""

import importlib
import sys

import django

if __name__ == "__main__":
    django.setup()
    # What it imports is ready only now.
    report = importlib.import_module("transactions.services.verify").check_books()
    for difference in report.differences:
        sys.stdout.write(f"{difference}\n")
    sys.exit(0 if report.is_clean else 1)
