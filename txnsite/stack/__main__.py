"""`python -m txnsite.stack run|reset|env`."""

import argparse
import os
import shlex
import sys

from txnsite.env import read_env_file
from txnsite.stack.console import Console
from txnsite.stack.errors import ForeignStateError, StackError
from txnsite.stack.layout import Layout
from txnsite.stack.run import run


def main(argv: list[str]) -> int:
    """Do what the command line says and return the exit code: 0, 1 for an error, 3 for a chain of another database."""
    parser = argparse.ArgumentParser(prog="python -m txnsite.stack", description="The desk on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="run the desk with all its servers; the variable PORT chooses the site's port")
    commands.add_parser("reset", help="throw away the state of earlier runs")
    commands.add_parser("env", help="print the running stack's environment, for eval in a shell")
    command = parser.parse_args(argv).command
    console = Console()
    layout = Layout.from_environment(os.environ)
    try:
        if command == "run":
            run(layout, _port(os.environ.get("PORT") or "8000"), console)
        elif command == "reset":
            _reset(layout, console)
        else:
            _print_environment(layout, console)
    except StackError as error:
        sys.stdout.flush()
        Console(sys.stderr).fail(str(error))
        return 3 if isinstance(error, ForeignStateError) else 1
    return 0


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65_536):
        raise StackError(f"PORT must be a number from 1 to 65535; it is {text!r}.")
    return int(text)


def _reset(layout: Layout, console: Console) -> None:
    if not layout.var.exists():
        console.say("There is nothing to throw away.")
        return
    with layout.locked():
        removed = layout.remove_state()
    console.say(f"Removed from {layout.var}: {', '.join(removed)}." if removed else "There is nothing to throw away.")


def _print_environment(layout: Layout, console: Console) -> None:
    if not layout.env_file.exists():
        raise StackError(f"No stack runs in {layout.var}: `make run` starts one.")
    for name, value in read_env_file(layout.env_file).items():
        console.say(f"export {name}={shlex.quote(value)}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
