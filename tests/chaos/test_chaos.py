"""A short rain of faults on a real desk, from a fixed seed; and nothing is left of one that is stopped."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import make_folder
from tests.stack.processes import processes_of
from txnsite.stack.layout import REPOSITORY
from txnsite.stack.process import wait_for

# The first twelve of this seed have the chain's own faults among them.
SEED = 1997
FAULTS = 12
CHAINS_OWN = {"mempool lost", "base fee jumps", "node restarted", "reorg"}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user may enter, as PostgreSQL's own must when the tests run as root."""
    path = make_folder()
    yield path
    shutil.rmtree(path)


def chaos(folder: Path, *options: str) -> "subprocess.Popen[str]":
    argv = [sys.executable, "-m", "chaos", "--folder", str(folder), "--output", str(folder / "chaos.json"), *options]
    # A group of its own, as at a terminal: what is pressed there reaches the harness and not us.
    return subprocess.Popen(argv, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.timeout(400)
def test_nothing_is_lost_or_made_twice_while_faults_rain(folder: Path) -> None:
    run = chaos(folder, "--seed", str(SEED), "--faults", str(FAULTS))
    said, _ = run.communicate(timeout=390)
    assert run.returncode == 0, said
    told = json.loads((folder / "chaos.json").read_text())
    assert told["faults"] >= FAULTS
    assert {outcome["name"] for outcome in told["outcomes"]} >= CHAINS_OWN, "another seed is to be chosen"
    assert told["violations"] == []
    assert told["late_recoveries"] == 0
    assert set(told["payments"]) == {"SUCCESSFUL", "FAILED"}
    assert told["payments"]["SUCCESSFUL"] > 20
    assert told["payments_per_minute"] > 0
    assert told["deposits"]["credited"] > 10
    assert set(told["sweeps"]) == {"SUCCESSFUL"}
    assert f"0 violations (seed {SEED})" in said
    assert [path.name for path in folder.iterdir()] == ["chaos.json"], "something was left behind"
    assert not processes_of(folder)


@pytest.mark.timeout(200)
def test_nothing_is_left_when_it_is_stopped_while_it_starts(folder: Path) -> None:
    run = chaos(folder, "--faults", "1000")
    wait_for(lambda: len(processes_of(folder)) >= 5, what="its first processes", timeout_seconds=60, every_seconds=0.1)
    os.kill(run.pid, signal.SIGINT)
    said, _ = run.communicate(timeout=60)
    assert run.returncode == 130, said
    assert said.splitlines()[-1] == "Stopped."
    assert not processes_of(folder)
    assert list(folder.iterdir()) == []


@pytest.mark.timeout(200)
def test_nothing_runs_on_when_it_is_killed_in_the_rain(folder: Path) -> None:
    run = chaos(folder, "--faults", "1000")
    assert run.stdout is not None
    # The first line says the seed, each further one what was broken and how long recovery took.
    for _ in range(2):
        assert run.stdout.readline()
    run.kill()
    assert run.wait(10) == -signal.SIGKILL
    run.stdout.close()
    wait_for(lambda: not processes_of(folder), what="the end of all it started", timeout_seconds=30, every_seconds=0.2)


def test_an_unknown_kind_is_refused_before_anything_is_started(folder: Path) -> None:
    run = chaos(folder, "--only", "earthquake")
    said, _ = run.communicate(timeout=60)
    assert run.returncode == 1
    assert said == "No kind of fault has a name like that.\n"
    assert list(folder.iterdir()) == []
