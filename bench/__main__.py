"""`python -m bench [ROW ...] [--quick]`: measure, print a table, write var/bench.json."""

import argparse
import importlib
import signal
import sys
import time
import traceback
from pathlib import Path

import django

from bench.desk import BLOCK_SECONDS, Desk
from bench.figures import Figure
from bench.report import describe_machine, say, table, write_json
from txnsite.stack.layout import REPOSITORY

ROWS: dict[str, int | None] = {
    "accepted": BLOCK_SECONDS,
    "latency": BLOCK_SECONDS,
    "broadcast": BLOCK_SECONDS,
    "settled": None,
    "calls": BLOCK_SECONDS,
    "final": BLOCK_SECONDS,
    "read": None,
}
"""The rows in the order they run, and the seconds between blocks; with None the row mines when it needs to."""


def main() -> int:
    """Run the rows asked for; exit with 0 when every target was met, 1 when some was missed, 3 when a row failed."""
    options = _parse()
    # A plain `kill` ends the bench as Ctrl-C does: with everything stopped and deleted.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    machine = describe_machine()
    say(", ".join(f"{name} {value}" for name, value in machine.items()))
    figures: list[Figure] = []
    failed = []
    with Desk() as desk:
        django.setup()
        for name in options.rows or ROWS:
            try:
                figures += _measure(desk, name, quick=options.quick)
                # As it goes: a bench that is stopped keeps what it has.
                write_json(options.output, figures, machine, quick=options.quick)
            except Exception:
                # What was measured before is worth telling, and so is what comes after.
                failed.append(name)
                traceback.print_exc()
    say()
    say(table(figures))
    if options.quick:
        say(
            "\nA short try. Figures that mean something take a run without --quick on a machine that does nothing else."
        )
    if failed:
        say(f"Failed, see above: {', '.join(failed)}")
        return 3
    return 0 if options.quick or all(figure.met for figure in figures) else 1


def _measure(desk: Desk, name: str, *, quick: bool) -> list[Figure]:
    # What a row imports reads Django's settings, which name servers that have only just been started.
    row = importlib.import_module(f"bench.rows.{name}")
    connections = importlib.import_module("django.db").connections
    start = time.monotonic()
    say(f"{name} …")
    connections.close_all()
    desk.begin_row(block_seconds=ROWS[name])
    figures: list[Figure] = row.measure(desk, quick=quick)
    desk.stop_programs()
    say(f"{name}: {time.monotonic() - start:.0f} s")
    return figures


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the desk against its targets.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"rows to measure (all): {', '.join(ROWS)}")
    parser.add_argument("--quick", action="store_true", help="a short try, to see that everything works")
    parser.add_argument(
        "--output", type=Path, default=REPOSITORY / "var" / "bench.json", help="where to write (var/bench.json)"
    )
    options = parser.parse_args()
    unknown = sorted(set(options.rows) - set(ROWS))
    if unknown:
        parser.error(f"no such row: {', '.join(unknown)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
