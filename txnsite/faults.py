"""Named places in the money path where a drill can stop or kill the process.

`FAULT_POINTS="broadcast.saved=kill,settle.posted=hang"` makes the first process that reaches `broadcast.saved` kill
itself with SIGKILL, and the first at `settle.posted` wait to be killed; `follow.mined=wait:/tmp/go` waits until that
file is there. Each place fires once: a file in `FAULT_DIR` says that it did. Without the setting, `fault_point` is one
comparison.
"""

import os
import signal
import time
from pathlib import Path

from django.conf import settings


def fault_point(name: str) -> None:
    """Stop here if the drill asks for it; do nothing otherwise."""
    if settings.FAULT_POINTS:
        _fire(name)


def _fire(name: str) -> None:
    wanted = dict(part.split("=", 1) for part in settings.FAULT_POINTS.split(","))
    if name not in wanted:
        return
    settings.FAULT_DIR.mkdir(parents=True, exist_ok=True)
    try:
        with (settings.FAULT_DIR / name).open("x") as marker:
            marker.write(str(os.getpid()))
    except FileExistsError:
        return
    if wanted[name] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    _, _, awaited = wanted[name].partition("wait:")
    while not (awaited and Path(awaited).exists()):
        time.sleep(0.02)
