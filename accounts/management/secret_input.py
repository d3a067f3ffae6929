"""Secrets typed or piped into commands: never an argument, which every user of the machine can see, and never shown."""

import getpass
import sys

from django.core.management.base import CommandError


def read_secret(prompt: str, *, repeat: bool = False) -> str:
    """Return a line that a person typed unseen, or the first line of standard input where it is a pipe or a file.

    :param repeat: have a person type it twice.
    :raises CommandError: when nothing was given, or the second time something else.
    """
    if not sys.stdin.isatty():
        line = sys.stdin.readline().rstrip("\r\n")
    else:
        line = getpass.getpass(f"{prompt}: ")
        if repeat and getpass.getpass(f"{prompt}, once more: ") != line:
            raise CommandError("These were two different ones; nothing was changed.")
    if not line:
        raise CommandError("Nothing was given on standard input.")
    return line


def confirm(question: str) -> bool:
    """Ask a person for a yes, and take the word alone for one."""
    try:
        return input(f"{question} Type yes to go on: ").strip().lower() == "yes"
    except EOFError:
        return False
