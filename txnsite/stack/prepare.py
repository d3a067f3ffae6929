"""Bring the database up to date and load the demo: `python -m txnsite.stack.prepare`, one process for five commands.

Each `manage.py` of its own would load Django and web3 anew.
"""

import os
import sys

import django
from django.core.management import CommandError, call_command


def main() -> int:
    """Run the commands and return 0, or the exit code of the one that failed."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "txnsite.settings")
    django.setup()
    try:
        call_command("migrate", interactive=False)
        # Before anything is written: a database beside a chain that isn't its own is left as it is.
        call_command("check_chain")
        call_command("setup_desk")
        call_command("load_demo")
    except CommandError as error:
        sys.stderr.write(f"{error}\n")
        return error.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
