"""End the processes of a parent that died: run as a script by `txnsite.stack.process`, not imported.

The parent writes a line per process group it starts or has seen end (`+PGID SIGNAL`, `-PGID`) to this script's standard
input. When the input ends, the parent is gone, however it went: what it left running is asked to stop, then killed.
It works wherever processes have groups, and whichever thread started them, unlike Linux's parent-death signal.
"""

import contextlib
import os
import signal
import sys
import time

PATIENCE_SECONDS = 5.0


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    left_running: dict[int, int] = {}
    for line in sys.stdin:
        group, _, stop_signal = line[1:].partition(" ")
        if line.startswith("+"):
            left_running[int(group)] = int(stop_signal)
        else:
            left_running.pop(int(group), None)
    for group, stop_signal in left_running.items():
        _signal(group, stop_signal)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while left_running and time.monotonic() < deadline:
        time.sleep(0.05)
        left_running = {group: number for group, number in left_running.items() if _signal(group, 0)}
    for group in left_running:
        _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> bool:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
        return True
    return False


if __name__ == "__main__":
    main()
