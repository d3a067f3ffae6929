"""Which of the nodes are asked, and in which order: those that answer, keep up and are on our chain, as configured."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import wait

from transactions.chain.exceptions import ChainUnavailableError
from transactions.chain.types import NodeState
from transactions.chain.watched import Look, WatchedNode

LOOK_EVERY_SECONDS = 5.0
LOOK_TIMEOUT_SECONDS = 2.0
LOOK_WAIT_SECONDS = 2.5
"""A little more than a look's own time limit, which counts connecting and reading apart."""


class Roster:
    """The nodes in the order of preference. Safe to share between threads.

    When there are several, all of them are looked at now and then, at once, and their heads compared. One alone is
    never looked at: its questions tell enough, and there is none to compare it with.
    """

    def __init__(
        self, nodes: Sequence[WatchedNode], *, lag_blocks_max: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.nodes = list(nodes)
        self._lag_blocks_max = lag_blocks_max
        self._clock = clock
        self._looking = threading.Lock()
        self._looks: dict[WatchedNode, Look] = {}
        self._next_look_at = clock()

    def in_turn(self) -> Iterator[WatchedNode]:
        """Yield the nodes to put a question to, one after the other until one has answered.

        When none is left that isn't set aside, the one that failed longest ago is asked all the same.
        """
        self._look_if_due()
        left = list(self.nodes)
        while usable := [node for node in left if node.health.is_usable]:
            left.remove(usable[0])
            yield usable[0]
        if left and not self._usable():
            yield min(left, key=lambda node: node.health.turn)

    def for_sends(self) -> tuple[list[WatchedNode], bool]:
        """Return the nodes to offer transactions to, and whether they are set aside: all are, if there is no better."""
        self._look_if_due()
        usable = self._usable()
        return (usable, False) if usable else (self.nodes, True)

    def states(self) -> list[NodeState]:
        """Return what is known of each node now."""
        return [node.health.state for node in self.nodes]

    def _usable(self) -> list[WatchedNode]:
        return [node for node in self.nodes if node.health.is_usable]

    def _look_if_due(self) -> None:
        """Look at the nodes if the last look is old. Only one thread does; others wait only if they know of no node."""
        if len(self.nodes) < 2 or not self._looking.acquire(blocking=not self._usable()):
            return
        try:
            if self._clock() >= self._next_look_at:
                self._look()
            self._take_in()
        finally:
            self._looking.release()

    def _look(self) -> None:
        """Ask all nodes at once, and wait for those that answered last time; others report when they can."""
        for node in self.nodes:
            if node.health.is_due and node not in self._looks:
                self._looks[node] = node.start_look()
        awaited = [node for node in self._looks if node.health.answers]
        wait([self._looks[node] for node in awaited], timeout=LOOK_WAIT_SECONDS)
        for node in awaited:
            if not self._looks[node].done():
                # What it answers later is too late to count.
                del self._looks[node]
                node.health.failed(ChainUnavailableError(f"{node.single.rpc.label} does not answer in time"))
        self._next_look_at = self._clock() + LOOK_EVERY_SECONDS

    def _take_in(self) -> None:
        """Take in what looks have found, and set aside those that lag behind the best head of our chain."""
        done = [node for node, look in self._looks.items() if look.done()]
        answered = [node for node in done if node.take_in(self._looks.pop(node))]
        best = max((node.health.head_number for node in self.nodes if node.health.is_ours), default=0)
        for node in answered:
            node.health.judge(best - node.health.head_number, self._lag_blocks_max)
