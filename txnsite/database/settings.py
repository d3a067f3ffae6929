"""The settings of the one database."""

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from txnsite.env import Env


def database_settings(env: Env, engine: str) -> dict[str, Any]:
    """Return Django's settings for the libpq URI in DATABASE_URL, with time limits so that nothing waits for ever.

    :raises ImproperlyConfigured: when it is not set, or none.
    """
    try:
        parts = conninfo_to_dict(env.secret("DATABASE_URL"))
    except ProgrammingError:
        raise ImproperlyConfigured("DATABASE_URL is not a libpq connection string.") from None
    limits = "-c lock_timeout=5s -c statement_timeout=30s -c idle_in_transaction_session_timeout=60s"
    options: dict[str, Any] = {
        name: value for name, value in parts.items() if name not in {"dbname", "user", "password", "host", "port"}
    }
    options["options"] = f"{options.get('options', '')} {limits}".strip()
    # Nothing is prepared for having been run often, only what asks for it (txnsite/database/prepared.py).
    options["prepare_threshold"] = 10**9
    if env.flag("DATABASE_POOL", default=False):
        options["pool"] = {"min_size": 2, "max_size": env.integer("DATABASE_POOL_SIZE", 20, minimum=2), "timeout": 5}
    return {
        "ENGINE": engine,
        "NAME": parts.get("dbname", ""),
        "USER": parts.get("user", ""),
        "PASSWORD": parts.get("password", ""),
        "HOST": parts.get("host", ""),
        "PORT": str(parts.get("port", "")),
        # A pool keeps connections itself; a worker process keeps its one, checked before each use.
        "CONN_MAX_AGE": 0 if "pool" in options else 600,
        "CONN_HEALTH_CHECKS": "pool" not in options,
        "OPTIONS": options,
    }
