"""What will go wrong when: drawn from the seed alone, so that a seed says it all."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from random import Random

from chaos.faults.base import Fault, MakeFault

GAP_SECONDS_MAX = 1.5
SPREAD_SECONDS_MAX = 3.0
# How many faults come in one wave, and how often.
_SIZES, _WEIGHTS = (1, 2, 3), (60, 28, 12)


@dataclass(frozen=True)
class Strike:
    """A fault, and when it comes after the beginning of its wave."""

    fault: Fault
    after_seconds: float


@dataclass(frozen=True)
class Wave:
    """Faults that come together, or one alone. The next wave waits until the desk has recovered."""

    number: int
    gap_seconds: float
    strikes: Sequence[Strike]

    @property
    def is_single(self) -> bool:
        return len(self.strikes) == 1


def waves(seed: int, kinds: Sequence[MakeFault]) -> Iterator[Wave]:
    """Yield waves without end. Each kind comes once in every round, or as often as it is among the kinds."""
    rng = Random(seed)
    deck = _Deck(kinds, rng)
    for number in count(1):
        (size,) = rng.choices(_SIZES, _WEIGHTS)
        faults = deck.draw(size)
        after = [0.0, *(rng.uniform(0, SPREAD_SECONDS_MAX) for _ in faults[1:])]
        strikes = [Strike(fault, seconds) for fault, seconds in zip(faults, after, strict=True)]
        yield Wave(number, rng.uniform(0, GAP_SECONDS_MAX), strikes)


class _Deck:
    """All kinds in a drawn order, again and again, as cards are dealt."""

    def __init__(self, kinds: Sequence[MakeFault], rng: Random) -> None:
        self._kinds = kinds
        self._rng = rng
        self._cards: list[MakeFault] = []

    def draw(self, size: int) -> list[Fault]:
        """Return up to so many faults, no two of the same part, at least one."""
        faults: list[Fault] = []
        put_back: list[MakeFault] = []
        # Parts are few: after some cards that don't fit, the wave is smaller.
        while len(faults) < size and len(put_back) < 5:
            kind = self._next()
            fault = kind(self._rng)
            if any(other.part == fault.part for other in faults):
                put_back.append(kind)
            else:
                faults.append(fault)
        self._cards += reversed(put_back)
        return faults

    def _next(self) -> MakeFault:
        if not self._cards:
            self._cards = list(self._kinds)
            self._rng.shuffle(self._cards)
        return self._cards.pop()
