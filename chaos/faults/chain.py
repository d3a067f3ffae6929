"""The chain itself does what chains do: it forgets what waits, takes blocks back, stands still, gets dear."""

import contextlib
from collections.abc import Sequence
from random import Random

from chaos.faults.base import Fault, NotNowError
from chaos.stack import BLOCK_SECONDS, CONFIRMATIONS, Stack
from txnsite.stack.anvil import AnvilError

GWEI = 10**9


class MempoolLost(Fault):
    """The node forgets every transaction that is in no block yet."""

    name = "mempool lost"
    part = "node"

    def inject(self, stack: Stack) -> None:
        stack.anvil.rpc("anvil_dropAllTransactions")


class BlocksStop(Fault):
    """No block is mined for a while."""

    name = "no blocks"
    part = "node"

    def __init__(self, rng: Random) -> None:
        self.seconds = rng.uniform(3, 9)

    def inject(self, stack: Stack) -> None:
        stack.anvil.set_block_time(0)

    def heal(self, stack: Stack) -> None:
        stack.anvil.set_block_time(BLOCK_SECONDS)


class BaseFeeJumps(Fault):
    """The next block's base fee is far above what has been offered; it falls by an eighth a block (EIP-1559)."""

    name = "base fee jumps"
    part = "node"

    def __init__(self, rng: Random) -> None:
        self._base_fee_in_gwei = rng.randrange(3, 9)
        self.detail = f"{self._base_fee_in_gwei} gwei"

    def inject(self, stack: Stack) -> None:
        stack.anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(self._base_fee_in_gwei * GWEI))


class Reorg(Fault):
    """The last blocks are replaced by others, less deep than a payment has to be to count as final.

    What was in them is forgotten, waits in the mempool again, or is in another block already.
    """

    name = "reorg"
    part = "node"
    depths: Sequence[int] = range(1, CONFIRMATIONS)

    def __init__(self, rng: Random) -> None:
        self._depth = rng.choice(self.depths)
        self._fate = rng.choice(("forgotten", "in the mempool again", "in other blocks"))
        self._rng = Random(rng.random())
        self.detail = f"{self._depth} blocks, transactions {self._fate}"

    def inject(self, stack: Stack) -> None:
        # A restarted node knows the states of no older blocks, and can't go back to them.
        if stack.blocks_since_start() <= self._depth:
            raise NotNowError("the node was started only just now")
        try:
            # No block may come between: what it held would be neither here nor there.
            stack.anvil.halt()
            self._replace_blocks(stack)
        finally:
            stack.anvil.set_block_time(BLOCK_SECONDS)

    def _replace_blocks(self, stack: Stack) -> None:
        raw = self._raw_transactions(stack)
        moved = self._places(raw) if self._fate == "in other blocks" else []
        try:
            stack.anvil.reorg(self._depth, moved)
        except AnvilError as error:
            raise NotNowError(str(error)) from error
        if self._fate == "in the mempool again":
            for each in raw:
                with contextlib.suppress(AnvilError):
                    stack.anvil.rpc("eth_sendRawTransaction", each)

    def _raw_transactions(self, stack: Stack) -> list[str]:
        """Return what the blocks hold that are about to go, in the chain's order."""
        head = stack.anvil.block_number()
        hashes = [
            transaction_hash
            for number in range(head - self._depth + 1, head + 1)
            for transaction_hash in stack.anvil.block(number)["transactions"]
        ]
        return [str(stack.anvil.rpc("eth_getRawTransactionByHash", each)) for each in hashes]

    def _places(self, raw: list[str]) -> list[tuple[str, int]]:
        """Return each transaction with its place among the new blocks; nonces stay in order."""
        return list(zip(raw, sorted(self._rng.randrange(self._depth) for _ in raw), strict=True))


class DeepReorg(Reorg):
    """Blocks are replaced that hold payments which have counted as final."""

    name = "deep reorg"
    depths = range(CONFIRMATIONS, CONFIRMATIONS + 5)
