"""Where and how processes of our own code run in tests: as production runs them, against the test's servers."""

import os
from collections.abc import Mapping
from urllib.parse import quote

from django.conf import settings


def database_url() -> str:
    """Return the URL of the database this test uses; DATABASE_URL names the one it was made from."""
    database = settings.DATABASES["default"]
    host, port, user = (quote(str(database[key])) for key in ("HOST", "PORT", "USER"))
    return f"postgresql:///{quote(database['NAME'])}?host={host}&port={port}&user={user}"


def subprocess_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of this test for a process of its own."""
    return {**os.environ, "DATABASE_URL": database_url(), **(extra or {})}
