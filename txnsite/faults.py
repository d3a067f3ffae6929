"""Named places in the money path where a drill can stop or kill the process.

`FAULT_POINTS="broadcast.saved=kill,settle.posted=hang"` makes the first process that reaches `broadcast.saved` kill
itself with SIGKILL, and the first at `settle.posted` wait to be killed; `follow.mined=wait:/tmp/go` waits until that
file is there. Each place fires once: a file in `FAULT_DIR` says that it did.

`FAULT_POINTS=armed` leaves it to files, also while processes run: `FAULT_DIR/broadcast.saved.armed` with the word
`kill` in it is taken by the first process that reaches the place, once each time it is put there (`arm`, `disarm`).

Without the setting, `fault_point` is one comparison.
"""

import os
import signal
import time
from pathlib import Path

from django.conf import settings

ARMED = "armed"


def fault_point(name: str) -> None:
    """Stop here if the drill asks for it; do nothing otherwise."""
    if settings.FAULT_POINTS:
        _fire(name)


def arm(folder: Path, name: str, action: str) -> None:
    """Make the next process that reaches the place do this: `kill`, `hang` or `wait:PATH`."""
    (folder / name).unlink(missing_ok=True)
    draft = folder / f"{name}.part"
    draft.write_text(action)
    draft.rename(_armed_file(folder, name))


def disarm(folder: Path, name: str) -> bool:
    """Let the place be passed again, and return whether a process had reached it."""
    _armed_file(folder, name).unlink(missing_ok=True)
    return has_fired(folder, name)


def has_fired(folder: Path, name: str) -> bool:
    """Say whether a process has reached the place since it was armed."""
    return (folder / name).exists()


def _fire(name: str) -> None:
    action = _take_armed(name) if settings.FAULT_POINTS == ARMED else _take_planned(name)
    if action is None:
        return
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    _, _, awaited = action.partition("wait:")
    while not (awaited and Path(awaited).exists()):
        time.sleep(0.02)


def _take_planned(name: str) -> str | None:
    """Return what the setting wants of the first process that comes by, to that process only."""
    wanted = dict(part.split("=", 1) for part in settings.FAULT_POINTS.split(","))
    if name not in wanted:
        return None
    settings.FAULT_DIR.mkdir(parents=True, exist_ok=True)
    try:
        with (settings.FAULT_DIR / name).open("x") as marker:
            marker.write(str(os.getpid()))
    except FileExistsError:
        return None
    return wanted[name]


def _take_armed(name: str) -> str | None:
    """Return what the file says, to one process only: of two that rename it, one finds it gone."""
    fired = settings.FAULT_DIR / name
    try:
        _armed_file(settings.FAULT_DIR, name).rename(fired)
    except FileNotFoundError:
        return None
    return str(fired.read_text())


def _armed_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.armed"
