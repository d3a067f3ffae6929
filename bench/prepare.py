"""Bring the database of DATABASE_URL up to date: `python -m bench.prepare`, one process for both commands."""

import django
from django.core.management import call_command

if __name__ == "__main__":
    django.setup()
    call_command("migrate", verbosity=0, interactive=False)
    call_command("setup_desk")
