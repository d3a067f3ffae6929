import os
import signal
import time
from pathlib import Path

import pytest

from tests.stack.processes import SLEEP, STUBBORN, Program, is_alive
from txnsite.stack.errors import StartError
from txnsite.stack.process import wait_for
from txnsite.stack.supervisor import StopRequested, Supervisor


def test_all_start_and_all_are_stopped_in_reverse(tmp_path: Path) -> None:
    said: list[str] = []
    servers = [Program(tmp_path, "server")]
    apps = [Program(tmp_path, "app1"), Program(tmp_path, "app2")]
    with Supervisor(said.append) as supervisor:
        supervisor.start(*servers)
        supervisor.start(*apps)
        pids = [unit.pid for unit in servers + apps]
        assert all(is_alive(pid) for pid in pids)
    assert not any(is_alive(pid) for pid in pids)
    assert [unit.process.returncode for unit in servers + apps] == [-signal.SIGTERM] * 3
    assert said == []


def test_what_dies_is_started_again_and_told(tmp_path: Path) -> None:
    said: list[str] = []
    unit = Program(tmp_path, "worker")
    with Supervisor(said.append) as supervisor:
        supervisor.start(unit)
        first = unit.pid
        os.kill(first, signal.SIGKILL)
        supervisor.watch(until=lambda: unit.is_running and unit.pid != first)
    assert said == [f"worker ended (signal SIGKILL), starts again now: {tmp_path / 'worker.log'}"]


def test_what_dies_again_and_again_is_started_less_and_less_often(tmp_path: Path) -> None:
    said: list[str] = []
    unit = Program(tmp_path, "worker", "print('up', flush=True)")
    begun = time.monotonic()
    with Supervisor(said.append) as supervisor:
        unit.process.argv[-1] = SLEEP
        supervisor.start(unit)
        unit.process.argv[-1] = "raise SystemExit(1)"
        unit.process.kill()
        supervisor.watch(until=lambda: len(said) == 4)
    assert [line.partition("starts again ")[2].partition(":")[0] for line in said] == [
        "now",
        "in 1 s",
        "in 2 s",
        "in 4 s",
    ]
    assert time.monotonic() - begun >= 3


def test_the_longest_pause_can_be_chosen(tmp_path: Path) -> None:
    said: list[str] = []
    unit = Program(tmp_path, "worker", "print('up', flush=True)")
    with Supervisor(said.append, pause_seconds_max=0.1) as supervisor:
        unit.process.argv[-1] = SLEEP
        supervisor.start(unit)
        unit.process.argv[-1] = "raise SystemExit(1)"
        unit.process.kill()
        supervisor.watch(until=lambda: len(said) == 3)
    assert [line.partition("starts again ")[2].partition(":")[0] for line in said] == ["now", "in 0.1 s", "in 0.1 s"]


def test_what_is_held_down_stays_down_until_it_is_let_go(tmp_path: Path) -> None:
    said: list[str] = []
    held, other = Program(tmp_path, "held"), Program(tmp_path, "other")
    with Supervisor(said.append) as supervisor:
        supervisor.start(held, other)
        pid = other.pid
        held.held_down = True
        os.kill(held.pid, signal.SIGKILL)
        os.kill(other.pid, signal.SIGKILL)
        supervisor.watch(until=lambda: other.is_running and other.pid != pid)
        assert not held.is_running
        assert [line.partition(" ")[0] for line in said] == ["other"]
        held.held_down = False
        supervisor.watch(until=lambda: held.is_running)
    assert said[-1].startswith("held ended (signal SIGKILL), starts again now")


def start_all(*units: Program) -> None:
    with Supervisor(print) as supervisor:
        for unit in units:
            supervisor.start(unit)


def keep_and_signal(unit: Program, number: int, said: list[str]) -> None:
    """Start a unit, send ourselves a signal, and watch."""
    with Supervisor(said.append) as supervisor:
        supervisor.start(unit)
        os.kill(os.getpid(), number)
        supervisor.watch()


def test_a_failed_start_stops_what_ran_already(tmp_path: Path) -> None:
    server, broken = Program(tmp_path, "server"), Program(tmp_path, "broken", "raise SystemExit('no licence')")
    with pytest.raises(StartError, match=r"(?s)broken ended with exit code 1.*no licence"):
        start_all(server, broken)
    assert server.process.returncode == -signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_everything(tmp_path: Path, number: signal.Signals) -> None:
    unit = Program(tmp_path, "server")
    handler = signal.getsignal(number)
    with pytest.raises(StopRequested):
        keep_and_signal(unit, number, [])
    assert not is_alive(unit.pid)
    assert signal.getsignal(number) is handler


def test_a_signal_is_heard_while_something_starts(tmp_path: Path) -> None:
    unit = Program(tmp_path, "slow", "import os, signal, time; os.kill(os.getppid(), signal.SIGINT); time.sleep(600)")
    with pytest.raises(StopRequested):
        start_all(unit)
    assert not is_alive(unit.pid)


IMPATIENT = """
import os, signal, time
# The polite request is answered with what a person does who doesn't want to wait.
signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getppid(), signal.SIGINT))
print("up", flush=True)
while True:
    time.sleep(600)
"""


def test_a_second_signal_kills(tmp_path: Path) -> None:
    """Nobody has to wait the seconds that a stubborn process is given."""
    unit, said = Program(tmp_path, "stubborn", IMPATIENT), list[str]()
    begun = time.monotonic()
    with pytest.raises(StopRequested):
        keep_and_signal(unit, signal.SIGINT, said)
    assert time.monotonic() - begun < 6
    assert said == ["stubborn didn't stop in time and was killed."]
    assert unit.process.returncode == -signal.SIGKILL


MEET = """
import pathlib, sys, time
pathlib.Path("{0}").touch()
while not pathlib.Path("{1}").exists():
    time.sleep(0.01)
sys.exit({2})
"""


def test_commands_run_side_by_side_to_their_ends(tmp_path: Path) -> None:
    first = Program(tmp_path, "first", MEET.format(tmp_path / "a", tmp_path / "b", 0)).process
    second = Program(tmp_path, "second", MEET.format(tmp_path / "b", tmp_path / "a", 5)).process
    with Supervisor(print) as supervisor:
        assert supervisor.finish(first, second) == [0, 5]


def test_a_command_is_killed_when_we_are_told_to_stop(tmp_path: Path) -> None:
    command = Program(
        tmp_path, "command", "import os, signal, time; os.kill(os.getppid(), signal.SIGTERM); " + STUBBORN
    )
    with pytest.raises(StopRequested), Supervisor(print) as supervisor:
        supervisor.finish(command.process)
    wait_for(lambda: not is_alive(command.pid), what="its end", timeout_seconds=5)
