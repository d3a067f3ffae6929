"""What the cache must still forget: kept while it can't be reached, and told it as soon as it can."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice

from redis.exceptions import RedisError

RETRY_SECONDS = 0.2
OWED_MAX = 50_000
"""The newest so many are kept (some 10 MB). Older ones are given up: what they were about runs out by itself."""
_BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Forgetting:
    """What is to be forgotten under a key.

    :param own: the value that is ours, as JSON.
    :param spared: how values begin that stay although they are not ours; left out, only ours goes.
    :param insist_seconds: for how long it is tried again when the cache can't be reached.
    """

    own: bytes
    spared: bytes = b""
    insist_seconds: int = 0


class Debts:
    """What one process owes the cache. They die with the process.

    :param pay: tells the cache; raises `RedisError` when it can't.
    """

    def __init__(self, pay: Callable[[Mapping[str, Forgetting]], object]) -> None:
        self._pay = pay
        self._lock = threading.Lock()
        self._owed: dict[str, tuple[Forgetting, float]] = {}
        self._thread: threading.Thread | None = None

    def owe(self, forgetting: Mapping[str, Forgetting]) -> None:
        """Take on what is worth insisting on, and see to it that a thread pays."""
        now = time.monotonic()
        with self._lock:
            for key, each in forgetting.items():
                if each.insist_seconds:
                    # Later ones last, so that the first is always the oldest.
                    self._owed.pop(key, None)
                    self._owed[key] = (each, now + each.insist_seconds)
            while len(self._owed) > OWED_MAX:
                del self._owed[next(iter(self._owed))]
            # A process that was forked has its parent's debts and not its thread.
            if self._owed and (self._thread is None or not self._thread.is_alive()):
                self._thread = threading.Thread(target=self._pay_all, name="cache-debts", daemon=True)
                self._thread.start()

    def _pay_all(self) -> None:
        while batch := self._oldest():
            try:
                self._pay({key: forgetting for key, (forgetting, _) in batch.items()})
            except RedisError:
                time.sleep(RETRY_SECONDS)
            else:
                self._strike_out(batch)

    def _oldest(self) -> dict[str, tuple[Forgetting, float]]:
        """Return what is owed longest, without what nobody has to insist on any more; nothing ends the thread."""
        now = time.monotonic()
        with self._lock:
            self._owed = {key: owed for key, owed in self._owed.items() if owed[1] > now}
            if not self._owed:
                self._thread = None
            return dict(islice(self._owed.items(), _BATCH))

    def _strike_out(self, paid: Mapping[str, tuple[Forgetting, float]]) -> None:
        with self._lock:
            for key, owed in paid.items():
                # It may be owed anew by now.
                if self._owed.get(key) is owed:
                    del self._owed[key]
