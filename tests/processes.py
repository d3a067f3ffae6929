"""Where and how processes of our own code run in tests: as production runs them, against the test's servers."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import psutil
from django.conf import settings

from txnsite.stack.layout import REPOSITORY

_FOLDER_PREFIX = "txnsite-test-"


def make_folder() -> Path:
    """Create a folder for servers that every user may enter: PostgreSQL runs as another one when we are root.

    Folders of test runs that were killed before they could tidy up are removed.
    """
    parent = Path(tempfile.gettempdir())
    for left in parent.glob(f"{_FOLDER_PREFIX}*-*"):
        pid = left.name.removeprefix(_FOLDER_PREFIX).partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER_PREFIX}{os.getpid()}-", dir=parent))
    folder.chmod(0o711)
    return folder


def database_url() -> str:
    """Return the URL of the database this test uses; DATABASE_URL names the one it was made from."""
    database = settings.DATABASES["default"]
    host, port, user = (quote(str(database[key])) for key in ("HOST", "PORT", "USER"))
    return f"postgresql:///{quote(database['NAME'])}?host={host}&port={port}&user={user}"


def subprocess_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of this test for a process of its own."""
    return {**os.environ, "DATABASE_URL": database_url(), **(extra or {})}


def settings_say(expression: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Return what Django's settings come to in a process of its own, with other variables in its environment."""
    code = f"from django.conf import settings; print({expression})"
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "txnsite.settings", **variables},
        capture_output=True,
        text=True,
    )
