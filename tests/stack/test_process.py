import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.stack.processes import PARENT, SLEEP, STUBBORN, child, is_alive
from txnsite.stack.errors import StartError
from txnsite.stack.layout import REPOSITORY
from txnsite.stack.process import ChildProcess, ending_of, wait_for


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def started(cleanup: ExitStack, process: ChildProcess) -> ChildProcess:
    cleanup.callback(process.kill)
    process.start()
    wait_for(lambda: process.logs, what="first words", timeout_seconds=20)
    return process


def test_what_it_writes_is_logged_run_by_run(tmp_path: Path) -> None:
    process = child(tmp_path, "import sys; print('one'); print('two', file=sys.stderr); sys.exit(7)")
    for _ in range(2):
        process.start()
        assert process.wait(20) == 7
        assert sorted(process.logs.split()) == ["one", "two"]
        assert sorted(process.log_tail(1).split()) != ["one", "two"]
    assert (tmp_path / "child.log").read_text().split().count("one") == 2


def test_it_has_no_process_before_its_first_start(tmp_path: Path) -> None:
    process = child(tmp_path, SLEEP)
    assert not process.is_running
    assert process.returncode is None
    process.stop()
    process.kill()
    with pytest.raises(StartError, match="was not started"):
        _ = process.pid


def test_starting_it_twice_is_refused(tmp_path: Path, cleanup: ExitStack) -> None:
    process = started(cleanup, child(tmp_path, SLEEP))
    with pytest.raises(StartError, match="runs already"):
        process.start()


def test_a_program_that_does_not_exist_is_a_start_error(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="ghost can't be executed"):
        ChildProcess("ghost", ["/nonexistent"], log_path=tmp_path / "log").start()


def test_one_that_ends_before_it_is_ready_tells_the_end_of_its_log(tmp_path: Path) -> None:
    process = child(tmp_path, "print('no such table'); raise SystemExit(4)")
    process.start()
    with pytest.raises(StartError, match=r"(?s)ended with exit code 4.*no such table"):
        process.wait_ready(lambda: False, timeout_seconds=20)


def test_one_that_never_gets_ready_is_given_up(tmp_path: Path, cleanup: ExitStack) -> None:
    process = started(cleanup, child(tmp_path, SLEEP))
    with pytest.raises(StartError, match=r"wasn't ready within 0.1 s"):
        process.wait_ready(lambda: False, timeout_seconds=0.1)


def test_stop_is_polite(tmp_path: Path, cleanup: ExitStack) -> None:
    process = started(cleanup, child(tmp_path, SLEEP))
    process.stop()
    assert process.returncode == -signal.SIGTERM


def test_stop_kills_what_does_not_listen(tmp_path: Path, cleanup: ExitStack) -> None:
    process = started(cleanup, child(tmp_path, STUBBORN))
    process.stop(timeout_seconds=0.2)
    assert process.returncode == -signal.SIGKILL


def test_kill_takes_its_children_along(tmp_path: Path, cleanup: ExitStack) -> None:
    process = started(cleanup, child(tmp_path, PARENT))
    grandchild = int(process.logs)
    assert is_alive(grandchild)
    process.kill()
    wait_for(lambda: not is_alive(grandchild), what="the grandchild's end", timeout_seconds=20)


def test_a_new_start_ends_what_a_killed_run_left(tmp_path: Path, cleanup: ExitStack) -> None:
    process = started(cleanup, child(tmp_path, PARENT))
    orphan = int(process.logs)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(20)
    assert is_alive(orphan)
    started(cleanup, process)
    wait_for(lambda: not is_alive(orphan), what="the orphan's end", timeout_seconds=20)


OWN_ID = "print(__import__('os').getpid(), flush=True)"


@pytest.mark.parametrize(
    ("code", "end"),
    [
        (PARENT, "os.kill(os.getpid(), signal.SIGKILL)"),
        (PARENT, "os._exit(0)"),
        (PARENT, "raise RuntimeError('forgot to stop it')"),
        (STUBBORN.replace("print('up', flush=True)", OWN_ID), "os.kill(os.getpid(), signal.SIGKILL)"),
    ],
    ids=["killed", "gone", "failed", "killed, with a stubborn child"],
)
def test_nothing_outlives_us_however_we_end(tmp_path: Path, code: str, end: str) -> None:
    """SIGKILL leaves a process no time to clean up: somebody else must."""
    program = f"""
        import os, signal, sys
        from pathlib import Path
        from tests.stack.processes import child
        from txnsite.stack.process import wait_for
        process = child(Path({str(tmp_path)!r}), {code!r})
        process.start()
        wait_for(lambda: process.logs, what="first words", timeout_seconds=20)
        print(process.pid, process.logs, flush=True)
        {end}
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=REPOSITORY, capture_output=True, text=True, timeout=60
    )
    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) == 2
    for pid in pids:
        wait_for(lambda pid=pid: not is_alive(pid), what=f"the end of {pid}", timeout_seconds=20)  # type: ignore[misc]


def test_waiting_says_what_for() -> None:
    assert wait_for(lambda: "an answer", what="it", timeout_seconds=1) == "an answer"
    with pytest.raises(TimeoutError, match=r"the moon: not within 0.05 s"):
        wait_for(lambda: None, what="the moon", timeout_seconds=0.05)


def test_endings_in_words() -> None:
    assert ending_of(3) == "exit code 3"
    assert ending_of(-9) == "signal SIGKILL"


def test_a_signal_to_the_group_reaches_its_children(cleanup: ExitStack, tmp_path: Path) -> None:
    process = started(cleanup, child(tmp_path, PARENT))
    own = int(process.logs)
    process.signal_group(signal.SIGKILL)
    process.wait(5)
    wait_for(lambda: not is_alive(own), what="the child's end", timeout_seconds=5)
    # Nobody is left to be signalled, and the number may be another's by now.
    process.signal_group(signal.SIGKILL)
