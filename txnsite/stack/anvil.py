"""anvil, the Ethereum node of the npm package `@foundry-rs/anvil`, on a loopback port."""

import contextlib
import http.client
import itertools
import json
import os
import platform
import shutil
from pathlib import Path
from typing import Any

from txnsite.stack.errors import StackError, StartError
from txnsite.stack.ports import LOOPBACK, free_port
from txnsite.stack.process import ChildProcess
from txnsite.stack.server import Server

CHAIN_ID = 31_337
BLOCK_GAS_LIMIT = 30_000_000
# As many as a full node of geth keeps. Without a limit anvil writes each block's whole state to disk, 1 GB in 2 h.
_STATES_KEPT = 128
_DUMP_EVERY_SECONDS = 2
_REPOSITORY = Path(__file__).resolve().parents[2]


class AnvilError(StackError):
    """The node answered a call with an error."""

    def __init__(self, method: str, code: int, message: str) -> None:
        super().__init__(f"{method}: {message} ({code})")
        self.code = code


class Anvil(Server):
    """One chain of its own. With a `state_dir` it goes on where it stopped, without its mempool.

    :param block_time_seconds: time between blocks; None mines a block for each transaction.
    :param mining: False mines only when `mine` is called, until `set_automine` or `set_block_time`.
    :param dump_every_seconds: how often the state is written to disk; None writes it only when the node is stopped in
        good order, which spares a long chain the work.
    """

    def __init__(
        self,
        *,
        log_path: Path,
        name: str = "anvil",
        port: int | None = None,
        state_dir: Path | None = None,
        block_time_seconds: int | None = None,
        mining: bool = True,
        chain_id: int = CHAIN_ID,
        dump_every_seconds: int | None = _DUMP_EVERY_SECONDS,
    ) -> None:
        self.name = name
        self.port = port or free_port()
        self.state_dir = state_dir
        self._block_time_seconds = block_time_seconds
        self._scratch = log_path.with_suffix(".scratch")
        self._calls = itertools.count(1)
        argv = [str(_binary()), "--host", LOOPBACK, "--port", str(self.port), "--quiet"]
        argv += ["--cache-path", str(self._scratch)]
        argv += ["--chain-id", str(chain_id), "--gas-limit", str(BLOCK_GAS_LIMIT), "--prune-history", str(_STATES_KEPT)]
        if block_time_seconds is not None:
            argv += ["--block-time", str(block_time_seconds)]
        if not mining:
            argv.append("--no-mining")
        if state_dir is not None:
            argv += ["--state", str(self._state_file)]
            if dump_every_seconds is not None:
                argv += ["--state-interval", str(dump_every_seconds)]
        self.process = ChildProcess(name, argv, log_path=log_path)

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def prepare(self) -> None:
        shutil.rmtree(self._scratch, ignore_errors=True)
        if self.state_dir is not None:
            self.state_dir.mkdir(parents=True, mode=0o700, exist_ok=True)
            self._mend_state()

    def is_ready(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError, StackError):
            return isinstance(self.rpc("eth_chainId"), str)
        return False

    def stop(self) -> None:
        """Stop it in good order, after a last block if it mines by itself, in time.

        While it mines it would keep what a block did, but not the block: nonces used and ether moved by nothing.
        """
        if self._block_time_seconds is not None:
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError, StackError):
                self.halt()
        super().stop()

    def rpc(self, method: str, *params: object) -> Any:
        """Return the result of one JSON-RPC call.

        :raises AnvilError: when the answer is an error.
        :raises OSError: when the node doesn't answer.
        """
        body = json.dumps({"jsonrpc": "2.0", "id": next(self._calls), "method": method, "params": params})
        # Mining thousands of blocks in one call takes its time.
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=60)
        try:
            connection.request("POST", "/", body, {"Content-Type": "application/json"})
            answer = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        if "error" in answer:
            raise AnvilError(method, answer["error"]["code"], answer["error"]["message"])
        return answer["result"]

    # --- The chain, from outside -------------------------------------------------------------------------------------
    def block_number(self) -> int:
        return int(self.rpc("eth_blockNumber"), 16)

    def block(self, number: int | str = "latest", *, full: bool = False) -> dict[str, Any]:
        """Return a block as the node tells it; `full` with its transactions instead of their hashes.

        :raises AnvilError: when there is none.
        """
        block = self.rpc("eth_getBlockByNumber", hex(number) if isinstance(number, int) else number, full)
        if block is None:
            raise AnvilError("eth_getBlockByNumber", -32001, f"no block {number}")
        return dict(block)

    def balance(self, address: str) -> int:
        """Return the latest balance in wei."""
        return int(self.rpc("eth_getBalance", address, "latest"), 16)

    def nonce(self, address: str, block: str = "latest") -> int:
        return int(self.rpc("eth_getTransactionCount", address, block), 16)

    def receipt(self, transaction_hash: str) -> dict[str, Any] | None:
        receipt: dict[str, Any] | None = self.rpc("eth_getTransactionReceipt", transaction_hash)
        return receipt

    def accounts(self) -> list[str]:
        """Return the addresses whose keys the node holds, each with 10,000 ether at the start."""
        return [str(address) for address in self.rpc("eth_accounts")]

    # --- What only a development node does ----------------------------------------------------------------------------
    def mine(self, blocks: int = 1) -> int:
        """Mine blocks now and return the number of the last one."""
        self.rpc("anvil_mine", hex(blocks))
        return self.block_number()

    def set_automine(self, on: bool) -> None:
        """Mine a block for each transaction, or only when `mine` is called."""
        self.rpc("evm_setAutomine", on)

    def set_block_time(self, seconds: int) -> None:
        """Mine a block each so many seconds; 0 stops that."""
        self.rpc("evm_setIntervalMining", seconds)

    def halt(self) -> None:
        """Mine no more blocks in time, and return when none is being mined: after a last one."""
        self.set_block_time(0)
        # Waits for the one that it may be at.
        self.mine()

    def set_balance(self, address: str, balance_in_wei: int) -> None:
        self.rpc("anvil_setBalance", address, hex(balance_in_wei))

    def transfer(self, to_address: str, amount_in_wei: int) -> str:
        """Send ether from the node's first account and return the hash."""
        call = {"from": self.accounts()[0], "to": to_address, "value": hex(amount_in_wei)}
        return str(self.rpc("eth_sendTransaction", call))

    def drop(self, transaction_hash: str) -> None:
        """Evict a transaction from the mempool."""
        self.rpc("anvil_dropTransaction", transaction_hash)

    def reorg(self, depth: int, transactions: list[tuple[str, int]] | None = None) -> None:
        """Replace the last `depth` blocks by empty ones with other hashes.

        :param transactions: pairs of a raw transaction (0x...) and the place, from 0, of the new block to put it in.
        """
        self.rpc("anvil_reorg", depth, [list(pair) for pair in transactions or []])

    def snapshot(self) -> str:
        """Remember the chain as it is; `revert` goes back to it, once."""
        return str(self.rpc("evm_snapshot"))

    def revert(self, snapshot: str) -> None:
        """Go back to a snapshot.

        :raises StackError: when it was used already or never made.
        """
        if not self.rpc("evm_revert", snapshot):
            raise StackError(f"anvil has no snapshot {snapshot}.")

    # --- The state on disk --------------------------------------------------------------------------------------------
    def keep_copy(self) -> None:
        """Copy the state file if it changed and is whole; call it now and then while the node runs.

        anvil rewrites the file in place: a crash at the wrong moment leaves a part of one.
        """
        if self.state_dir is None:
            return
        draft = self._copy.with_suffix(".part")
        with contextlib.suppress(FileNotFoundError):
            before = self._state_file.stat()
            if self._copy.exists() and before.st_mtime_ns <= self._copy.stat().st_mtime_ns:
                return
            shutil.copyfile(self._state_file, draft)
            os.utime(draft, ns=(before.st_atime_ns, before.st_mtime_ns))
            if _ends_whole(draft) and self._state_file.stat().st_mtime_ns == before.st_mtime_ns:
                draft.replace(self._copy)

    @property
    def _state_file(self) -> Path:
        assert self.state_dir is not None
        return self.state_dir / "state.json"

    @property
    def _copy(self) -> Path:
        return self._state_file.with_suffix(".copy.json")

    def _mend_state(self) -> None:
        """Put the last whole copy in the place of a state file that a crash cut short.

        :raises StartError: when there is no copy either.
        """
        if not self._state_file.exists() or _is_whole(self._state_file):
            return
        if not self._copy.exists():
            raise StartError(f"The chain's state in {self._state_file} is damaged; `make reset` begins anew.")
        shutil.copyfile(self._copy, self._state_file)


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"}"


def _is_whole(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return False
    return True


def _binary() -> Path:
    """Return the platform's program; the package's own start script would only add a Node process on top."""
    machine = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}.get(
        platform.machine().lower()
    )
    package = _REPOSITORY / "node_modules" / "@foundry-rs" / f"anvil-{platform.system().lower()}-{machine}"
    found = package / "bin" / "anvil"
    if not found.exists():
        raise StackError(f"anvil is not installed in {package}; `make install` does it.")
    return found
