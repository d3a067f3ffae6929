"""One of the configured nodes: how it is asked, and what its answers say about it."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

from transactions.chain.exceptions import ChainBusyError, ChainError, NotOfferedError, WrongChainError
from transactions.chain.health import Health
from transactions.chain.messenger import Messenger
from transactions.chain.single import SingleNode
from transactions.chain.types import SendOutcome, SendResult

T = TypeVar("T")
Look = Future[tuple[int, int]]
"""A question for chain id and head number that is under way."""


class WatchedNode:
    """A node with its health, which every answer keeps up to date. No question reaches one on another chain.

    :param scout: the same node with a short time limit, for looks at it.
    """

    def __init__(self, single: SingleNode, *, scout: SingleNode, health: Health) -> None:
        self.single = single
        self.health = health
        self._scout = scout
        self._sends = Messenger(f"sends to {single.rpc.label}")
        self._looks = Messenger(f"looks at {single.rpc.label}")

    def __repr__(self) -> str:
        return f"<WatchedNode {self.single.rpc.label}>"

    def ask(self, question: Callable[[SingleNode], T]) -> T:
        """Put a question to the node, and before it that for its chain id if it isn't known or may have changed.

        :raises ChainError: when it gives no answer; it is set aside then, unless it only lacks what was asked for.
        """
        try:
            with self.health.awaited():
                self._require_our_chain()
                answer = question(self.single)
        except ChainError as error:
            self._note(error)
            raise
        self._note(None)
        return answer

    def send(self, raw: Sequence[bytes], hashes: Sequence[str]) -> list[SendResult]:
        """Send signed transactions and return one result for each."""
        failure: ChainError | None
        try:
            self._require_our_chain()
            results, failure = self.single.send_raw(raw, hashes)
        except ChainError as error:
            results, failure = [SendResult(SendOutcome.UNKNOWN, str(error))] * len(raw), error
        self._note(failure)
        return results

    def start_send(
        self, raw: Sequence[bytes], hashes: Sequence[str], *, even_if_aside: bool
    ) -> Future[list[SendResult]]:
        """Send in the background, after what was sent before; not to a node that was set aside in the meantime."""

        def errand() -> list[SendResult]:
            if even_if_aside or self.health.is_usable:
                return self.send(raw, hashes)
            return [SendResult(SendOutcome.UNKNOWN, f"{self.single.rpc.label} is set aside")] * len(raw)

        return self._sends.run(errand)

    def start_look(self) -> Look:
        """Ask for chain id and head in the background."""

        def errand() -> tuple[int, int]:
            with self.health.awaited():
                return self._scout.standing()

        return self._looks.run(errand)

    def take_in(self, look: Look) -> bool:
        """Note what a look has found, and say whether there is a new head of our chain to compare."""
        try:
            chain_id, head_number = look.result()
        except ChainError as error:
            self._note(error)
            return False
        if not self.health.found(chain_id):
            return False
        self.health.head_number = head_number
        return True

    def _require_our_chain(self) -> None:
        if self.health.is_ours:
            return
        if not self.health.found(self.single.chain_id()):
            raise WrongChainError(f"{self.health.state.detail}.")
        self.health.judge(blocks_behind=0, blocks_behind_max=0)

    def _note(self, failure: ChainError | None) -> None:
        if failure is None:
            self.health.served()
        elif not isinstance(failure, ChainBusyError | NotOfferedError | WrongChainError):
            self.health.failed(failure)
