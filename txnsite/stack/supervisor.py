"""Start units in order, start again what dies, stop all in reverse order on Ctrl-C or SIGTERM."""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType, TracebackType

from txnsite.stack.errors import StackError
from txnsite.stack.process import ChildProcess, ending_of
from txnsite.stack.server import Unit

_POLL_SECONDS = 0.05
# After so long a run an exit counts as the first again.
_HEALTHY_SECONDS = 60.0


class StopRequested(Exception):  # noqa: N818
    """Somebody pressed Ctrl-C, or sent SIGTERM or SIGHUP."""


@dataclass
class _Kept:
    """A unit that is kept running."""

    unit: Unit
    started_at: float
    exits: int = 0
    start_again_at: float | None = None


class Supervisor:
    """Keep units running. Use it as a context manager, in the main thread: leaving the block stops everything.

    :param say: told, in a sentence, of everything a person should know.
    :param pause_seconds_max: the longest pause before something that ends again and again is started again.
    """

    def __init__(self, say: Callable[[str], None], *, pause_seconds_max: float = 15.0) -> None:
        self._say = say
        self._pause_seconds_max = pause_seconds_max
        self._tiers: list[list[_Kept]] = []
        self._signals = 0
        self._handlers: dict[int, object] = {}

    def __enter__(self) -> "Supervisor":
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._handlers[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop_all()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def start(self, *units: Unit) -> None:
        """Start units side by side and wait until all are ready; from then on they are kept running.

        :raises StartError: when one doesn't become ready.
        :raises StopRequested: when we are told to stop meanwhile.
        """
        tier: list[_Kept] = []
        self._tiers.append(tier)
        for unit in units:
            self._check_stop()
            tier.append(_Kept(unit, time.monotonic()))
            unit.launch()
        for unit in units:
            deadline = time.monotonic() + unit.ready_timeout_seconds
            while True:
                self._check_stop()
                unit.process.require_running()
                if unit.is_ready():
                    break
                if time.monotonic() > deadline:
                    raise unit.process.start_error(f"wasn't ready within {unit.ready_timeout_seconds:g} s")
                time.sleep(_POLL_SECONDS)

    def finish(self, *processes: ChildProcess) -> list[int]:
        """Run processes side by side to their ends and return their exit codes.

        :raises StopRequested: when we are told to stop meanwhile; they are killed then.
        """
        try:
            for process in processes:
                process.start()
            self.watch(until=lambda: not any(process.is_running for process in processes))
        finally:
            for process in processes:
                process.kill()
        return [process.returncode or 0 for process in processes]

    def watch(self, *, until: Callable[[], bool] = lambda: False, chore: Callable[[], None] = lambda: None) -> None:
        """Keep everything running until a condition holds.

        :param chore: called each few seconds.
        :raises StopRequested: when we are told to stop.
        """
        chore_at = time.monotonic() + 5
        while not until():
            self._check_stop()
            for tier in self._tiers:
                for kept in tier:
                    self._revive(kept)
            if time.monotonic() >= chore_at:
                chore()
                chore_at = time.monotonic() + 5
            time.sleep(_POLL_SECONDS)

    def _revive(self, kept: _Kept) -> None:
        now = time.monotonic()
        if kept.unit.held_down:
            return
        if kept.unit.is_running:
            if kept.exits and now - kept.started_at > _HEALTHY_SECONDS:
                kept.exits = 0
            return
        if kept.start_again_at is None:
            delay = min(0.5 * 2**kept.exits, self._pause_seconds_max) if kept.exits else 0.0
            kept.exits += 1
            kept.start_again_at = now + delay
            when = f"in {delay:g} s" if delay else "now"
            process = kept.unit.process
            self._say(
                f"{kept.unit.name} ended ({ending_of(process.returncode)}), starts again {when}: {process.log_path}"
            )
        if now >= kept.start_again_at:
            kept.start_again_at = None
            kept.started_at = now
            try:
                kept.unit.launch()
            except StackError as error:
                self._say(f"{kept.unit.name} can't be started: {error}")

    def _stop_all(self) -> None:
        """Stop tier by tier; a second signal kills what is left."""
        heard = self._signals
        for tier in reversed(self._tiers):
            for kept in tier:
                kept.unit.process.ask_to_stop()
            deadline = time.monotonic() + Unit.stop_timeout_seconds
            while any(kept.unit.is_running for kept in tier) and time.monotonic() < deadline:
                if self._signals > max(heard, 1):
                    break
                time.sleep(_POLL_SECONDS)
            for kept in tier:
                if kept.unit.is_running:
                    self._say(f"{kept.unit.name} didn't stop in time and was killed.")
                kept.unit.kill()
        self._tiers.clear()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1

    def _check_stop(self) -> None:
        if self._signals:
            raise StopRequested
