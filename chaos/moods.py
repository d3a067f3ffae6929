"""What a node can be like: a mood turns a request into an answer, or into none."""

import json
import threading
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from txnsite.stack.rpc_proxy import NoAnswerError, NodeConnection

Call = dict[str, Any]
HANG_SECONDS_MAX = 60.0


class Mood:
    """A node that works."""

    def answer(self, body: bytes, node: NodeConnection) -> tuple[int, bytes]:
        """Return HTTP status and body.

        :raises NoAnswerError: when there is to be none.
        """
        return node.ask(body)

    def end(self) -> None:
        """Let those go whom this mood keeps waiting; called when it is over."""


class HttpErrors(Mood):
    """A gateway that answers for the node, with an error."""

    def __init__(self, status: int) -> None:
        self.status = status

    def answer(self, body: bytes, node: NodeConnection) -> tuple[int, bytes]:
        return self.status, b'{"error": "not now"}'


class RpcErrors(Mood):
    """A node that answers a share of the calls with an error, the others as always."""

    def __init__(self, code: int, message: str, share: float, rng: Random) -> None:
        self.code, self.message, self.share = code, message, share
        self._rng = rng

    def answer(self, body: bytes, node: NodeConnection) -> tuple[int, bytes]:
        status, content = node.ask(body)
        return status, _change(content, self._spoil)

    def _spoil(self, replies: list[Any]) -> list[Any]:
        error = {"code": self.code, "message": self.message}
        return [
            {"jsonrpc": "2.0", "id": reply.get("id"), "error": error} if self._rng.random() < self.share else reply
            for reply in replies
        ]


class PartialAnswers(Mood):
    """A node that leaves replies out of its batches, or gives them in another order."""

    def __init__(self, share: float, rng: Random) -> None:
        self.share = share
        self._rng = rng

    def answer(self, body: bytes, node: NodeConnection) -> tuple[int, bytes]:
        status, content = node.ask(body)
        return status, _change(content, self._leave_out)

    def _leave_out(self, replies: list[Any]) -> list[Any]:
        if len(replies) < 2 or self._rng.random() >= self.share:
            return replies
        if self._rng.random() < 0.5:
            return replies[::-1]
        return replies[: self._rng.randrange(1, len(replies))]


class Silence(Mood):
    """A node that doesn't answer in time.

    :param has_heard: whether it does what it is asked all the same: a transaction is accepted, and nobody is told.
    :param methods: with names, only requests that hold one of these calls go without an answer.
    :param hangs: the client waits until its own time-out; otherwise the connection is closed at once.
    """

    def __init__(self, *, has_heard: bool, hangs: bool, methods: Sequence[str] = ()) -> None:
        self.has_heard, self.hangs, self.methods = has_heard, hangs, frozenset(methods)
        self._over = threading.Event()

    def answer(self, body: bytes, node: NodeConnection) -> tuple[int, bytes]:
        if self.methods and self.methods.isdisjoint(call["method"] for call in calls_of(body)):
            return node.ask(body)
        if self.has_heard:
            node.ask(body)
        if self.hangs:
            self._over.wait(HANG_SECONDS_MAX)
        raise NoAnswerError

    def end(self) -> None:
        self._over.set()


def calls_of(body: bytes) -> list[Call]:
    message = json.loads(body)
    return message if isinstance(message, list) else [message]


def _change(content: bytes, change: Callable[[list[Any]], list[Any]]) -> bytes:
    """Apply a change to the replies in an answer, of one call or of a batch."""
    message = json.loads(content)
    if isinstance(message, list):
        return json.dumps(change(message)).encode()
    return json.dumps(next(iter(change([message])), message)).encode()
