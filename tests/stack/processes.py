"""Small programs to start, and a look at which of them are left."""

import sys
from collections.abc import Sequence
from pathlib import Path

import psutil

from txnsite.stack.process import ChildProcess
from txnsite.stack.server import Unit

SLEEP = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEP
# A program with a child of its own, which says that child's process id.
PARENT = f"""
import subprocess, sys
own = subprocess.Popen([sys.executable, "-c", {SLEEP!r}], stdout=subprocess.DEVNULL)
print(own.pid, flush=True)
own.wait()
"""


def child(folder: Path, code: str, name: str = "child") -> ChildProcess:
    return ChildProcess(name, [sys.executable, "-c", code], log_path=folder / f"{name}.log")


class Program(Unit):
    """A unit that is ready once it says so."""

    def __init__(self, folder: Path, name: str, code: str = SLEEP) -> None:
        self.name = name
        self.process = child(folder, code, name)

    def is_ready(self) -> bool:
        return "up" in self.logs


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that ended and wasn't waited for doesn't."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def processes_of(var: Path) -> Sequence[psutil.Process]:
    """Return all processes that belong to the stack in this state folder."""
    found = []
    for process in psutil.process_iter():
        try:
            ours = process.environ().get("TXNSITE_VAR") == str(var) or str(var) in " ".join(process.cmdline())
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found
