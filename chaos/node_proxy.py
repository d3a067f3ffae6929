"""The proxy in front of the node."""

from chaos.moods import Mood
from txnsite.stack.rpc_proxy import NodeConnection, RpcProxy


class NodeProxy(RpcProxy):
    """Answer as the node's present mood has it."""

    def __init__(self, node_port: int, port: int) -> None:
        super().__init__(node_port, port)
        self._mood = Mood()

    def feel(self, mood: Mood) -> None:
        """Answer in this mood from now on."""
        before, self._mood = self._mood, mood
        before.end()

    def answer(self, body: bytes, node: NodeConnection) -> tuple[int, bytes]:
        return self._mood.answer(body, node)
