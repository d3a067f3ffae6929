import os
from pathlib import Path

import pytest

from txnsite.env import read_env_file
from txnsite.stack.errors import InUseError, StackError
from txnsite.stack.layout import REPOSITORY, Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "var")
    made.make_folders()
    return made


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_the_state_folder_is_var_unless_said_otherwise(tmp_path: Path) -> None:
    assert Layout.from_environment({}).var == REPOSITORY / "var"
    assert Layout.from_environment({"TXNSITE_VAR": str(tmp_path)}).var == tmp_path


def test_the_env_file_is_private_and_reads_back(layout: Layout) -> None:
    variables = {"DATABASE_URL": "postgresql:///txnsite?host=/a%20b&port=5432", "DEBUG": "1"}
    layout.write_env_file({"OLD": "1"})
    layout.write_env_file(variables)
    assert mode(layout.env_file) == 0o600
    assert read_env_file(layout.env_file) == variables


def test_secrets_are_made_once_and_private(layout: Layout) -> None:
    path = layout.secret_file("passphrase")
    secret = path.read_text().strip()
    assert len(secret) >= 48
    assert layout.secret_file("passphrase").read_text().strip() == secret
    assert layout.secret_file("other").read_text().strip() != secret
    assert (mode(path), mode(path.parent), mode(layout.var / "keystore")) == (0o600, 0o700, 0o700)


def test_one_stack_at_a_time(layout: Layout) -> None:
    with layout.locked():
        with pytest.raises(InUseError, match=rf"already runs in .*var \(process {os.getpid()}\)"), layout.locked():
            pytest.fail("locked twice")
        # Who was refused has taken nothing away.
        with pytest.raises(InUseError), layout.locked():
            pytest.fail("locked twice")
    with layout.locked():
        pass


def test_a_folder_that_can_not_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StackError, match="can't be used"):
        Layout(tmp_path / "file" / "var").make_folders()


def test_a_reset_removes_what_a_stack_made_and_nothing_else(layout: Layout) -> None:
    (layout.var / "postgres" / "base").mkdir(parents=True)
    layout.secret_file("passphrase")
    layout.write_env_file({})
    (layout.var / "thesis.tex").touch()
    (layout.var / "bench.json").touch()
    assert layout.remove_state() == ["postgres", "keystore", "secrets", "log", "stack.env"]
    assert sorted(path.name for path in layout.var.iterdir()) == ["bench.json", "thesis.tex"]
    assert layout.remove_state() == []


def test_long_logs_are_shortened_while_they_are_written(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("txnsite.stack.layout._LOG_BYTES_MAX", 10)
    layout.log("short").write_text("short")
    with layout.log("long").open("a") as log:
        log.write("a long story")
        log.flush()
        layout.shorten_logs()
        log.write("goes on")
    assert layout.log("short").read_text() == "short"
    assert layout.log("long").read_text() == "goes on"
    assert (layout.var / "log" / "long.log.1").read_text() == "a long story"
