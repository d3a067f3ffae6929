"""At most so many calls a second to one node, counted over all processes.

Providers count each call of a batch. The count is kept in the cache by the library `limits` with a sliding window,
whose clock is the cache's own: processes on machines with different clocks share it well. It is exact on average; just
after a burst a single second may hold more.
"""

import logging
import random
import time
from functools import cache

from django_redis import get_redis_connection
from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from redis import ConnectionPool
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

KEY_PREFIX = "txnsite:limits"
POLL_SECONDS = 0.03
CACHE_PAUSE_SECONDS = 5.0
"""How long a cache that failed is left alone; until then each process counts its own calls."""


class CallLimit:
    """The limit of one node.

    :param name: tells nodes apart, and must be no secret.
    """

    def __init__(self, name: str, *, calls_per_second: int) -> None:
        self._name = name
        self._item = RateLimitItemPerSecond(calls_per_second)
        self._cache_silent_until = 0.0
        self.calls_max = max(1, calls_per_second // 2)
        """The most calls to make at once: with half of a second's calls, others need not be silent to let it pass."""

    def take(self, calls: int, *, wait_seconds: float) -> bool:
        """Count calls that are about to be made, and say whether they may be, if need be after a wait."""
        deadline = time.monotonic() + wait_seconds
        while not self._hit(calls):
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_SECONDS * random.uniform(0.5, 1.5))
        return True

    def _hit(self, calls: int) -> bool:
        if time.monotonic() >= self._cache_silent_until:
            try:
                pool = get_redis_connection("default").connection_pool
                return _limiter_in_cache(pool).hit(self._item, self._name, cost=calls)
            except RedisError as error:
                self._cache_silent_until = time.monotonic() + CACHE_PAUSE_SECONDS
                logger.warning(
                    "The cache does not answer (%s); each process counts its own calls.", type(error).__name__
                )
        return _limiter_of_process().hit(self._item, self._name, cost=calls)


@cache
def _limiter_in_cache(pool: ConnectionPool) -> SlidingWindowCounterRateLimiter:
    return SlidingWindowCounterRateLimiter(RedisStorage("redis://", connection_pool=pool, key_prefix=KEY_PREFIX))


@cache
def _limiter_of_process() -> SlidingWindowCounterRateLimiter:
    return SlidingWindowCounterRateLimiter(MemoryStorage())
