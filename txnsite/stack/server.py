"""What everything that runs here has in common: start and wait until ready, stop, kill, restart."""

from abc import ABC, abstractmethod

from txnsite.stack.process import ChildProcess


class Unit(ABC):
    """One program and how to tell that it works."""

    name: str
    process: ChildProcess
    ready_timeout_seconds = 60.0
    stop_timeout_seconds = 10.0
    held_down = False
    """Somebody has stopped it on purpose and will start it again: no supervisor does."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Tell whether it answers now; never raises."""

    def prepare(self) -> None:  # noqa: B027
        """Do what must be done before the program can start; safe to repeat. Most have nothing to do."""

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def is_running(self) -> bool:
        return self.process.is_running

    @property
    def logs(self) -> str:
        """What it wrote since it was last started."""
        return self.process.logs

    def launch(self) -> None:
        """Start the program without waiting until it is ready.

        :raises StartError: when it runs already or can't be executed.
        """
        self.prepare()
        self.process.start()

    def start(self) -> None:
        """Start the program and wait until it answers.

        :raises StartError: when it doesn't.
        """
        self.launch()
        self.process.wait_ready(self.is_ready, self.ready_timeout_seconds)

    def stop(self) -> None:
        """Stop it in good order, or kill it when that takes too long."""
        self.process.stop(self.stop_timeout_seconds)

    def kill(self) -> None:
        """End it and its children without any notice (SIGKILL), as a crash would."""
        self.process.kill()

    def restart(self) -> None:
        """Stop it in good order and start it again, at the same address."""
        self.stop()
        self.start()


class Server(Unit):
    """A program with an address, which stays the same over restarts."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients find it."""
