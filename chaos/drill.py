"""Carry out the plan: break things, put them right, and see how long the desk takes to work again."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from chaos.clients import Probe
from chaos.faults.base import NotNowError
from chaos.plan import Strike, Wave
from chaos.stack import Stack

RECOVERY_SECONDS_MAX = 60.0
"""After so long the drill goes on without a recovery."""
_STEP_SECONDS = 0.02


@dataclass
class Outcome:
    """What became of one fault; times are seconds of the epoch.

    :param has_struck: whether anything was broken: a fault point may not have been reached.
    :param alone: whether it came alone, to a desk that had recovered from whatever was before.
    :param recovery_seconds: from its end until a payment ordered then, and all before it, were in blocks; None when it
        took too long.
    """

    name: str
    told: str
    wave: int
    began_at: float
    ended_at: float = 0.0
    has_struck: bool = False
    alone: bool = False
    recovery_seconds: float | None = None
    note: str = ""


@dataclass
class _Running:
    strike: Strike
    outcome: Outcome
    since: float


@dataclass
class Drill:
    """Wave after wave, in a thread of its own, until enough faults have struck.

    :param faults_max: how many are enough; None for no limit.
    """

    stack: Stack
    plan: Iterator[Wave]
    probe: Probe
    say: Callable[[str], None]
    faults_max: int | None = None
    outcomes: list[Outcome] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.error: BaseException | None = None
        self._over = threading.Event()
        self._recovered = True
        self._thread = threading.Thread(target=self._run, name="drill", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Break nothing more, put right what is broken, and return when that is done."""
        self._over.set()
        self.probe.give_up()
        self._thread.join()

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            for wave in self.plan:
                if self._is_enough() or self._over.wait(wave.gap_seconds):
                    break
                self._carry_out(wave)
        except BaseException as error:
            # Of the harness itself: it has nothing to say about the desk then.
            self.error = error

    def _is_enough(self) -> bool:
        return self.faults_max is not None and sum(each.has_struck for each in self.outcomes) >= self.faults_max

    def _carry_out(self, wave: Wave) -> None:
        begun = time.monotonic()
        waiting, running = list(wave.strikes), list[_Running]()
        outcomes: list[Outcome] = []
        try:
            while (waiting or running) and not self._over.is_set():
                now = time.monotonic()
                for strike in [strike for strike in waiting if now - begun >= strike.after_seconds]:
                    waiting.remove(strike)
                    running += self._begin(strike, wave, outcomes)
                for each in [each for each in running if each.strike.fault.is_over(self.stack, now - each.since)]:
                    running.remove(each)
                    self._end(each)
                time.sleep(_STEP_SECONDS)
        finally:
            for each in running:
                self._end(each)
        if not self._over.is_set():
            self._see_recovery(wave, outcomes)

    def _begin(self, strike: Strike, wave: Wave, outcomes: list[Outcome]) -> list[_Running]:
        fault = strike.fault
        outcome = Outcome(fault.name, str(fault), wave.number, began_at=time.time())
        outcomes.append(outcome)
        self.outcomes.append(outcome)
        try:
            fault.inject(self.stack)
        except NotNowError as error:
            outcome.note = str(error)
            return []
        return [_Running(strike, outcome, time.monotonic())]

    def _end(self, running: _Running) -> None:
        fault, outcome = running.strike.fault, running.outcome
        fault.heal(self.stack)
        # Asked last: until it is put right, it can still strike.
        outcome.has_struck = fault.has_struck(self.stack)
        outcome.ended_at = time.time()

    def _see_recovery(self, wave: Wave, outcomes: list[Outcome]) -> None:
        """Wait until a payment goes through, and note how long that took."""
        struck = [outcome for outcome in outcomes if outcome.has_struck]
        since = time.monotonic()
        seconds = self.probe.recover(self.stack, since, RECOVERY_SECONDS_MAX)
        for outcome in struck:
            outcome.alone = wave.is_single and self._recovered
            outcome.recovery_seconds = seconds
        self._recovered = seconds is not None
        told = " + ".join(outcome.told + (f" [{outcome.note}]" if outcome.note else "") for outcome in outcomes)
        after = f"recovered in {seconds:.1f} s" if seconds is not None else "NOT RECOVERED in time"
        self.say(f"{time.strftime('%H:%M:%S')} {wave.number:>4}  {told}: {after if struck else 'nothing struck'}")
