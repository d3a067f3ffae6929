"""The same handles on the real node and on the fake one, for the contract test."""

import itertools
from collections.abc import Sequence
from typing import Protocol

from eth_utils.address import to_checksum_address

from accounts.keys import LocalSigner, SignedTransfer, UnsignedTransfer
from tests.fakes.chain import FakeChain
from transactions.chain import Chain
from transactions.chain.node import NodeChain, NodeOptions
from txnsite.stack.anvil import Anvil

CHAIN_ID = 31337
UNREACHABLE_URL = "http://127.0.0.1:1"
"""Port 1 (tcpmux) is closed on any machine that this runs on."""

GWEI = 10**9
ETHER = 10**18

RUNTIME_REVERTING = "60006000fd"
"""PUSH1 0 PUSH1 0 REVERT"""
RUNTIME_COSTLY = "60016000556001600055"
"""Store 1 at 0, twice: more gas than a plain transfer has."""


class ChainHarness(Protocol):
    """A chain, and the powers over it that a test needs. Each test takes fresh addresses: the chain may be shared."""

    chain: Chain
    unreachable: Chain

    def mine(self, blocks: int = 1) -> None:
        """Mine what waits."""

    def set_balance(self, address: str, wei: int) -> None:
        """Give an address exactly this balance."""

    def deploy(self, runtime: str) -> str:
        """Put a contract on the chain and return its address (EIP-55)."""

    def drop(self, transaction_hash: str) -> None:
        """Evict a transaction from the node's pool."""

    def reorg(self, depth: int) -> None:
        """Replace the last blocks by as many empty ones and forget their transactions."""


class FakeHarness:
    """The fake chain."""

    def __init__(self) -> None:
        self.fake = FakeChain()
        self.chain: Chain = self.fake
        down = FakeChain()
        down.down = True
        self.unreachable: Chain = down

    def mine(self, blocks: int = 1) -> None:
        """Mine what waits."""
        self.fake.mine(blocks)

    def set_balance(self, address: str, wei: int) -> None:
        """Set a balance."""
        self.fake.set_balance(address, wei)

    def deploy(self, runtime: str) -> str:
        """Teach the fake how a recipient behaves."""
        address = fresh_signer().address
        if runtime == RUNTIME_REVERTING:
            self.fake.reverting.add(address)
        else:
            self.fake.gas_by_recipient[address] = 45_000
        return address

    def drop(self, transaction_hash: str) -> None:
        """Evict a transaction."""
        self.fake.drop(transaction_hash)

    def reorg(self, depth: int) -> None:
        """Replace the last blocks."""
        self.fake.reorg(depth)


class AnvilHarness:
    """The real node, which mines only when told to."""

    def __init__(self, anvil: Anvil) -> None:
        self.anvil = anvil
        anvil.set_automine(False)
        options = NodeOptions(chain_id=CHAIN_ID, batch_size=500, timeout_seconds=10)
        self.chain: Chain = NodeChain([anvil.url], options)
        self.unreachable: Chain = NodeChain([UNREACHABLE_URL], options)

    def mine(self, blocks: int = 1) -> None:
        """Mine what waits."""
        self.anvil.mine(blocks)

    def set_balance(self, address: str, wei: int) -> None:
        """Set a balance."""
        self.anvil.set_balance(address, wei)

    def deploy(self, runtime: str) -> str:
        """Send a creation transaction from one of anvil's own accounts: its code copies the runtime out."""
        size = f"60{len(runtime) // 2:02x}"
        creation = {"from": self.anvil.accounts()[0], "data": f"0x{size}600c600039{size}6000f3{runtime}"}
        transaction_hash = self.anvil.rpc("eth_sendTransaction", creation)
        self.mine()
        receipt = self.anvil.receipt(transaction_hash)
        assert receipt is not None
        assert receipt["status"] == "0x1"
        return to_checksum_address(receipt["contractAddress"])

    def drop(self, transaction_hash: str) -> None:
        """Evict a transaction."""
        self.anvil.drop(transaction_hash)

    def reorg(self, depth: int) -> None:
        """Replace the last blocks."""
        self.anvil.reorg(depth)


_private_keys = itertools.count(2**200)


def fresh_signer() -> LocalSigner:
    """Return a signer that no other test in this process has used."""
    return LocalSigner(next(_private_keys).to_bytes(32, "big"))


def transfer(
    *,
    nonce: int,
    to_address: str,
    value_in_wei: int = 1,
    max_fee_in_gwei: int = 100,
    tip_in_gwei: int = 1,
    gas_limit: int = 21_000,
    chain_id: int = CHAIN_ID,
) -> UnsignedTransfer:
    """Return a transfer that pays enough gas unless told otherwise."""
    return UnsignedTransfer(
        chain_id, nonce, to_address, value_in_wei, gas_limit, max_fee_in_gwei * GWEI, tip_in_gwei * GWEI
    )


def raw_and_hashes(signed: Sequence[SignedTransfer]) -> tuple[list[bytes], list[str]]:
    """Return what send_raw takes."""
    return [one.raw for one in signed], [one.hash for one in signed]
