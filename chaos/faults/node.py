"""The Ethereum node fails: it is away, answers badly, late or not at all, or is behind."""

from random import Random

from chaos.faults.base import Fault
from chaos.lag import Lag
from chaos.moods import HttpErrors, Mood, PartialAnswers, RpcErrors, Silence
from chaos.stack import Stack

_SEND = "eth_sendRawTransaction"
_ERRORS = ((-32000, "header not found"), (-32603, "Internal error"), (-32005, "limit exceeded"))


class NodeRestarted(Fault):
    """The node is stopped and started again: its chain is there, its mempool is not."""

    name = "node restarted"
    part = "node"

    def __init__(self, rng: Random) -> None:
        self.seconds = rng.choice((0.0, rng.uniform(0.5, 8)))

    def inject(self, stack: Stack) -> None:
        stack.anvil.held_down = True
        stack.anvil.stop()

    def heal(self, stack: Stack) -> None:
        if not stack.anvil.is_running:
            stack.anvil.start()
        stack.anvil.held_down = False
        stack.note_node_start()


class _Moody(Fault):
    """The node is in a bad mood for a while."""

    part = "node"

    def __init__(self, rng: Random) -> None:
        self.seconds = rng.uniform(1, 7)
        # Of its own, for what is decided request by request.
        self._rng = Random(rng.random())

    def inject(self, stack: Stack) -> None:
        stack.node_proxy.feel(self._mood(stack))

    def heal(self, stack: Stack) -> None:
        stack.node_proxy.feel(Mood())

    def _mood(self, stack: Stack) -> Mood:
        raise NotImplementedError


class NodeHttpErrors(_Moody):
    """A gateway answers in the node's place."""

    name = "node answers HTTP errors"

    def __init__(self, rng: Random) -> None:
        super().__init__(rng)
        self._status = rng.choice((429, 500, 502, 503))
        self.detail = str(self._status)

    def _mood(self, stack: Stack) -> Mood:
        return HttpErrors(self._status)


class NodeRpcErrors(_Moody):
    """The node answers calls with errors: all, or some."""

    name = "node answers JSON-RPC errors"

    def __init__(self, rng: Random) -> None:
        super().__init__(rng)
        self._code, self._message = rng.choice(_ERRORS)
        self._share = rng.choice((1.0, rng.uniform(0.1, 0.7)))
        self.detail = f"{self._code}, {self._share:.0%} of the calls"

    def _mood(self, stack: Stack) -> Mood:
        return RpcErrors(self._code, self._message, self._share, self._rng)


class NodePartialAnswers(_Moody):
    """The node leaves replies out of its batches, or mixes them up."""

    name = "node answers in part"

    def __init__(self, rng: Random) -> None:
        super().__init__(rng)
        self._share = rng.uniform(0.3, 1)
        self.detail = f"{self._share:.0%} of the batches"

    def _mood(self, stack: Stack) -> Mood:
        return PartialAnswers(self._share, self._rng)


class NodeTimesOut(_Moody):
    """The node hears nothing and answers nothing."""

    name = "node times out"

    def _mood(self, stack: Stack) -> Mood:
        return Silence(has_heard=False, hangs=True)


class NodeTimesOutAfterAccepting(_Moody):
    """The node takes transactions and their senders never learn it: a time-out, or a connection that breaks."""

    name = "node accepts, answer lost"

    def __init__(self, rng: Random) -> None:
        super().__init__(rng)
        self._hangs = rng.random() < 0.5
        self._only_sends = rng.random() < 0.7
        self.detail = f"{'times out' if self._hangs else 'breaks off'}, {'sends' if self._only_sends else 'all calls'}"

    def _mood(self, stack: Stack) -> Mood:
        return Silence(has_heard=True, hangs=self._hangs, methods=(_SEND,) if self._only_sends else ())


class NodeLags(_Moody):
    """The node stays some blocks behind; with a share below 100 %, some requests meet one that doesn't."""

    name = "node lags"

    def __init__(self, rng: Random) -> None:
        super().__init__(rng)
        self.seconds = rng.uniform(2, 10)
        self._blocks = rng.randrange(6)
        self._share = rng.choice((1.0, rng.uniform(0.2, 0.8)))
        self.detail = f"{self._blocks} blocks behind, {self._share:.0%} of the requests"

    def _mood(self, stack: Stack) -> Mood:
        return Lag(stack.anvil.block_number(), self._blocks, self._share, self._rng)
