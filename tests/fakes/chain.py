"""A chain in memory for tests: deterministic, as strict as a node, and able to fail in every way a node can.

It is held to the same contract test as the real node (tests/chain/test_contract.py).
"""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from eth_utils.crypto import keccak

from tests.fakes.blocks import FakeBlock, FakeTransaction, body_as_json, decode_transaction
from transactions.chain import (
    BlockBody,
    BlockHeader,
    BroadcastTerms,
    ChainUnavailableError,
    ChainView,
    EstimateOutcome,
    FeeQuote,
    GasEstimate,
    MinedTransaction,
    NodeState,
    NodeTrouble,
    NonceCount,
    Receipt,
    SendOutcome,
    SendResult,
    Transfer,
)

PLAIN_GAS = 21_000
REVERT_GAS = 21_006


class FakeChain:
    """A `Chain` whose blocks, fees and faults are set by the test.

    Faults: `down`, `lose_answers()`, `refuse()`, `drop()`, `reorg()`, and the attributes below. Addresses are EIP-55.
    """

    def __init__(self, *, chain_id: int = 31337, genesis_timestamp: int = 1_700_000_000) -> None:
        self.id = chain_id
        self.base_fee_per_gas_in_wei = 1_000_000_000
        self.max_priority_fee_per_gas_in_wei = 1_000_000_000
        self.block_seconds = 12
        self.gas_limit = 30_000_000
        self.finalized_depth = 64
        self.l1_fee_in_wei = 0
        self.down = False
        self.reverting: set[str] = set()
        """Recipients that refuse ether: estimates say so, and what is mined all the same reverts."""
        self.gas_by_recipient: dict[str, int] = {}
        """Recipients whose code needs more gas than a plain transfer; with less, a mined transfer fails."""
        self.unknown_recipients: set[str] = set()
        """Recipients for which an estimate fails without saying anything."""
        self.receipts_lag_blocks = 0
        """How many blocks after its own a receipt can first be read (a node whose index lags behind its head)."""
        self.has_block_receipts = True
        self.has_finalized = True
        self.blocks_remembered = 128
        """How many blocks back the counts of an address can be read, as on a full node (anvil is told so too)."""
        self.asked: Counter[str] = Counter()
        """How often each method was called."""
        self._lost_answers = 0
        self._refusals: list[str] = []
        self._pool: dict[str, FakeTransaction] = {}
        self._forks = 0
        self._lock = threading.RLock()
        self.blocks = [FakeBlock(BlockHeader(0, self._hash(0, "", ()), "0x" + "00" * 32, genesis_timestamp, 10**9, 1))]

    # What the test does to the chain.

    def set_balance(self, address: str, wei: int) -> None:
        """Give an address exactly this balance from the head block on."""
        self._head.balances[address] = wei

    def mine(self, blocks: int = 1, *, empty: bool = False, only: Iterable[str] | None = None) -> BlockHeader:
        """Mine the pool into the first of some new blocks and return the head.

        `empty` leaves the pool waiting; `only` takes just the transactions of these hashes, where their nonces allow.
        """
        with self._lock:
            wanted = None if only is None else set(only)
            for index in range(blocks):
                self._append_block([] if empty or index else self._executable(wanted))
            return self._head.header

    def reorg(self, depth: int, *, back_to_pool: bool = False) -> None:
        """Replace the last `depth` blocks by as many empty ones; their transactions are lost or wait again."""
        with self._lock:
            removed, self.blocks = self.blocks[-depth:], self.blocks[:-depth]
            self._forks += 1
            for _ in removed:
                self._append_block([])
            if back_to_pool:
                self._pool |= {mined.hash: mined for block in removed for mined in block.transactions}

    def use_up_nonce(self, address: str) -> None:
        """Use up the next nonce of an address without a transaction of its own (EIP-7702: an authorization)."""
        with self._lock:
            self.mine(empty=True)
            self._head.nonces[address] = self._head.nonces.get(address, 0) + 1

    def drop(self, transaction_hash: str) -> None:
        """Evict a transaction from the pool."""
        del self._pool[transaction_hash]

    def put_back(self, raw: bytes) -> None:
        """Let a transaction wait again, as if a miner had kept it: no fee or replacement rule is asked."""
        transaction = decode_transaction(raw)
        assert transaction is not None
        self._pool[transaction.hash] = transaction

    def lose_answers(self, sends: int = 1) -> None:
        """Accept all of the next calls of send_raw, and lose the answer on the way back."""
        self._lost_answers += sends

    def refuse(self, message: str, times: int = 1) -> None:
        """Refuse the next transactions with words that nobody has heard before: UNKNOWN, and not taken."""
        self._refusals += [message] * times

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Be down inside of the `with` block."""
        self.down = True
        try:
            yield
        finally:
            self.down = False

    # What the test sees of the chain.

    @property
    def pool(self) -> dict[str, FakeTransaction]:
        """The waiting transactions by hash."""
        return dict(self._pool)

    @property
    def mined(self) -> list[tuple[FakeTransaction, Receipt]]:
        """All transactions of the canonical chain with their receipts, in order."""
        return [pair for block in self.blocks for pair in zip(block.transactions, block.receipts, strict=True)]

    def paid(self, to_address: str) -> list[int]:
        """Return the value of each transfer that reached this address."""
        return [tx.value_in_wei for tx, receipt in self.mined if tx.to_address == to_address and receipt.succeeded]

    # The contract of `Chain`, which documents the methods.

    def chain_id(self) -> int:
        """Return the chain's id."""
        self._enter("chain_id")
        return self.id

    def view(self, addresses: Sequence[str], *, with_finalized: bool) -> ChainView:
        """Return head, finalized block and counts."""
        self._enter("view")
        head = self._head.header
        finalized = max(0, head.number - self.finalized_depth) if with_finalized and self.has_finalized else None
        return ChainView(head, finalized, self._counts(addresses))

    def headers(self, numbers: Sequence[int]) -> dict[int, BlockHeader]:
        """Return the blocks there are."""
        self._enter("headers")
        return {number: self.blocks[number].header for number in numbers if 0 <= number < len(self.blocks)}

    def terms(self, transfers: Sequence[Transfer], addresses: Sequence[str]) -> BroadcastTerms:
        """Return fees, balances, counts and estimates."""
        self._enter("terms")
        wanted = list(dict.fromkeys([*addresses, *(transfer.from_address for transfer in transfers)]))
        return BroadcastTerms(
            FeeQuote(self.base_fee_per_gas_in_wei, self.max_priority_fee_per_gas_in_wei),
            {address: self._head.balances.get(address, 0) for address in wanted},
            self._counts(wanted),
            [self._estimate(transfer) for transfer in transfers],
        )

    def send_raw(self, raw: Sequence[bytes], hashes: Sequence[str]) -> list[SendResult]:
        """Take transactions into the pool."""
        self.asked["send_raw"] += 1
        if self.down:
            return [SendResult(SendOutcome.UNKNOWN, "the fake node is down")] * len(raw)
        with self._lock:
            results = [self._send(signed, hash_) for signed, hash_ in zip(raw, hashes, strict=True)]
        if self._lost_answers:
            self._lost_answers -= 1
            return [SendResult(SendOutcome.UNKNOWN, "the answer was lost")] * len(raw)
        return results

    def receipts(self, hashes: Sequence[str]) -> dict[str, Receipt]:
        """Return the receipts there are now."""
        self._enter("receipts")
        visible = {receipt.transaction_hash: receipt for block in self._readable_blocks() for receipt in block.receipts}
        return {hash_: visible[hash_] for hash_ in hashes if hash_ in visible}

    def block_receipts(self, numbers: Sequence[int]) -> dict[int, list[Receipt]]:
        """Return the receipts of whole blocks."""
        self._enter("block_receipts")
        if not self.has_block_receipts:
            return {}
        readable = {block.header.number: block for block in self._readable_blocks()}
        return {number: list(readable[number].receipts) for number in numbers if number in readable}

    def known(self, hashes: Sequence[str]) -> set[str]:
        """Return the transactions that wait or are mined."""
        self._enter("known")
        return {hash_ for hash_ in hashes if self._has(hash_)}

    def balances(self, addresses: Sequence[str], *, block_number: int | None) -> dict[str, int]:
        """Return balances at a block or at the head."""
        self._enter("balances")
        block = self._head if block_number is None else self.blocks[block_number]
        return {address: block.balances.get(address, 0) for address in addresses}

    def nonces(self, addresses: Sequence[str], *, block_number: int) -> dict[str, int]:
        """Return counts of transactions up to a block."""
        self._enter("nonces")
        return {address: self.blocks[block_number].nonces.get(address, 0) for address in addresses}

    def transactions_of(self, address: str, nonces: Sequence[int]) -> dict[int, MinedTransaction]:
        """Find mined transactions by sender and nonce."""
        self._enter("transactions_of")
        oldest = self._head.header.number - self.blocks_remembered
        return {
            tx.nonce: MinedTransaction(
                tx.hash,
                tx.nonce,
                tx.to_address,
                tx.value_in_wei,
                receipt.block_number,
                receipt.block_hash,
                receipt.succeeded,
            )
            for tx, receipt in self.mined
            if tx.from_address == address and tx.nonce in nonces and receipt.block_number >= oldest
        }

    def block_body(self, number: int) -> BlockBody | None:
        """Return a whole block."""
        self._enter("block_body")
        if not 0 <= number < len(self.blocks):
            return None
        return BlockBody(self.blocks[number].header, body_as_json(self.blocks[number]))

    def node_states(self) -> list[NodeState]:
        """Return the one node there is."""
        return [NodeState(1, "the fake node", NodeTrouble.DOWN if self.down else None, "")]

    # How it works inside.

    @property
    def _head(self) -> FakeBlock:
        return self.blocks[-1]

    def _enter(self, method: str) -> None:
        self.asked[method] += 1
        if self.down:
            raise ChainUnavailableError("The fake node is down.")

    def _counts(self, addresses: Iterable[str]) -> dict[str, NonceCount]:
        slots = {transaction.slot for transaction in self._pool.values()}
        found: dict[str, NonceCount] = {}
        for address in addresses:
            latest = pending = self._head.nonces.get(address, 0)
            while (address, pending) in slots:
                pending += 1
            found[address] = NonceCount(latest, pending)
        return found

    def _readable_blocks(self) -> list[FakeBlock]:
        return self.blocks[: max(0, len(self.blocks) - self.receipts_lag_blocks)]

    def _has(self, transaction_hash: str) -> bool:
        return transaction_hash in self._pool or any(tx.hash == transaction_hash for tx, _ in self.mined)

    def _estimate(self, transfer: Transfer) -> GasEstimate:
        if transfer.value_in_wei > self._head.balances.get(transfer.from_address, 0):
            return GasEstimate(None, EstimateOutcome.UNKNOWN, "insufficient funds for the value of this transfer")
        if transfer.to_address in self.reverting:
            return GasEstimate(None, EstimateOutcome.REVERTED, "execution reverted")
        if transfer.to_address in self.unknown_recipients:
            return GasEstimate(None, EstimateOutcome.UNKNOWN, "the fake node has no idea")
        return GasEstimate(self.gas_by_recipient.get(transfer.to_address, PLAIN_GAS), EstimateOutcome.OK)

    def _send(self, raw: bytes, expected_hash: str) -> SendResult:
        if self._refusals:
            return SendResult(SendOutcome.UNKNOWN, self._refusals.pop(0))
        transaction = decode_transaction(raw)
        if transaction is None or transaction.hash != expected_hash or transaction.chain_id != self.id:
            return SendResult(SendOutcome.UNKNOWN, "invalid transaction")
        if self._has(transaction.hash):
            return SendResult(SendOutcome.ACCEPTED, "already known")
        if transaction.nonce < self._head.nonces.get(transaction.from_address, 0):
            return SendResult(SendOutcome.NONCE_TOO_LOW, "nonce too low")
        if transaction.cost_max_in_wei > self._head.balances.get(transaction.from_address, 0):
            return SendResult(SendOutcome.INSUFFICIENT_FUNDS, "insufficient funds for gas * price + value")
        if transaction.max_fee_per_gas_in_wei < self.base_fee_per_gas_in_wei:
            return SendResult(SendOutcome.UNDERPRICED, "max fee per gas less than block base fee")
        rival = next((tx for tx in self._pool.values() if tx.slot == transaction.slot), None)
        if rival is not None:
            if not transaction.outbids(rival):
                return SendResult(SendOutcome.UNDERPRICED, "replacement transaction underpriced")
            del self._pool[rival.hash]
        self._pool[transaction.hash] = transaction
        return SendResult(SendOutcome.ACCEPTED)

    def _executable(self, wanted: set[str] | None) -> list[FakeTransaction]:
        """Pick from the pool what a miner may take now: nonces without gaps, fees above the base fee, gas that fits."""
        nonces, picked, gas_left = dict(self._head.nonces), [], self.gas_limit
        for transaction in sorted(self._pool.values(), key=lambda tx: tx.slot):
            sender = transaction.from_address
            if (
                (wanted is None or transaction.hash in wanted)
                and transaction.nonce == nonces.get(sender, 0)
                and transaction.max_fee_per_gas_in_wei >= self.base_fee_per_gas_in_wei
                and transaction.gas_limit <= gas_left
            ):
                nonces[sender] = transaction.nonce + 1
                gas_left -= self._gas_used(transaction)
                picked.append(transaction)
        return picked

    def _gas_used(self, transaction: FakeTransaction) -> int:
        if transaction.to_address in self.reverting:
            return min(REVERT_GAS, transaction.gas_limit)
        return min(self.gas_by_recipient.get(transaction.to_address, PLAIN_GAS), transaction.gas_limit)

    def _append_block(self, picked: Sequence[FakeTransaction]) -> None:
        parent = self._head
        number = parent.header.number + 1
        header = BlockHeader(
            number=number,
            hash=self._hash(number, parent.header.hash, [tx.hash for tx in picked]),
            parent_hash=parent.header.hash,
            timestamp=parent.header.timestamp + self.block_seconds,
            base_fee_per_gas_in_wei=self.base_fee_per_gas_in_wei,
            gas_limit=self.gas_limit,
        )
        block = FakeBlock(header, balances=dict(parent.balances), nonces=dict(parent.nonces))
        done = [(tx, receipt) for tx in picked if (receipt := self._execute(tx, block)) is not None]
        block = replace(block, transactions=tuple(tx for tx, _ in done), receipts=tuple(receipt for _, receipt in done))
        self.blocks.append(block)
        for transaction in list(self._pool.values()):
            if transaction.nonce < block.nonces.get(transaction.from_address, 0):
                del self._pool[transaction.hash]

    def _execute(self, transaction: FakeTransaction, block: FakeBlock) -> Receipt | None:
        """Move the money and return the receipt; None where the balance has shrunk below the cost since the send."""
        sender, recipient = transaction.from_address, transaction.to_address
        gas_used = self._gas_used(transaction)
        price = transaction.price_in_wei(self.base_fee_per_gas_in_wei)
        fee = gas_used * price + self.l1_fee_in_wei
        balances = block.balances
        if transaction.nonce != block.nonces.get(sender, 0) or balances.get(sender, 0) < transaction.value_in_wei + fee:
            return None
        succeeded = recipient not in self.reverting and gas_used >= self.gas_by_recipient.get(recipient, PLAIN_GAS)
        balances[sender] -= fee
        if succeeded:
            balances[sender] -= transaction.value_in_wei
            balances[recipient] = balances.get(recipient, 0) + transaction.value_in_wei
        block.nonces[sender] = transaction.nonce + 1
        header = block.header
        return Receipt(transaction.hash, header.number, header.hash, succeeded, gas_used, price, fee)

    def _hash(self, number: int, parent_hash: str, transaction_hashes: Sequence[str]) -> str:
        return "0x" + keccak(text=f"{self._forks}:{number}:{parent_hash}:{':'.join(transaction_hashes)}").hex()
