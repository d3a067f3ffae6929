"""What all faults have in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from random import Random

from chaos.stack import Stack


class NotNowError(Exception):
    """What was asked of the stack can't be done at this moment; nothing was broken."""


class Fault(ABC):
    """One thing that goes wrong and is put right again.

    What it does is chosen when it is made, by the random numbers it is given and nothing else, so that the same seed
    does the same again.
    """

    name: str
    """Its kind, as the table shows it."""

    part: str
    """What it breaks: two faults of one part are never under way at once."""

    seconds = 0.0
    """How long it lasts; 0 for what is over at once."""

    detail = ""
    """What else was chosen, for whoever reads along."""

    def __init__(self, rng: Random) -> None:  # noqa: B027
        """Choose what to do."""

    @abstractmethod
    def inject(self, stack: Stack) -> None:
        """Break it.

        :raises NotNowError: when it can't be broken now.
        """

    def heal(self, stack: Stack) -> None:  # noqa: B027
        """Put it right; called once, however the time until then went. Most that are over at once need nothing."""

    def is_over(self, stack: Stack, elapsed_seconds: float) -> bool:
        """Say whether it is time to heal."""
        return elapsed_seconds >= self.seconds

    def has_struck(self, stack: Stack) -> bool:
        """Say, when it is over, whether anything was broken at all."""
        return True

    def __str__(self) -> str:
        seconds = f"{self.seconds:.1f} s" if self.seconds else ""
        told = ", ".join(part for part in (self.detail, seconds) if part)
        return f"{self.name} ({told})" if told else self.name


MakeFault = Callable[[Random], Fault]
