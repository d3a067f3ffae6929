"""`make run` as a person runs it: a process at a terminal, which is watched, hurt, stopped and started again."""

import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import psutil
import pytest

from tests.processes import make_folder
from tests.stack.processes import processes_of
from txnsite.env import read_env_file
from txnsite.stack.layout import REPOSITORY
from txnsite.stack.ports import LOOPBACK, free_port
from txnsite.stack.process import ChildProcess, wait_for

PATIENCE_SECONDS = 120


class Terminal(ChildProcess):
    """`python -m txnsite.stack COMMAND` in a state folder of its own."""

    def __init__(self, var: Path, port: int, command: str = "run") -> None:
        self.var = var
        self.port = port
        # A fresh shell: none of the servers that these tests run on.
        env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        env |= {"TXNSITE_VAR": str(var), "PORT": str(port), "CONFIRMATIONS": "2"}
        argv = [sys.executable, "-m", "txnsite.stack", command]
        super().__init__(command, argv, env=env, cwd=REPOSITORY, log_path=var.parent / f"{command}.log")

    def see(self, text: str) -> str:
        """Wait until a pattern is on the screen and return what is there."""

        def seen_or_over() -> bool:
            return re.search(text, self.logs) is not None or not self.is_running

        wait_for(seen_or_over, what=text, timeout_seconds=PATIENCE_SECONDS, every_seconds=0.1)
        assert re.search(text, self.logs), self.logs
        return self.logs

    def finish(self) -> tuple[int, str]:
        """Run to the end and return the exit code and the screen."""
        self.start()
        code = self.wait(PATIENCE_SECONDS)
        return code, self.logs

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `manage.py` in a second terminal, which knows nothing but the state folder."""
        env = {"PATH": os.environ["PATH"], "TXNSITE_VAR": str(self.var)}
        argv = [sys.executable, "manage.py", *arguments]
        return subprocess.run(argv, cwd=REPOSITORY, env=env, capture_output=True, text=True, timeout=PATIENCE_SECONDS)

    def status_of(self, path: str) -> int:
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=30)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        finally:
            connection.close()

    def stop_and_look(self) -> None:
        """Stop it as `kill` does, and find nothing left."""
        self.send_signal(signal.SIGTERM)
        assert self.wait(30) == 0
        assert self.logs.endswith("\nStopping ...\nStopped.\n")
        assert processes_of(self.var) == []


@pytest.fixture
def var() -> Iterator[Path]:
    folder = make_folder()
    yield folder / "var"
    shutil.rmtree(folder)


class OpenTerminal(Protocol):
    def __call__(self, command: str = "run", port: int | None = None) -> Terminal: ...


@pytest.fixture
def terminal(var: Path) -> Iterator[OpenTerminal]:
    """Open terminals whose commands end with the test; what they started ends by itself then."""
    with ExitStack() as opened:

        def open_one(command: str = "run", port: int | None = None) -> Terminal:
            one = Terminal(var, free_port() if port is None else port, command)
            opened.callback(one.kill)
            return one

        yield open_one
    for process in processes_of(var):
        process.kill()


@pytest.mark.timeout(400)
def test_a_stranger_runs_it(var: Path, terminal: OpenTerminal) -> None:
    desk = terminal()
    desk.start()
    screen = desk.see("SUCCESSFUL")

    # It says where everything is, and it is there.
    for path in ("/", "/admin/", "/api/v1/docs", "/readyz?strict=1"):
        assert desk.status_of(path) in {200, 302}, path
    flower = re.search(r"Flower +http://localhost:(\d+)/", screen)
    assert flower is not None
    socket.create_connection((LOOPBACK, int(flower[1]))).close()
    assert re.search("ACCEPTED.*\n(.*\n)*.*MINED.*\n(.*\n)*.*SUCCESSFUL", screen)
    assert "arning" not in screen

    # A second terminal just works; a second desk, and a reset, are refused.
    assert (var / "stack.env").stat().st_mode & 0o777 == 0o600
    assert desk.manage("check_chain").stdout.startswith("The node follows the chain")
    assert terminal("env").finish()[1].startswith(f"export TXNSITE_VAR={var}\nexport DEBUG=1\n")
    for command in ("run", "reset"):
        code, refusal = terminal(command).finish()
        assert (code, refusal) == (1, f"The desk already runs in {var} (process {desk.pid}). Stop that one first.\n")

    # What dies is started again.
    for name, words in (
        ("worker-money", "--queues money"),
        ("anvil", "--prune-history"),
        (r"Valkey \(broker\)", "--appendonly yes"),
        (r"Valkey \(cache\)", "--appendonly no"),
    ):
        victims = [process for process in processes_of(var) if words in " ".join(process.cmdline())]
        oldest = min(victims, key=psutil.Process.create_time)
        oldest.kill()
        desk.see(rf"{name} ended \(signal SIGKILL\), starts again now")
    wait_for(lambda: desk.status_of("/readyz?strict=1") == 200, what="readiness", timeout_seconds=60, every_seconds=0.2)
    desk.stop_and_look()
    assert not (var / "stack.env").exists()

    # The next run goes on where this one stopped, and doesn't pay again.
    chain = (var / "anvil" / "state.json").stat().st_size
    desk.start()
    desk.see("Ctrl-C stops everything")
    assert desk.manage("shell", "-c", PAID).stdout.split()[-1] == "1"
    desk.stop_and_look()
    assert (var / "anvil" / "state.json").stat().st_size > chain

    # A chain that isn't the database's is told, and a reset begins anew.
    shutil.rmtree(var / "anvil")
    code, screen = terminal().finish()
    assert code == 3
    assert "don't belong together" in screen
    assert "make reset" in screen
    assert processes_of(var) == []
    code, screen = terminal("reset").finish()
    assert (code, screen.startswith(f"Removed from {var}: postgres, ")) == (0, True)
    assert [path.name for path in var.iterdir()] == ["stack.lock"]


PAID = "from transactions.models import Transaction; print(Transaction.objects.count())"


@pytest.mark.timeout(200)
def test_nothing_is_left_when_it_is_killed(var: Path, terminal: OpenTerminal) -> None:
    desk = terminal()
    desk.start()
    desk.see("database")
    assert len(processes_of(var)) > 4
    desk.send_signal(signal.SIGKILL)
    desk.wait(10)
    wait_for(lambda: not processes_of(var), what="nothing left", timeout_seconds=30, every_seconds=0.2)


@pytest.mark.timeout(200)
def test_ctrl_c_while_it_starts(var: Path, terminal: OpenTerminal) -> None:
    desk = terminal()
    desk.start()
    desk.see("servers")
    desk.send_signal(signal.SIGINT)
    assert desk.wait(30) == 0
    assert desk.logs.endswith("\nStopping ...\nStopped.\n")
    assert processes_of(var) == []


def test_a_taken_port_is_said_before_anything_starts(var: Path, terminal: OpenTerminal) -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:
        port = listener.getsockname()[1]
        code, screen = terminal(port=port).finish()
    expected = f"Port {port} is taken. Free it, or choose another: make run PORT={port + 1}\n"
    assert (code, screen) == (1, expected)
    assert not (var / "postgres").exists()


@pytest.mark.parametrize("port", ["0", "65536", "eighty", "-1", "８０"])
def test_a_port_must_be_one(terminal: OpenTerminal, port: str) -> None:
    desk = terminal()
    desk.env["PORT"] = port
    assert desk.finish() == (1, f"PORT must be a number from 1 to 65535; it is {port!r}.\n")


def test_no_stack_has_no_environment(var: Path, terminal: OpenTerminal) -> None:
    assert terminal("env").finish() == (1, f"No stack runs in {var}: `make run` starts one.\n")
    assert terminal("reset").finish() == (0, "There is nothing to throw away.\n")


def test_servers_of_the_terminal_are_never_touched(var: Path, terminal: OpenTerminal) -> None:
    """Who has the production database in their environment still gets one of their own."""
    desk = terminal()
    poison = "postgresql:///production?host=/nonexistent"
    desk.env |= {
        "DATABASE_URL": poison,
        "DATABASE_URL_FILE": "/nonexistent",
        "SECRET_KEY": "x",
        "KEYSTORE_PASSPHRASE": "y",
    }
    desk.start()
    desk.see("database +up to date")
    assert read_env_file(var / "stack.env")["DATABASE_URL"].startswith("postgresql:///txnsite?host=")
    desk.send_signal(signal.SIGTERM)
    assert desk.wait(30) == 0
