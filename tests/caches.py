"""The cache as tests look at it from outside, and as it is when it is down."""

from typing import Any

import pytest
from django_redis import get_redis_connection
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from accounts.cache import CacheCommands, cache_commands

PREFIX = "txnsite:"


def raw_cache() -> Redis:
    """Return a client of the real cache."""
    client: Redis = get_redis_connection("default")
    return client


def seconds_left(key: str) -> int:
    """Return how long a key of ours still has to live, in seconds."""
    left: Any = raw_cache().ttl(PREFIX + key)
    return int(left)


def value_of(key: str) -> Any:
    """Return what a key of ours holds."""
    return other_process().read([key]).get(key)


def other_process() -> CacheCommands:
    """Return commands as another process has them; that this one has met a failure is nothing to them."""
    return CacheCommands(raw_cache(), PREFIX)


def take_cache_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process find nobody where the cache was, until `monkeypatch.undo()`."""
    dead = CacheCommands(Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0)), PREFIX)
    commands: Any = cache_commands()
    for name, value in vars(dead).items():
        monkeypatch.setattr(commands, name, value)
