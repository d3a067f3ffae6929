"""Our own processes die, or stand still."""

import signal
from random import Random

import psutil

from chaos.faults.base import Fault, NotNowError
from chaos.stack import Stack
from txnsite.faults import arm, disarm, has_fired
from txnsite.stack.server import Unit


class _WorkerFault(Fault):
    """Something happens to one of the workers."""

    part = "workers"

    def __init__(self, rng: Random) -> None:
        self._share = rng.random()
        self._number = rng.randrange(2)
        self.detail = f"worker-{self._number + 1}"

    def _unit(self, stack: Stack) -> Unit:
        return stack.workers[self._number]


class WorkerKilled(_WorkerFault):
    """A whole worker dies at once: the parent and its children (SIGKILL), as when its container is killed."""

    name = "worker killed"

    def inject(self, stack: Stack) -> None:
        _require_running(self._unit(stack)).process.signal_group(signal.SIGKILL)


class WorkerParentKilled(_WorkerFault):
    """The parent alone dies (SIGKILL); its children come to their own ends, a task's included."""

    name = "worker's parent killed"

    def inject(self, stack: Stack) -> None:
        _require_running(self._unit(stack)).process.send_signal(signal.SIGKILL)


class WorkerChildKilled(_WorkerFault):
    """One prefork child dies (SIGKILL), as by the kernel's out-of-memory killer."""

    name = "worker's child killed"

    def inject(self, stack: Stack) -> None:
        _kill_child(self._unit(stack), self._share)


class WorkerFrozen(_WorkerFault):
    """A worker stands still (SIGSTOP) with whatever locks it holds, and goes on later as if nothing had been."""

    name = "worker frozen"

    def __init__(self, rng: Random) -> None:
        super().__init__(rng)
        self.seconds = rng.uniform(1, 8)

    def inject(self, stack: Stack) -> None:
        _require_running(self._unit(stack)).process.signal_group(signal.SIGSTOP)

    def heal(self, stack: Stack) -> None:
        self._unit(stack).process.signal_group(signal.SIGCONT)


class AllWorkersKilled(Fault):
    """Every worker dies at once (SIGKILL)."""

    name = "all workers killed"
    part = "workers"

    def inject(self, stack: Stack) -> None:
        for worker in stack.workers:
            worker.process.signal_group(signal.SIGKILL)


class AllProgramsKilled(Fault):
    """All of our own processes die at once (SIGKILL), as when their machine loses its power."""

    name = "everything of ours killed"
    part = "workers"

    def inject(self, stack: Stack) -> None:
        for unit in stack.programs:
            unit.process.signal_group(signal.SIGKILL)


class BeatKilled(Fault):
    """The scheduler dies (SIGKILL): the one that leads, or the one that stands by."""

    name = "beat killed"
    part = "beats"

    def __init__(self, rng: Random) -> None:
        self._number = rng.randrange(2)
        self.detail = f"beat-{self._number + 1}"

    def inject(self, stack: Stack) -> None:
        _require_running(stack.beats[self._number]).process.send_signal(signal.SIGKILL)


class BeatFrozen(BeatKilled):
    """A scheduler stands still (SIGSTOP), and with it, if it leads, the clock of the desk."""

    name = "beat frozen"

    def __init__(self, rng: Random) -> None:
        super().__init__(rng)
        self.seconds = rng.uniform(1, 8)

    def inject(self, stack: Stack) -> None:
        _require_running(stack.beats[self._number]).process.send_signal(signal.SIGSTOP)

    def heal(self, stack: Stack) -> None:
        stack.beats[self._number].process.send_signal(signal.SIGCONT)


class WebKilled(Fault):
    """The whole web server dies at once (SIGKILL)."""

    name = "web server killed"
    part = "web"

    def inject(self, stack: Stack) -> None:
        _require_running(stack.web).process.signal_group(signal.SIGKILL)


class WebProcessKilled(Fault):
    """One of the web server's processes dies (SIGKILL) with the requests it is answering."""

    name = "web process killed"
    part = "web"

    def __init__(self, rng: Random) -> None:
        self._share = rng.random()

    def inject(self, stack: Stack) -> None:
        _kill_child(stack.web, self._share)


class KilledAtPoint(Fault):
    """The next process that comes to a fault point kills itself there (SIGKILL)."""

    part = "fault points"
    seconds = 12.0
    """After so long without anybody coming by, it is given up."""

    def __init__(self, point: str, rng: Random) -> None:
        self.point = point
        self.name = f"killed at {point}"

    def inject(self, stack: Stack) -> None:
        arm(stack.fault_dir, self.point, "kill")

    def is_over(self, stack: Stack, elapsed_seconds: float) -> bool:
        return has_fired(stack.fault_dir, self.point) or super().is_over(stack, elapsed_seconds)

    def heal(self, stack: Stack) -> None:
        disarm(stack.fault_dir, self.point)

    def has_struck(self, stack: Stack) -> bool:
        return has_fired(stack.fault_dir, self.point)

    def __str__(self) -> str:
        return self.name


def _require_running(unit: Unit) -> Unit:
    if not unit.is_running:
        raise NotNowError(f"{unit.name} is down")
    return unit


def _kill_child(unit: Unit, share: float) -> None:
    """Kill the child that lies at this share (0 to 1) of those that there are."""
    try:
        children = [child for child in psutil.Process(unit.pid).children() if _does_work(child)]
        if children:
            children[int(share * len(children))].kill()
            return
    except psutil.NoSuchProcess:
        pass
    raise NotNowError(f"{unit.name} has no children")


def _does_work(process: psutil.Process) -> bool:
    return "resource_tracker" not in " ".join(process.cmdline())
