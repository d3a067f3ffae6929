"""One child process in a process group of its own, with a log file, that never outlives this process."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from txnsite.stack.errors import StartError

T = TypeVar("T")


def wait_for(condition: Callable[[], T], *, what: str, timeout_seconds: float, every_seconds: float = 0.02) -> T:
    """Return the first true answer of `condition`.

    :raises TimeoutError: naming `what`, when there was none in time.
    """
    deadline = time.monotonic() + timeout_seconds
    while not (answer := condition()):
        if time.monotonic() >= deadline:
            raise TimeoutError(f"{what}: not within {timeout_seconds:g} s")
        time.sleep(every_seconds)
    return answer


class ChildProcess:
    """A program that can be started, signalled and stopped any number of times.

    :param log_path: the file its output is appended to; None for our own output.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        log_path: Path | None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.argv = list(argv)
        self.env = dict(os.environ if env is None else env)
        self.cwd = cwd
        self.log_path = log_path
        self.stop_signal = stop_signal
        self._popen: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        # The process group while it may have members; 0 afterwards, when its number may become another's.
        self._group = 0

    def start(self) -> None:
        """Start the program.

        :raises StartError: when it runs already or can't be executed.
        """
        if self.is_running:
            raise StartError(f"{self.name} runs already.")
        # Children of an earlier run that was killed.
        self._end_group()
        with contextlib.ExitStack() as closing:
            log = None
            if self.log_path is not None:
                self.log_path.parent.mkdir(parents=True, exist_ok=True)
                # Appended to, so that the file can be shortened while the program runs.
                log = closing.enter_context(self.log_path.open("ab"))
                self._log_start = log.tell()
            try:
                self._popen = subprocess.Popen(
                    self.argv,
                    env=self.env,
                    cwd=self.cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log and subprocess.STDOUT,
                    process_group=0,
                )
            except OSError as error:
                raise StartError(f"{self.name} can't be executed: {error}.") from error
        self._group = self._popen.pid
        _guard.watch(self._group, self.stop_signal)

    @property
    def pid(self) -> int:
        """The process id, which is also the id of its process group.

        :raises StartError: when it was never started.
        """
        if self._popen is None:
            raise StartError(f"{self.name} was not started.")
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """The exit code of the last run, negative for the signal that ended it; None before one and while it runs."""
        return None if self._popen is None else self._popen.poll()

    @property
    def is_running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    def send_signal(self, number: int) -> None:
        """Signal the process itself, not its children; nothing happens when it has ended."""
        if self._popen is not None:
            self._popen.send_signal(number)

    def signal_group(self, number: int) -> None:
        """Signal the process and its children at once; nothing happens when it has ended."""
        if self.is_running:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._group, number)

    def wait(self, timeout_seconds: float) -> int:
        """Return the exit code.

        :raises TimeoutError: when it still runs after that time.
        """
        if self._popen is None:
            raise StartError(f"{self.name} was not started.")
        try:
            return self._popen.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self.name} still runs after {timeout_seconds:g} s") from None

    def ask_to_stop(self) -> None:
        """Send the signal that makes the program stop in good order."""
        self.send_signal(self.stop_signal)

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """Ask the program to stop, and kill what is left of its group when it has, or doesn't in time."""
        self.ask_to_stop()
        with contextlib.suppress(TimeoutError):
            if self._popen is not None:
                self.wait(timeout_seconds)
        self.kill()

    def kill(self) -> None:
        """Kill the program and its whole process group at once (SIGKILL)."""
        self._end_group()
        if self._popen is not None:
            self._popen.wait()

    @property
    def logs(self) -> str:
        """What this run wrote so far."""
        if self.log_path is None:
            return ""
        with contextlib.suppress(OSError), self.log_path.open("rb") as log:
            log.seek(min(self._log_start, log.seek(0, os.SEEK_END)))
            return log.read().decode(errors="replace")
        return ""

    def log_tail(self, lines: int = 20) -> str:
        """Return the last lines that this run wrote."""
        return "\n".join(self.logs.splitlines()[-lines:])

    def wait_ready(self, is_ready: Callable[[], bool], timeout_seconds: float) -> None:
        """Wait until the program answers.

        :raises StartError: with the end of its log, when it exits before or takes too long.
        """

        def ended_or_ready() -> bool:
            self.require_running()
            return is_ready()

        try:
            wait_for(ended_or_ready, what=self.name, timeout_seconds=timeout_seconds)
        except TimeoutError:
            raise self.start_error(f"wasn't ready within {timeout_seconds:g} s") from None

    def require_running(self) -> None:
        """Do nothing while the program runs.

        :raises StartError: with the end of its log, when it doesn't.
        """
        if not self.is_running:
            raise self.start_error(f"ended with {ending_of(self.returncode)}")

    def start_error(self, what: str) -> StartError:
        """Return an error that says what went wrong, with the end of the log."""
        tail = self.log_tail()
        where = f"; the end of {self.log_path}:\n{tail}" if tail else "; it wrote nothing"
        return StartError(f"{self.name} {what}{where}")

    def _end_group(self) -> None:
        if self._group:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._group, signal.SIGKILL)
            _guard.release(self._group)
            self._group = 0


def ending_of(returncode: int | None) -> str:
    """Say in words how a process ended."""
    if returncode is not None and returncode < 0:
        return f"signal {signal.Signals(-returncode).name}"
    return f"exit code {returncode}"


class _Guard:
    """This process's guard script (guard.py), started with the first child."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = 0
        self._pipe = -1

    def watch(self, group: int, stop_signal: int) -> None:
        self._write(f"+{group} {int(stop_signal)}\n")

    def release(self, group: int) -> None:
        self._write(f"-{group}\n")

    def _write(self, line: str) -> None:
        with self._lock:
            # A fork of this process has children of its own to look after.
            if self._owner != os.getpid():
                self._start()
            with contextlib.suppress(BrokenPipeError):
                os.write(self._pipe, line.encode())

    def _start(self) -> None:
        reading, self._pipe = os.pipe()
        script = str(Path(__file__).with_name("guard.py"))
        null = os.open(os.devnull, os.O_WRONLY)
        # Not subprocess.Popen: nothing in this process waits for the guard, which outlives it.
        os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", script],
            {},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, reading, 0),
                (os.POSIX_SPAWN_DUP2, null, 1),
                (os.POSIX_SPAWN_DUP2, null, 2),
            ],
            # A group of its own: a Ctrl-C or a killed group of its parent doesn't reach it.
            setpgroup=0,
        )
        os.close(reading)
        os.close(null)
        self._owner = os.getpid()


_guard = _Guard()
