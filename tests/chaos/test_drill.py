"""The drill breaks and heals as planned, whatever happens, and tells what came of it."""

import threading
from collections.abc import Iterable, Iterator
from random import Random
from types import SimpleNamespace
from typing import cast

import pytest

from chaos.clients import Probe
from chaos.drill import Drill, Outcome
from chaos.faults.base import Fault, NotNowError
from chaos.plan import Strike, Wave
from chaos.stack import Stack
from txnsite.stack.process import wait_for

STACK = cast(Stack, SimpleNamespace())


class Noted(Fault):
    """Notes what is done with it."""

    part = "nothing"

    def __init__(self, name: str, events: list[str], *, seconds: float = 0.0) -> None:
        super().__init__(Random(0))
        self.name, self.events, self.seconds = name, events, seconds

    def inject(self, stack: Stack) -> None:
        self.events.append(f"{self.name} begins")

    def heal(self, stack: Stack) -> None:
        self.events.append(f"{self.name} ends")


class NotNow(Noted):
    """Can't be injected."""

    def inject(self, stack: Stack) -> None:
        raise NotNowError("no")


class Missed(Noted):
    """Waits for something that doesn't happen."""

    def has_struck(self, stack: Stack) -> bool:
        return False


class Broken(Noted):
    """The harness can't do it."""

    def inject(self, stack: Stack) -> None:
        raise OSError("the harness's own trouble")


class FakeProbe:
    """Recovers after as many seconds as it is told to."""

    def __init__(self, *seconds: float | None) -> None:
        self.seconds = list(seconds)
        self.gave_up = threading.Event()

    def recover(self, _stack: Stack, _since: float, _seconds_max: float) -> float | None:
        return self.seconds.pop(0) if self.seconds else 0.5

    def give_up(self) -> None:
        self.gave_up.set()


def wave(number: int, *faults: Fault, after_seconds: Iterable[float] = (0.0, 0.05, 0.1)) -> Wave:
    return Wave(number, 0.0, [Strike(fault, after) for fault, after in zip(faults, after_seconds, strict=False)])


def carry_out(plan: Iterable[Wave], probe: FakeProbe | None = None, faults_max: int | None = None) -> Drill:
    said: list[str] = []
    drill = Drill(STACK, iter(plan), cast(Probe, probe or FakeProbe()), said.append, faults_max)
    drill.start()
    wait_for(lambda: not drill.is_running, what="the drill's end", timeout_seconds=10)
    return drill


def told(outcome: Outcome) -> tuple[str, bool, bool, float | None]:
    return outcome.name, outcome.has_struck, outcome.alone, outcome.recovery_seconds


@pytest.fixture
def events() -> list[str]:
    return []


def test_faults_that_overlap_begin_in_their_order_and_each_ends_after_its_time(events: list[str]) -> None:
    drill = carry_out([wave(1, Noted("long", events, seconds=0.3), Noted("short", events, seconds=0.05))])
    assert events == ["long begins", "short begins", "short ends", "long ends"]
    assert [told(outcome) for outcome in drill.outcomes] == [
        ("long", True, False, 0.5),
        ("short", True, False, 0.5),
    ]
    long = drill.outcomes[0]
    assert 0.3 <= long.ended_at - long.began_at < 2


def test_a_recovery_counts_for_a_fault_alone_on_a_desk_that_had_recovered(events: list[str]) -> None:
    plan = [wave(number, Noted(f"fault {number}", events)) for number in (1, 2, 3, 4)]
    drill = carry_out(plan, FakeProbe(2.0, None, 40.0, 3.0))
    assert [told(outcome) for outcome in drill.outcomes] == [
        ("fault 1", True, True, 2.0),
        ("fault 2", True, True, None),
        ("fault 3", True, False, 40.0),
        ("fault 4", True, True, 3.0),
    ]


def test_what_can_not_be_done_now_is_no_fault(events: list[str]) -> None:
    drill = carry_out([wave(1, NotNow("never", events)), wave(2, Missed("missed", events))])
    assert [told(outcome)[:2] for outcome in drill.outcomes] == [("never", False), ("missed", False)]
    assert drill.outcomes[0].note == "no"
    assert events == ["missed begins", "missed ends"]


def test_enough_are_enough_when_they_have_struck(events: list[str]) -> None:
    def plan() -> Iterator[Wave]:
        yield wave(1, Missed("missed", events))
        for number in range(2, 100):
            yield wave(number, Noted("fault", events))

    drill = carry_out(plan(), faults_max=3)
    assert [outcome.has_struck for outcome in drill.outcomes] == [False, True, True, True]


def test_who_is_stopped_heals_what_is_broken_first(events: list[str]) -> None:
    probe = FakeProbe()
    drill = Drill(STACK, iter([wave(1, Noted("long", events, seconds=600))]), cast(Probe, probe), events.append)
    drill.start()
    wait_for(lambda: events == ["long begins"], what="the fault", timeout_seconds=5)
    drill.stop()
    assert events == ["long begins", "long ends"]
    assert probe.gave_up.is_set()


def test_the_harness_own_trouble_is_told_and_everything_healed(events: list[str]) -> None:
    drill = carry_out([wave(1, Noted("long", events, seconds=600), Broken("broken", events))])
    assert isinstance(drill.error, OSError)
    assert events == ["long begins", "long ends"]
