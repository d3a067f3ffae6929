"""What one process knows of one node: whether to ask it, and if not, why and until when."""

import logging
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from transactions.chain.exceptions import ChainError, ChainUnavailableError
from transactions.chain.types import NodeState, NodeTrouble

logger = logging.getLogger(__name__)

BACKOFF_SECONDS_MIN = 1.0
BACKOFF_SECONDS_MAX = 10.0
"""Low: the desk must be back soon after any outage, and a look at a node that is down costs little."""


class Health:
    """One node's standing. It is asked while it is known to be on our chain and in no trouble.

    Safe to share between threads.
    """

    def __init__(self, *, number: int, label: str, chain_id: int, clock: Callable[[], float]) -> None:
        self._number = number
        self._label = label
        self._chain_id = chain_id
        self._clock = clock
        self._lock = threading.Lock()
        self._trouble: NodeTrouble | None = NodeTrouble.UNKNOWN
        self._detail = ""
        self._failures = 0
        self._failed_at = 0.0
        self._chain_id_seen = chain_id
        self._open_questions = 0
        self.is_ours = False
        """Whether its chain id was found to be ours, and it has not failed since: it may have been replaced."""
        self.head_number = 0
        self.due_at = clock()
        """From when on a node that failed is looked at again."""

    @property
    def is_usable(self) -> bool:
        """Whether it can be asked without another look."""
        return self.is_ours and self._trouble is None

    @property
    def answers(self) -> bool:
        """Whether an answer can be waited for: it did not fail when it was last asked."""
        return self._trouble in (None, NodeTrouble.BEHIND, NodeTrouble.UNKNOWN)

    @property
    def is_due(self) -> bool:
        """Whether to look at it: always, or when its time has come if it failed."""
        return self.answers or self._clock() >= self.due_at

    @property
    def turn(self) -> tuple[bool, float]:
        """Where it stands among nodes that are all set aside: who failed longest ago, last who is on another chain."""
        return self._trouble is NodeTrouble.WRONG_CHAIN, self._failed_at

    @property
    def state(self) -> NodeState:
        """What people are told."""
        return NodeState(self._number, self._label, self._trouble, self._detail, is_awaited=self._open_questions > 0)

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """Count a question as open as long as it is."""
        with self._lock:
            self._open_questions += 1
        try:
            yield
        finally:
            with self._lock:
                self._open_questions -= 1

    def served(self) -> None:
        """Note that it answered a question: the next failure is its first."""
        with self._lock:
            self._failures = 0

    def failed(self, error: ChainError) -> None:
        """Set it aside for a while, for longer each time, and until its chain id is checked again."""
        unavailable = isinstance(error, ChainUnavailableError)
        with self._lock:
            self.is_ours = False
            self._postpone()
            self._set_aside(NodeTrouble.DOWN if unavailable else NodeTrouble.CONFUSED, str(error))

    def found(self, chain_id: int) -> bool:
        """Take in the chain id that it gave, and say whether it is ours."""
        with self._lock:
            self.is_ours = chain_id == self._chain_id
            if not self.is_ours:
                self._postpone()
                if chain_id != self._chain_id_seen:
                    logger.error("%s is on chain %d and not on %d.", self._label, chain_id, self._chain_id)
                self._trouble = NodeTrouble.WRONG_CHAIN
                self._detail = f"{self._label} is on chain {chain_id}"
            self._chain_id_seen = chain_id
            return self.is_ours

    def judge(self, blocks_behind: int, blocks_behind_max: int) -> None:
        """Let it be asked if it keeps up with the others, given that its chain id was found to be ours."""
        with self._lock:
            if not self.is_ours:
                return
            if blocks_behind > blocks_behind_max:
                self._set_aside(NodeTrouble.BEHIND, f"{self._label} is {blocks_behind} blocks behind")
            else:
                if self._trouble not in (None, NodeTrouble.UNKNOWN):
                    logger.info("%s is asked again.", self._label)
                self._trouble, self._detail = None, ""

    def _set_aside(self, trouble: NodeTrouble, detail: str) -> None:
        if trouble is not self._trouble:
            logger.warning("%s is set aside: %s", self._label, detail)
        self._trouble, self._detail = trouble, detail

    def _postpone(self) -> None:
        delay = min(BACKOFF_SECONDS_MAX, BACKOFF_SECONDS_MIN * 2**self._failures)
        self._failures = min(self._failures + 1, 10)
        # Many processes notice an outage at the same moment; they need not all come back at the same moment.
        self._failed_at = self._clock()
        self.due_at = self._failed_at + delay * random.uniform(0.5, 1.0)
