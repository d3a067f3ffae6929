"""Tell what came out: a table for people, a file for programs."""

import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.figures import significant
from chaos.checks import Violation
from chaos.drill import Outcome

RECOVERY_TARGET_SECONDS = 30.0
_COLUMNS = ("fault", "struck", "alone", "recovered p50 s", "max s", f"within {RECOVERY_TARGET_SECONDS:.0f} s")
_TOLD_MAX = 5
"""How many violations of each check are shown; all are counted, and in the file."""


@dataclass
class Result:
    """What a run came to.

    :param rain_seconds: how long payments and faults rained.
    :param payments: how many payments ended in which status; so `deposits` and `sweeps`.
    :param answers: how many requests were answered with which HTTP status; 0 stands for no answer.
    :param ended_by_themselves: what processes ended, and nobody had killed them.
    """

    seed: int
    rain_seconds: float
    settle_seconds: float
    outcomes: Sequence[Outcome]
    accepted: int
    payments: Mapping[str, int]
    deposits: Mapping[str, int]
    sweeps: Mapping[str, int]
    answers: Mapping[int, int]
    violations: Sequence[Violation]
    ended_by_themselves: Sequence[str]
    machine: Mapping[str, str] = field(default_factory=dict)

    @property
    def struck(self) -> int:
        return sum(outcome.has_struck for outcome in self.outcomes)

    @property
    def payments_per_minute(self) -> float:
        return self.accepted / self.rain_seconds * 60 if self.rain_seconds else 0.0

    @property
    def late(self) -> list[Outcome]:
        """Faults after which the desk took longer than it may."""
        return [each for each in self.outcomes if each.has_struck and each.alone and not _is_in_time(each)]

    @property
    def is_good(self) -> bool:
        return not self.violations and not self.late

    def as_json(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "faults": self.struck,
            "violations": [asdict(violation) for violation in self.violations],
            "payments_per_minute": significant(self.payments_per_minute),
            "recovery_target_seconds": RECOVERY_TARGET_SECONDS,
            "late_recoveries": len(self.late),
            "rain_seconds": round(self.rain_seconds, 1),
            "settle_seconds": round(self.settle_seconds, 1),
            "accepted": self.accepted,
            "payments": dict(self.payments),
            "deposits": dict(self.deposits),
            "sweeps": dict(self.sweeps),
            "answers": {str(status): count for status, count in sorted(self.answers.items())},
            "ended_by_themselves": list(self.ended_by_themselves),
            "outcomes": [asdict(outcome) for outcome in self.outcomes],
            "machine": dict(self.machine),
        }


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the faults by kind: how often each struck, and how long the desk took after those that came alone."""
    rows: list[tuple[str, ...]] = [_COLUMNS]
    for name in sorted({outcome.name for outcome in outcomes}):
        rows.append(_row(name, [outcome for outcome in outcomes if outcome.name == name]))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    rows.insert(1, tuple("-" * width for width in widths))
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def summary(result: Result) -> str:
    """Return what a reader wants to know first."""
    late = f", {len(result.late)} recoveries took longer than {RECOVERY_TARGET_SECONDS:.0f} s" if result.late else ""
    lines = [
        f"{result.struck} faults, {len(result.violations)} violations{late} (seed {result.seed})",
        f"{result.payments_per_minute:.0f} payments a minute accepted over {result.rain_seconds:.0f} s of rain; "
        f"all final {result.settle_seconds:.0f} s after it",
        f"deposits: {_counts(result.deposits)}; sweeps: {_counts(result.sweeps)}",
        f"payments: {_counts(result.payments)}; answers by HTTP status: {_counts(result.answers)} (0: none came)",
    ]
    lines += [f"ended, and nobody had killed it: {each}" for each in result.ended_by_themselves]
    for check, count in Counter(violation.check for violation in result.violations).items():
        lines.append(f"VIOLATED {count} times: {check}")
        told = [violation.told for violation in result.violations if violation.check == check]
        lines += [f"  {each}" for each in told[:_TOLD_MAX]]
    return "\n".join(lines)


def write_json(path: Path, result: Result) -> None:
    """Write everything to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result.as_json(), indent=2) + "\n")


def _row(name: str, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    struck = [outcome for outcome in outcomes if outcome.has_struck]
    alone = [outcome for outcome in struck if outcome.alone]
    seconds = [outcome.recovery_seconds for outcome in alone if outcome.recovery_seconds is not None]
    missing = len(alone) - len(seconds)
    return (
        name,
        f"{len(struck)}" if len(struck) == len(outcomes) else f"{len(struck)} of {len(outcomes)}",
        str(len(alone)),
        f"{statistics.median(seconds):.1f}" if seconds else "",
        f"never, {missing} times" if missing else f"{max(seconds):.1f}" if seconds else "",
        "" if not alone else "yes" if all(map(_is_in_time, alone)) else "NO",
    )


def _is_in_time(outcome: Outcome) -> bool:
    return outcome.recovery_seconds is not None and outcome.recovery_seconds <= RECOVERY_TARGET_SECONDS


def _counts(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items())) or "none"
