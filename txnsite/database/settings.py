"""The settings of the one database."""

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from txnsite.env import Env

LIMITS = (
    "-c lock_timeout=5s -c statement_timeout=30s -c idle_in_transaction_session_timeout=60s "
    "-c tcp_keepalives_idle=10s -c tcp_keepalives_interval=5s -c tcp_keepalives_count=3 -c tcp_user_timeout=25s"
)
"""What PostgreSQL ends by itself: also the session of a machine that is gone, within 25 s, with the locks it holds."""

KEEP_ALIVE = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
"""The other way round: a server that is gone is noticed within 25 s (libpq; milliseconds the last, else seconds)."""


def database_settings(env: Env, engine: str) -> dict[str, Any]:
    """Return Django's settings for the libpq URI in DATABASE_URL, with time limits so that nothing waits for ever.

    :raises ImproperlyConfigured: when it is not set, or none.
    """
    try:
        parts = conninfo_to_dict(env.secret("DATABASE_URL"))
    except ProgrammingError:
        raise ImproperlyConfigured("DATABASE_URL is not a libpq connection string.") from None
    given = {name: value for name, value in parts.items() if name not in {"dbname", "user", "password", "host", "port"}}
    options: dict[str, Any] = KEEP_ALIVE | given
    options["options"] = f"{given.get('options', '')} {LIMITS}".strip()
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
