"""Locks in the cache, or in several independent servers of which a majority must agree (Redlock).

They spare the database; they are not what keeps money safe. So where too few servers can be reached, work goes on
without them. With one server that is `SET NX EX`; with several it is the algorithm of
<https://redis.io/docs/latest/develop/clients/patterns/distributed-locks/>, and docs/adr/0007-own-redlock.md says why
it is ours.
"""

import random
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache

from django.conf import settings
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from accounts.cache import CacheCommands, cache_commands, key_prefix
from accounts.exceptions import LockHeldError

POLL_SECONDS = (0.005, 0.015)
"""How long to wait before the next try, at random so that those who wait don't meet again."""

DRIFT = 0.01
DRIFT_SECONDS = 0.002
"""By how much clocks may disagree while a lock runs: a part of its time, and what their grain is."""

TIMEOUT_SECONDS = 0.1
"""A lock server that takes longer counts as one that is down: with several, one slow server must cost little."""


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock, and the token by which its owner is known."""

    key: str
    token: str


class _Outcome(Enum):
    TAKEN = 1
    HELD_BY_ANOTHER = 2
    TOO_FEW_SERVERS = 3


class CacheLocks:
    """Locks that a majority of the servers must grant."""

    def __init__(self, servers: Sequence[CacheCommands]) -> None:
        self._servers = tuple(servers)
        self._missing_max = (len(servers) - 1) // 2

    def acquire(self, key: str, seconds: int, wait_seconds: float) -> Lock | None:
        """Take a lock that frees itself after `seconds`; return nothing when too few servers answer to tell.

        Only who holds its token frees it.

        :raises LockHeldError: when it doesn't become free within `wait_seconds`.
        """
        deadline = time.monotonic() + wait_seconds
        while True:
            # A token for each try, so that what a failed one left behind, or frees late, is not taken for this one's.
            lock = Lock(key, secrets.token_hex(16))
            match self._try(lock, seconds):
                case _Outcome.TAKEN:
                    return lock
                case _Outcome.TOO_FEW_SERVERS:
                    return None
            if time.monotonic() >= deadline:
                raise LockHeldError
            time.sleep(random.uniform(*POLL_SECONDS))

    def release(self, lock: Lock) -> None:
        """Free a lock wherever it is still ours."""
        for server in self._servers:
            server.forget_if({lock.key: lock.token})

    def _try(self, lock: Lock, seconds: int) -> _Outcome:
        """Ask every server once, in the same order as everybody: who is first at the first mostly gets the rest."""
        begun = time.monotonic()
        refused = silent = 0
        asked: list[CacheCommands] = []
        for server in self._servers:
            answer = server.take(lock.key, lock.token, seconds)
            if answer is None:
                silent += 1
            if answer is False:
                refused += 1
            else:
                asked.append(server)
            if refused > self._missing_max or silent > self._missing_max:
                break
        valid_seconds = seconds * (1 - DRIFT) - DRIFT_SECONDS - (time.monotonic() - begun)
        if refused + silent <= self._missing_max and valid_seconds > 0:
            return _Outcome.TAKEN
        for server in asked:
            server.forget_if({lock.key: lock.token})
        return _Outcome.TOO_FEW_SERVERS if silent > self._missing_max else _Outcome.HELD_BY_ANOTHER


@cache
def cache_locks() -> CacheLocks:
    """Return this process's locks: on the servers of LOCK_URLS, or in the cache."""
    if not settings.LOCK_URLS:
        return CacheLocks([cache_commands()])
    count = len(settings.LOCK_URLS)
    servers = [
        CacheCommands(lock_client(url), key_prefix(), name=f"Lock server {number} of {count}")
        for number, url in enumerate(settings.LOCK_URLS, start=1)
    ]
    return CacheLocks(servers)


def lock_client(url: str) -> Redis:
    """Return a client that gives up soon, and dials anew at once where a server has closed a connection."""
    return Redis.from_url(
        url,
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS,
        max_connections=100,
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
    )
