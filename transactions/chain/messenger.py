"""A thread that runs errands to one node, so that several nodes can be asked at once."""

import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
_Errand = tuple["Future[Any]", Callable[[], Any]]


class Messenger:
    """Run errands one after the other in a thread that keeps its connections, made at first use.

    It is a daemon, which a process never waits for at its end; it ends with the messenger; a forked child makes its
    own.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._pid = 0
        self._errands: SimpleQueue[_Errand | None] = SimpleQueue()

    def run(self, errand: Callable[[], T]) -> "Future[T]":
        """Have an errand run after those before it, and return its future."""
        future: Future[T] = Future()
        with self._lock:
            if self._pid != os.getpid():
                self._start()
            self._errands.put((future, errand))
        return future

    def _start(self) -> None:
        self._pid = os.getpid()
        self._errands = SimpleQueue()
        threading.Thread(target=_work, args=(self._errands,), name=self._name, daemon=True).start()
        weakref.finalize(self, self._errands.put, None)


def _work(errands: "SimpleQueue[_Errand | None]") -> None:
    while (item := errands.get()) is not None:
        future, errand = item
        try:
            future.set_result(errand())
        # Whatever it is, it belongs to whoever asked.
        except BaseException as error:  # noqa: BLE001
            future.set_exception(error)
