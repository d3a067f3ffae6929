"""The desk that is to be tried: real servers, each behind a proxy at an address of its own, and the real processes."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from chaos.cast import CODE, SWEEP_MIN_IN_WEI, WALLET_FUNDS_IN_WEI, Cast
from chaos.node_proxy import NodeProxy
from chaos.proxies import Proxy, served
from txnsite.faults import ARMED
from txnsite.stack.anvil import CHAIN_ID, Anvil
from txnsite.stack.apps import Beat, CeleryWorker, Web, program
from txnsite.stack.ports import LOOPBACK, free_ports
from txnsite.stack.postgres import SOCKET_NAME, Postgres
from txnsite.stack.process import ending_of
from txnsite.stack.server import Server, Unit
from txnsite.stack.supervisor import Supervisor
from txnsite.stack.valkey import Valkey, ValkeyCache

DATABASE = "chaos"
BLOCK_SECONDS = 1
CONFIRMATIONS = 4
REPLACE_AFTER_BLOCKS = 3
RPC_TIMEOUT_SECONDS = 3
_ANVIL_STOP_SECONDS = 120.0
# Below this many blocks no reorg goes: what was put on the chain at its beginning stays.
_FIRST_BLOCKS = 32
_SECRET = "only-for-chaos"
# Of what the person at the terminal has set, only what any program needs: the rest could change what is tried.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH")


class Stack:
    """Everything that runs, below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fault_dir = folder / "faults"
        self._blocks_at_start = 0
        web_port, site_port, broker_port, cache_port, anvil_port, node_port, *proxy_ports = free_ports(8)
        self.postgres = Postgres(folder / "postgres", log_path=self._log("postgres"))
        self.broker = Valkey(folder / "valkey", log_path=self._log("valkey"), port=broker_port)
        self.cache = ValkeyCache(folder / "valkey-cache", log_path=self._log("valkey-cache"), port=cache_port)
        self.anvil = Anvil(
            log_path=self._log("anvil"),
            port=anvil_port,
            state_dir=folder / "anvil",
            block_time_seconds=BLOCK_SECONDS,
            dump_every_seconds=None,
        )
        self.anvil.stop_timeout_seconds = _ANVIL_STOP_SECONDS
        self.database_proxy = Proxy("database", listen=self._proxy_folder / SOCKET_NAME, server=self.postgres.socket)
        self.broker_proxy = Proxy("broker", listen=proxy_ports[0], server=broker_port)
        self.cache_proxy = Proxy("cache", listen=proxy_ports[1], server=cache_port)
        self.site_proxy = Proxy("site", listen=site_port, server=web_port)
        self.node_proxy = NodeProxy(anvil_port, node_port)
        self.site_port = site_port
        self.env = self._environment()
        self.web = self._web(web_port)
        self.workers = [
            self._worker("worker-1", ["money"], processes=2),
            self._worker("worker-2", ["money", "deposits", "files", "housekeeping"], processes=1),
        ]
        # One leads, the other stands by.
        self.beats = [
            Beat(name=name, env=self._env_of("beat"), log_path=self._log(name)) for name in ("beat-1", "beat-2")
        ]

    @contextmanager
    def running(self, supervisor: Supervisor) -> Iterator[Cast]:
        """Start everything, yield who takes part, and end the proxies; the supervisor ends the rest.

        :raises StackError: when something can't be started.
        """
        with ExitStack() as closing:
            supervisor.start(self.postgres, self.broker, self.cache, self.anvil)
            self.postgres.create_database(DATABASE, owner=DATABASE)
            self._proxy_folder.mkdir(exist_ok=True)
            closing.enter_context(served(*self.proxies.values()))
            closing.enter_context(self.node_proxy)
            cast = self._prepare(supervisor)
            self._begin_chain(cast)
            supervisor.start(self.web, *self.workers, *self.beats)
            yield cast

    def note_node_start(self) -> None:
        """Remember how long the chain is now that the node has been started."""
        self._blocks_at_start = self.anvil.block_number()

    def blocks_since_start(self) -> int:
        """Return how many blocks back the node knows the chain's state."""
        return self.anvil.block_number() - self._blocks_at_start

    @property
    def servers(self) -> dict[str, Server]:
        """The servers that are broken, by the part that a fault names."""
        return {"PostgreSQL": self.postgres, **self.valkeys}

    @property
    def valkeys(self) -> dict[str, Valkey]:
        return {"broker": self.broker, "cache": self.cache}

    @property
    def proxies(self) -> dict[str, Proxy]:
        """What stands in front of each part."""
        return {
            "PostgreSQL": self.database_proxy,
            "broker": self.broker_proxy,
            "cache": self.cache_proxy,
            "site": self.site_proxy,
        }

    @property
    def programs(self) -> list[Unit]:
        """The desk's own processes."""
        return [self.web, *self.workers, *self.beats]

    def run_module(self, supervisor: Supervisor, name: str, *arguments: str) -> tuple[int, str]:
        """Run one of our modules beside the desk, past the proxies, and return its exit code and what it wrote."""
        env = {**self.env, "DATABASE_URL": self.postgres.url_of(DATABASE, DATABASE)}
        process = program(name, "-m", name, *arguments, env=env, log_path=self._log(name))
        (code,) = supervisor.finish(process)
        return code, process.logs

    def _prepare(self, supervisor: Supervisor) -> Cast:
        for name in ("keystore", "static", "faults"):
            (self.folder / name).mkdir()
        path = self.folder / "cast.json"
        code, said = self.run_module(supervisor, "chaos.prepare", str(path))
        if code != 0:
            raise RuntimeError(f"The desk can't be prepared ({ending_of(code)}):\n{said}")
        return Cast.read(path)

    def _begin_chain(self, cast: Cast) -> None:
        for wallet in cast.wallets:
            self.anvil.set_balance(wallet, WALLET_FUNDS_IN_WEI)
        for address, code in CODE.items():
            self.anvil.rpc("anvil_setCode", address, code)
        self.anvil.mine(_FIRST_BLOCKS)
        self.note_node_start()

    def _environment(self) -> dict[str, str]:
        broker_url = f"redis://{LOOPBACK}:{self.broker_proxy.listen}"
        return {
            **{name: os.environ[name] for name in _INHERITED if name in os.environ},
            "DJANGO_SETTINGS_MODULE": "txnsite.settings",
            "TXNSITE_VAR": str(self.folder),
            "SECRET_KEY": _SECRET,
            "ALLOWED_HOSTS": LOOPBACK,
            "DATABASE_URL": self.postgres.url_of(DATABASE, DATABASE, socket_dir=self._proxy_folder),
            "CELERY_BROKER_URL": f"{broker_url}/0",
            "CELERY_RESULT_URL": f"{broker_url}/1",
            "CACHE_URL": f"redis://{LOOPBACK}:{self.cache_proxy.listen}/0",
            "CHAIN_RPC_URLS": self.node_proxy.url,
            "CHAIN_RPC_TIMEOUT_SECONDS": str(RPC_TIMEOUT_SECONDS),
            "CHAIN_ID": str(CHAIN_ID),
            "CONFIRMATIONS": str(CONFIRMATIONS),
            "REPLACE_AFTER_BLOCKS": str(REPLACE_AFTER_BLOCKS),
            "SWEEP_MIN_IN_WEI": str(SWEEP_MIN_IN_WEI),
            "KEYSTORE_DIR": str(self.folder / "keystore"),
            "KEYSTORE_PASSPHRASE": _SECRET,
        }

    def _env_of(self, role: str) -> dict[str, str]:
        """Return the environment of a process in which fault points can be armed."""
        return {**self.env, "FAULT_POINTS": ARMED, "FAULT_DIR": str(self.fault_dir), "FAULT_ROLE": role}

    def _web(self, port: int) -> Web:
        env = {**self._env_of("web"), "DATABASE_POOL": "1"}
        return Web(port=port, env=env, log_path=self._log("web"))

    def _worker(self, name: str, queues: list[str], *, processes: int) -> CeleryWorker:
        env = self._env_of("worker")
        return CeleryWorker(name=name, queues=queues, concurrency=processes, env=env, log_path=self._log(name))

    @property
    def _proxy_folder(self) -> Path:
        """Where PostgreSQL's proxy listens: a path that is short enough, since the server's own is."""
        return self.postgres.socket_dir / "proxy"

    def _log(self, name: str) -> Path:
        return self.folder / "log" / f"{name}.log"


def remove_files(folder: Path) -> None:
    """Delete all that a stack has left, when nothing of it runs any more."""
    # Its socket may be elsewhere, where the path is shorter.
    socket_dir = Postgres(folder / "postgres", log_path=folder / "postgres.log").socket_dir
    for each in (socket_dir, folder):
        shutil.rmtree(each, ignore_errors=True)
