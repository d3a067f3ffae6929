"""What a measurement comes to: a figure beside its target."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of repeated measurements, with the smallest and the largest."""

    median: float
    low: float
    high: float
    repeats: int


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value. `p50` and `p99` are milliseconds of a single request or payment."""

    row: str
    name: str
    value: float
    unit: str
    target: float
    at_most: bool = False
    p50: float | None = None
    p99: float | None = None
    spread: Spread | None = None
    notes: Sequence[str] = field(default=())

    @property
    def met(self) -> bool:
        return self.value <= self.target if self.at_most else self.value >= self.target

    def as_json(self) -> dict[str, Any]:
        """Return what is written to the file."""
        told: dict[str, Any] = {
            "name": self.name,
            "value": significant(self.value),
            "unit": self.unit,
            "target": self.target,
            "met": self.met,
            "row": self.row,
            "target_is": "at most" if self.at_most else "at least",
        }
        if self.p50 is not None and self.p99 is not None:
            told |= {"p50": significant(self.p50), "p99": significant(self.p99), "percentiles_unit": "ms"}
        if self.spread is not None:
            told |= {
                "repeats": self.spread.repeats,
                "lowest": significant(self.spread.low),
                "highest": significant(self.spread.high),
            }
        return told | {"notes": list(self.notes)}


def spread_of(values: Sequence[float]) -> Spread:
    """Return the median of the repeats and how far they lie apart."""
    return Spread(statistics.median(values), min(values), max(values), len(values))


def at_median(values: Sequence[float], told: Sequence[str]) -> str:
    """Return what was told of the repeat whose value is the median (the upper one of two)."""
    return told[sorted(range(len(values)), key=lambda index: values[index])[len(values) // 2]]


def percentile(values: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile: the smallest value that at least `share` (0 to 1) of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def percentiles_in_ms(seconds: Sequence[float]) -> tuple[float, float]:
    """Return p50 and p99 of times given in seconds, in milliseconds."""
    return percentile(seconds, 0.50) * 1_000, percentile(seconds, 0.99) * 1_000


def significant(value: float, digits: int = 4) -> float:
    """Return the value rounded to so many significant digits."""
    return value if value == 0 else round(value, digits - 1 - math.floor(math.log10(abs(value))))
