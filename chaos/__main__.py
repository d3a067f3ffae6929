"""`python -m chaos [--faults N | --minutes M] [--seed N]`: break the desk and prove that it holds."""

import argparse
import secrets
import shlex
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from bench.report import say
from chaos.faults.kinds import all_kinds, choose
from chaos.report import summary, table, write_json
from chaos.run import HarnessError, Run, Terms, make_folder
from chaos.stack import remove_files
from txnsite.stack.errors import StackError
from txnsite.stack.layout import REPOSITORY
from txnsite.stack.supervisor import StopRequested

_VAR = REPOSITORY / "var"
_SEED_MAX = 2**31


def main(arguments: Sequence[str]) -> int:
    """Do one run; exit with 0 when all is well, 1 when anything is not, 3 when the harness failed, 130 on Ctrl-C."""
    options = _parse(arguments)
    terms = _terms(options)
    folder = make_folder(options.folder)
    again = [*arguments, *(["--seed", str(terms.seed)] if options.seed is None else [])]
    say(f"seed {terms.seed}, state in {folder}; the same again: python -m chaos {shlex.join(again)}")
    run = Run(folder, terms, say)
    try:
        result = run.carry_out()
    except StopRequested:
        say("Stopped.")
        remove_files(folder)
        return 130
    except (StackError, HarnessError, RuntimeError, OSError):
        traceback.print_exc()
        say(f"The harness failed; logs: {folder / 'log'}")
        return 3
    write_json(options.output, result)
    say(f"\n{table(result.outcomes)}\n\n{summary(result)}")
    if result.is_good and not options.keep:
        remove_files(folder)
    else:
        kept = folder.rename(folder.with_name(f"seed-{terms.seed}-{folder.name}"))
        run.write_told(kept / "told.json")
        write_json(kept / "chaos.json", result)
        say(f"Logs, rows and what clients were told: {kept}")
    return 0 if result.is_good else 1


def _terms(options: argparse.Namespace) -> Terms:
    kinds = all_kinds(deep_reorgs=options.deep_reorgs)
    kinds = choose(kinds, only=options.only, without=options.without)
    if not kinds:
        raise SystemExit("No kind of fault has a name like that.")
    return Terms(
        seed=options.seed if options.seed is not None else secrets.randbelow(_SEED_MAX),
        kinds=kinds,
        faults=options.faults if options.minutes is None else None,
        minutes=options.minutes,
        settle_seconds=options.settle_seconds,
        deep_reorgs=options.deep_reorgs,
    )


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description="Break the desk and prove that it holds.")
    limit = parser.add_mutually_exclusive_group()
    limit.add_argument("--faults", type=int, default=100, help="how many faults (100)")
    limit.add_argument("--minutes", type=float, help="how many minutes of faults, instead of how many")
    parser.add_argument("--seed", type=int, help="what is broken, and in which order; drawn and printed when left out")
    parser.add_argument(
        "--only", metavar="WORD,...", type=_words, default=(), help="only faults named like one of these"
    )
    parser.add_argument(
        "--without", metavar="WORD,...", type=_words, default=(), help="no faults named like one of these"
    )
    parser.add_argument("--deep-reorgs", action="store_true", help="also take back blocks that counted as final")
    parser.add_argument("--settle-seconds", type=float, default=300.0, help="patience after the rain (300)")
    parser.add_argument("--keep", action="store_true", help="keep the folder although all is well")
    parser.add_argument("--folder", type=Path, default=_VAR / "chaos", help="where runs keep their state (var/chaos)")
    parser.add_argument("--output", type=Path, default=_VAR / "chaos.json", help="where to write (var/chaos.json)")
    return parser.parse_args(arguments)


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
