"""Who used the processors while something was measured: what bounds a figure shows here first."""

import time

from bench.desk import Desk


class ProcessorWatch:
    """Processor time of each part of the desk since this was made."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._start = time.perf_counter()
        self._before = desk.cpu_seconds()

    def note(self) -> str:
        """Return the shares so far, in cores, largest first."""
        elapsed = time.perf_counter() - self._start
        now = self._desk.cpu_seconds()
        shares = {name: (seconds - self._before.get(name, 0.0)) / elapsed for name, seconds in now.items()}
        busy = sorted(((share, name) for name, share in shares.items() if share >= 0.01), reverse=True)
        return "cores used: " + ", ".join(f"{name} {share:.2f}" for share, name in busy)
