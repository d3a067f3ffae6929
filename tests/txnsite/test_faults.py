"""Fault points: who stops where, how often, and that nobody does where no drill asks for it."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from pytest_django.fixtures import Settings

from txnsite.commit_points.base import DatabaseWrapper
from txnsite.faults import arm, disarm, fault_point, has_fired
from txnsite.stack.layout import REPOSITORY


class Killed(BaseException):  # noqa: N818 (it stands for SIGKILL)
    """The process dies here."""


def come_to(name: str) -> None:
    """Come to a fault point, and die there if that is wanted."""
    with contextlib.suppress(Killed):
        fault_point(name)


@pytest.fixture
def deaths(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The signals with which this process would have ended itself."""
    signals: list[int] = []

    def note(pid: int, number: int) -> None:
        assert pid == os.getpid()
        signals.append(number)
        raise Killed

    monkeypatch.setattr(os, "kill", note)
    return signals


@pytest.fixture
def armed(tmp_path: Path, settings: Settings) -> Path:
    """A drill's folder, in a process that looks into it."""
    settings.FAULT_POINTS, settings.FAULT_DIR, settings.FAULT_ROLE = "armed", tmp_path, "web"
    return tmp_path


def test_a_point_of_the_setting_fires_once(deaths: list[int], settings: Settings, tmp_path: Path) -> None:
    settings.FAULT_POINTS, settings.FAULT_DIR = "a.point=wait:/,another=kill", tmp_path / "new"
    come_to("a.third")
    come_to("another")
    come_to("another")
    assert deaths == [signal.SIGKILL]
    come_to("a.point")
    assert has_fired(tmp_path / "new", "a.point")


def test_an_armed_point_fires_once_each_time_it_is_armed(deaths: list[int], armed: Path) -> None:
    come_to("a.point")
    assert deaths == []
    for count in (1, 2):
        arm(armed, "a.point", "kill")
        assert not has_fired(armed, "a.point")
        come_to("another.point")
        come_to("a.point")
        come_to("a.point")
        assert deaths == [signal.SIGKILL] * count
        assert has_fired(armed, "a.point")


def test_a_disarmed_point_is_passed(deaths: list[int], armed: Path) -> None:
    arm(armed, "a.point", "kill")
    assert disarm(armed, "a.point") is False
    come_to("a.point")
    assert deaths == []
    arm(armed, "a.point", "kill")
    come_to("a.point")
    assert disarm(armed, "a.point") is True


def test_one_of_many_that_come_at_once_is_taken(deaths: list[int], armed: Path) -> None:
    for _ in range(20):
        arm(armed, "a.point", "kill")
        start = threading.Barrier(8)

        def come(start: threading.Barrier = start) -> None:
            start.wait(5)
            come_to("a.point")

        threads = [threading.Thread(target=come) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5)
    assert len(deaths) == 20


def test_without_the_setting_nobody_looks_at_files(deaths: list[int], armed: Path, settings: Settings) -> None:
    settings.FAULT_POINTS = ""
    arm(armed, "a.point", "kill")
    come_to("a.point")
    assert deaths == []
    assert not has_fired(armed, "a.point")


# --- At commits -------------------------------------------------------------------------------------------------------
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("killed_at", "committed"), [("web.before_commit", 0), ("web.after_commit", 1)])
def test_a_process_can_be_killed_before_and_after_a_commit(
    killed_at: str, committed: int, armed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points: list[str] = []

    def die(name: str) -> None:
        points.append(name)
        if name == killed_at:
            raise Killed

    monkeypatch.setattr("txnsite.commit_points.base.fault_point", die)
    session = DatabaseWrapper(connection.settings_dict, "commit_points")
    try:
        session.set_autocommit(False)
        with session.cursor() as cursor:
            cursor.execute("INSERT INTO auth_group (name) VALUES ('new')")
        with pytest.raises(Killed):
            session.commit()
    finally:
        session.close()
    assert Group.objects.filter(name="new").count() == committed
    assert points == ["web.before_commit", "web.after_commit"][: committed + 1]


def test_only_where_points_are_set_does_the_database_have_them() -> None:
    assert connection.settings_dict["ENGINE"] == "txnsite.database"
    argv = [sys.executable, "-c", "from django.conf import settings; print(settings.DATABASES['default']['ENGINE'])"]
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "txnsite.settings", "FAULT_POINTS": "armed"}
    done = subprocess.run(argv, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "txnsite.commit_points"
