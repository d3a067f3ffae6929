"""The few cache commands that this desk needs, none of which may ever stop a payment.

When the cache can't be reached, reads find nothing and writes do nothing; after a failure the cache is left alone for
a moment, so that an outage costs each process one time-out a second and not one a request.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from django.core.cache import caches
from django_redis import get_redis_connection
from pydantic_core import from_json, to_json
from redis import Redis
from redis.exceptions import RedisError

from accounts.cache_debts import Debts, Forgetting

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0

# Compare and set: KEYS are declared, as Dragonfly demands.
_REPLACE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3]) end
return false
"""

# One command for a thousand keys: a pipeline of as many SETs takes the client five times as long. What is there goes
# first: a server that has no memory left refuses SET and takes DEL, and must not keep on telling what was there.
_WRITE_ALL = """
for _, key in ipairs(KEYS) do redis.call('DEL', key) end
for i, key in ipairs(KEYS) do redis.call('SET', key, ARGV[i + 1], 'EX', ARGV[1]) end
return #KEYS
"""

# For each key our own value, which goes, and how the values begin that stay although they are not ours.
_FORGET = """
for i, key in ipairs(KEYS) do
  local value, own, spared = redis.call('GET', key), ARGV[2 * i - 1], ARGV[2 * i]
  if value and (value == own or string.sub(value, 1, #spared) ~= spared) then redis.call('DEL', key) end
end
return #KEYS
"""

# A try whose answer was lost is made again, and must know its own token.
_TAKE = """
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'EX', ARGV[2]) or redis.call('GET', KEYS[1]) == ARGV[1] then return 1 end
return 0
"""


class _Local(threading.local):
    forgetting: dict[str, Forgetting] | None = None


class CacheCommands:
    """Commands over JSON values under the site's key prefix."""

    def __init__(self, client: Redis, prefix: str, *, name: str = "The cache") -> None:
        self._name = name
        self._client = client
        self._prefix = prefix
        self._replace = client.register_script(_REPLACE)
        self._write_all = client.register_script(_WRITE_ALL)
        self._forget = client.register_script(_FORGET)
        self._take = client.register_script(_TAKE)
        self._silent_until = 0.0
        self._local = _Local()
        self._debts = Debts(self._send_forgetting)

    def read(self, keys: Sequence[str]) -> dict[str, Any]:
        """Return the values that are there, in one round trip."""
        values = self._try(lambda: self._client.mget([self._prefix + key for key in keys])) or []
        return {key: from_json(value) for key, value in zip(keys, values, strict=False) if value is not None}

    def write_all(self, values: Mapping[str, Any], seconds: int, *, insist: bool = False) -> bool:
        """Set values with one time to live, in one round trip; say whether the cache took them.

        :param insist: try even while the cache is left alone after a failure.
        """

        keys = [self._prefix + key for key in values]
        arguments: list[bytes | int] = [seconds, *(to_json(value) for value in values.values())]
        return bool(self._try(lambda: self._write_all(keys, arguments), insist=insist))

    def write_if_absent(self, key: str, value: Any, seconds: int) -> bool:
        """Set a value where there is none; say whether it was set."""
        return bool(self._try(lambda: self._client.set(self._prefix + key, to_json(value), ex=seconds, nx=True)))

    def replace(self, key: str, old: Any, new: Any, seconds: int) -> bool:
        """Set a value if the old one is still there; say whether it was set."""
        return bool(self._try(lambda: self._replace([self._prefix + key], [to_json(old), to_json(new), seconds])))

    def forget(self, keys: Sequence[str]) -> None:
        """Delete keys."""
        self._try(lambda: self._client.delete(*(self._prefix + key for key in keys)))

    def forget_if(self, values: Mapping[str, Any]) -> None:
        """Delete those of the keys that still hold their value."""
        self._forget_all({self._prefix + key: Forgetting(to_json(value)) for key, value in values.items()})

    def forget_unless(self, values: Mapping[str, Any], *, spared: str, insist_seconds: int) -> None:
        """Delete the keys, whatever they hold, but for values that are not these and begin, as JSON, with `spared`.

        :param insist_seconds: for how long this is tried again, by a thread of its own, while the cache can't be
            reached.
        """
        self._forget_all(
            {
                self._prefix + key: Forgetting(to_json(value), spared.encode(), insist_seconds)
                for key, value in values.items()
            }
        )

    @contextmanager
    def forgetting_together(self) -> Iterator[None]:
        """Let what this thread forgets within be one round trip, made at the end."""
        if self._local.forgetting is not None:
            yield
            return
        self._local.forgetting = {}
        try:
            yield
        finally:
            forgetting, self._local.forgetting = self._local.forgetting, None
            self._forget_all(forgetting)

    def _forget_all(self, forgetting: dict[str, Forgetting]) -> None:
        if self._local.forgetting is not None:
            self._local.forgetting |= forgetting
        elif forgetting and self._try(lambda: self._send_forgetting(forgetting)) is None:
            self._debts.owe(forgetting)

    def _send_forgetting(self, forgetting: Mapping[str, Forgetting]) -> Any:
        arguments = [argument for each in forgetting.values() for argument in (each.own, each.spared)]
        return self._forget(list(forgetting), arguments)

    def take(self, key: str, token: str, seconds: int) -> bool | None:
        """Set a token where there is none; say whether it is there now, or nothing when the cache can't be asked."""
        answer = self._try(lambda: self._take([self._prefix + key], [to_json(token), seconds]))
        return None if answer is None else bool(answer)

    @property
    def is_up(self) -> bool:
        """Say whether the last command was answered; what fails while this is false means nothing."""
        return time.monotonic() >= self._silent_until

    def _try(self, command: Callable[[], Any], *, insist: bool = False) -> Any:
        if time.monotonic() < self._silent_until and not insist:
            return None
        try:
            return command()
        except RedisError as error:
            self._silent_until = time.monotonic() + PAUSE_SECONDS
            logger.warning("%s does not answer (%s); going on without it.", self._name, type(error).__name__)
            return None


@cache
def cache_commands() -> CacheCommands:
    """Return this process's commands."""
    return CacheCommands(get_redis_connection("default"), key_prefix())


def key_prefix() -> str:
    """Return what all keys of this site begin with."""
    return f"{caches['default'].key_prefix}:"
