"""Who used the processors while something was measured: what bounds a figure shows here first."""

import time

import psutil

from bench.desk import Desk


class ProcessorWatch:
    """Processor time of each part of the desk, and of whatever else runs on the machine, since this was made."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._start = time.perf_counter()
        self._before = desk.cpu_seconds()
        self._machine_before = _machine_seconds()

    def note(self) -> str:
        """Return the shares so far, in cores, largest first; a figure taken beside other work is too low."""
        elapsed = time.perf_counter() - self._start
        used = {name: seconds - self._before.get(name, 0.0) for name, seconds in self._desk.cpu_seconds().items()}
        others = _machine_seconds() - self._machine_before - sum(used.values())
        shares = sorted(((seconds / elapsed, name) for name, seconds in used.items()), reverse=True)
        told = ", ".join(f"{name} {share:.2f}" for share, name in shares if share >= 0.01)
        return f"cores used: {told}; not by the desk: {max(0.0, others / elapsed):.2f}"


def _machine_seconds() -> float:
    """Return the processor time that the whole machine has used."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - getattr(times, "iowait", 0.0)
