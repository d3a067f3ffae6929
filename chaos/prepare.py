"""Make the desk that is to be tried: `python -m chaos.prepare FILE`; FILE is told who takes part."""

import importlib
import sys
from pathlib import Path

import django
from django.core.management import call_command

if __name__ == "__main__":
    django.setup()
    call_command("migrate", verbosity=0, interactive=False)
    call_command("setup_desk", stdout=sys.stderr)
    # What it imports is ready only now.
    importlib.import_module("chaos.casting").make_cast().write(Path(sys.argv[1]))
