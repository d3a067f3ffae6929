"""PostgreSQL, the two Valkeys (broker, cache) and the site's connections fail."""

from random import Random
from typing import LiteralString

import psutil

from chaos.faults.base import Fault, NotNowError
from chaos.stack import DATABASE, Stack
from txnsite.stack.server import Server
from txnsite.stack.valkey import tell_valkey


class _Restart(Fault):
    """A server goes away, and comes back at the same address with the same files."""

    def __init__(self, rng: Random) -> None:
        self.seconds = rng.choice((0.0, rng.uniform(0.5, 6)))

    def inject(self, stack: Stack) -> None:
        server = self._server(stack)
        server.held_down = True
        self._end(stack)
        stack.proxies[self.part].refuse()

    def heal(self, stack: Stack) -> None:
        server = self._server(stack)
        if not server.is_running:
            server.start()
        server.held_down = False
        stack.proxies[self.part].admit()

    def _server(self, stack: Stack) -> Server:
        return stack.servers[self.part]

    def _end(self, stack: Stack) -> None:
        self._server(stack).stop()


class PostgresRestarted(_Restart):
    """PostgreSQL is restarted fast: clients are disconnected, everything is written (SIGINT)."""

    name = "PostgreSQL restarted (fast)"
    part = "PostgreSQL"


class PostgresStoppedImmediately(_Restart):
    """PostgreSQL stops without writing anything more (SIGQUIT), and recovers from its log."""

    name = "PostgreSQL restarted (immediate)"
    part = "PostgreSQL"

    def _end(self, stack: Stack) -> None:
        stack.postgres.stop_immediately()


class PostgresBackendKilled(Fault):
    """One of PostgreSQL's processes dies (SIGKILL), and the server ends all connections and recovers."""

    name = "PostgreSQL backend killed"
    part = "PostgreSQL"

    def __init__(self, rng: Random) -> None:
        self._share = rng.random()

    def inject(self, stack: Stack) -> None:
        try:
            family = psutil.Process(stack.postgres.pid).children(recursive=True)
            backends = [child for child in family if f": {DATABASE} {DATABASE} " in " ".join(child.cmdline())]
            if backends:
                backends[int(self._share * len(backends))].kill()
                return
        except psutil.NoSuchProcess:
            pass
        raise NotNowError("PostgreSQL has no connections")


class PostgresReadOnly(Fault):
    """PostgreSQL lets nobody write, as a standby does to which clients were sent too early."""

    name = "PostgreSQL read-only"
    part = "PostgreSQL"

    def __init__(self, rng: Random) -> None:
        self.seconds = rng.uniform(1, 6)

    def inject(self, stack: Stack) -> None:
        self._tell(stack, "ALTER SYSTEM SET default_transaction_read_only = on")

    def heal(self, stack: Stack) -> None:
        self._tell(stack, "ALTER SYSTEM RESET default_transaction_read_only")

    def _tell(self, stack: Stack, statement: LiteralString) -> None:
        with stack.postgres.connect() as connection:
            connection.execute(statement)
            connection.execute("SELECT pg_reload_conf()")


class ValkeyRestarted(_Restart):
    """A Valkey is restarted in good order (SIGTERM)."""

    def __init__(self, part: str, rng: Random) -> None:
        super().__init__(rng)
        self.part = part
        self.name = f"{part} restarted"


class ValkeyKilled(_Restart):
    """A Valkey dies (SIGKILL): the broker comes back without what it wrote in its last second, the cache empty."""

    def __init__(self, part: str, rng: Random) -> None:
        super().__init__(rng)
        self.part = part
        self.name = f"{part} killed"

    def _end(self, stack: Stack) -> None:
        self._server(stack).kill()


class ValkeyFlushed(Fault):
    """A Valkey forgets everything: messages, or locks and cached details."""

    def __init__(self, part: str, rng: Random) -> None:
        self.part = part
        self.name = f"{part} flushed"

    def inject(self, stack: Stack) -> None:
        stack.valkeys[self.part].flush()


class ValkeyFull(Fault):
    """A Valkey has no memory left: it refuses whatever would take more, and the cache may forget all it has first."""

    def __init__(self, part: str, rng: Random) -> None:
        self.part = part
        self.name = f"{part} full"
        self.seconds = rng.uniform(1, 6)
        self._evicts = part == "cache" and rng.random() < 0.5
        self.detail = "forgets and refuses" if self._evicts else "refuses"

    def inject(self, stack: Stack) -> None:
        self._set(stack, "1", "allkeys-lru" if self._evicts else "noeviction")

    def heal(self, stack: Stack) -> None:
        if self.part == "cache":
            self._set(stack, "64mb", "allkeys-lru")
        else:
            self._set(stack, "0", "noeviction")

    def _set(self, stack: Stack, maxmemory: str, policy: str) -> None:
        tell_valkey(stack.valkeys[self.part].port, f"CONFIG SET maxmemory {maxmemory} maxmemory-policy {policy}")


class ConnectionsCut(Fault):
    """All connections to a server break at once; the server is fine."""

    def __init__(self, part: str, rng: Random) -> None:
        self.part = part
        self.name = f"{part}: connections cut"

    def inject(self, stack: Stack) -> None:
        stack.proxies[self.part].cut()


class BlackHole(Fault):
    """Connections to a server stay, and nothing comes through."""

    def __init__(self, part: str, rng: Random) -> None:
        self.part = part
        self.name = f"{part}: black hole"
        self.seconds = rng.uniform(1, 7)

    def inject(self, stack: Stack) -> None:
        stack.proxies[self.part].hold()

    def heal(self, stack: Stack) -> None:
        stack.proxies[self.part].release()


class AnswersLost(Fault):
    """A server does what it is asked, and some of its answers never arrive: a commit's among them."""

    def __init__(self, part: str, rng: Random) -> None:
        self.part = part
        self.name = f"{part}: answers lost"
        self.seconds = rng.uniform(1, 5)
        self._share = rng.uniform(0.03, 0.3)
        self.detail = f"{self._share:.0%}"

    def inject(self, stack: Stack) -> None:
        stack.proxies[self.part].lost_answers = self._share

    def heal(self, stack: Stack) -> None:
        stack.proxies[self.part].lost_answers = 0.0


class Slow(Fault):
    """Everything to and from a server takes its time."""

    def __init__(self, part: str, rng: Random) -> None:
        self.part = part
        self.name = f"{part}: slow"
        self.seconds = rng.uniform(1, 5)
        self._delay = rng.uniform(0.02, 0.4)
        self.detail = f"{self._delay * 1000:.0f} ms"

    def inject(self, stack: Stack) -> None:
        stack.proxies[self.part].delay_seconds = self._delay

    def heal(self, stack: Stack) -> None:
        stack.proxies[self.part].delay_seconds = 0.0
