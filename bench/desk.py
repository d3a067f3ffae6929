"""A whole desk on temporary state: real servers for all rows, and for each row an empty database, cache and chain."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

import psutil
import psycopg
from psycopg import sql

from txnsite.stack.anvil import CHAIN_ID, Anvil
from txnsite.stack.apps import Beat, CeleryWorker, Web
from txnsite.stack.layout import REPOSITORY
from txnsite.stack.ports import LOOPBACK, free_port
from txnsite.stack.postgres import Postgres
from txnsite.stack.process import wait_for
from txnsite.stack.server import Unit
from txnsite.stack.valkey import Valkey, ValkeyCache

BLOCK_SECONDS = 2
DATABASE = "bench"
_EMPTY_DATABASE = "bench_empty"
# The measured rows read when a change was committed (pg_xact_commit_timestamp), which no program's own clock tells.
_POSTGRES_SETTINGS = {"track_commit_timestamp": "on"}
# What the person at the terminal may have set, and would make the figures mean something else, or stop the start.
_NOT_INHERITED = (
    *(f"{name}_FILE" for name in ("SECRET_KEY", "KEYSTORE_PASSPHRASE", "DATABASE_URL", "CACHE_URL", "CHAIN_RPC_URLS")),
    *("CELERY_BROKER_URL_FILE", "CELERY_RESULT_URL_FILE", "FAULT_POINTS", "FAULT_DIR", "STATIC_ROOT", "LOG_LEVEL"),
    *("CONFIRMATIONS", "CHAIN_FINALITY", "PAYMENT_FEE_IN_WEI", "CHAIN_RPC_BATCH_SIZE", "CHAIN_RPC_TIMEOUT_SECONDS"),
    *("DATABASE_POOL_SIZE", "HSTS_SECONDS", "BEHIND_PROXY", "CSRF_TRUSTED_ORIGINS", "SECURE_COOKIES"),
)


class Desk:
    """The servers, and the desk's own processes where a row starts them; a context manager that stops them all."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="txnsite-bench-"))
        # PostgreSQL runs as another user when we are root, and must get through to its folder.
        self.folder.chmod(0o711)
        self.postgres = Postgres(self.folder / "postgres", log_path=self._log("postgres"), settings=_POSTGRES_SETTINGS)
        self.broker = Valkey(self.folder / "valkey", log_path=self._log("valkey"))
        self.cache = ValkeyCache(self.folder / "valkey-cache", log_path=self._log("valkey-cache"))
        self.anvil = Anvil(log_path=self._log("anvil"))
        self._programs: list[Unit] = []

    def __enter__(self) -> "Desk":
        """Start the servers and describe them to Django's settings, which must not have been read yet."""
        try:
            self.postgres.start()
            self.broker.start()
            self.cache.start()
            self._set_environment()
            self.postgres.create_database(_EMPTY_DATABASE)
            self._prepare_database()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop everything and delete its files."""
        self.stop_programs()
        for server in (self.anvil, self.cache, self.broker, self.postgres):
            server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def begin_row(self, *, block_seconds: int | None = BLOCK_SECONDS) -> None:
        """Give the next row a desk on which nothing has happened; nobody may be connected to its database.

        :param block_seconds: time between blocks; None mines only when told to.
        """
        self.stop_programs()
        with self.postgres.connect() as connection:
            self._drop_and_copy(connection)
        self.broker.flush()
        self.cache.flush()
        self.anvil.stop()
        self.anvil.start()
        self.anvil.set_automine(False)
        if block_seconds is not None:
            self.anvil.set_block_time(block_seconds)

    def run(self, *, web_workers: int | None = 2, beat: bool = True, chain_url: str | None = None) -> int:
        """Start the desk's own processes as `make run` does, wait until all work, and return the site's port.

        :param web_workers: processes of the web server; None starts none.
        :param beat: start the scheduler too, and wait until the follower has run.
        :param chain_url: where they all find the node instead of at its own address.
        """
        env = {**os.environ, "CHAIN_RPC_URLS": chain_url or self.anvil.url}
        port = free_port()
        if web_workers is not None:
            web_env = {**env, "DATABASE_POOL": "1"}
            self._programs.append(Web(port=port, workers=web_workers, env=web_env, log_path=self._log("web")))
        queues = {"worker-money": (["money"], 2), "worker-files": (["deposits", "files", "housekeeping"], 1)}
        for name, (of, processes) in queues.items():
            worker = CeleryWorker(name=name, queues=of, concurrency=processes, env=env, log_path=self._log(name))
            self._programs.append(worker)
        if beat:
            self._programs.append(Beat(env=env, log_path=self._log("beat")))
        for program in self._programs:
            program.launch()
        for program in self._programs:
            program.process.wait_ready(program.is_ready, program.ready_timeout_seconds)
        if beat:
            wait_for(self._has_followed, what="the follower's first block", timeout_seconds=60, every_seconds=0.1)
        return port

    def stop_programs(self) -> None:
        while self._programs:
            self._programs.pop().stop()

    def cpu_seconds(self) -> dict[str, float]:
        """Return the processor time that each part, with its children, has used so far; this process is `bench`."""
        servers = (self.postgres, self.broker, self.cache, self.anvil)
        units = [unit for unit in (*self._programs, *servers) if unit.is_running]
        used = {unit.name: _cpu_seconds_of(unit.pid) for unit in units}
        return used | {"bench": _cpu_seconds_of(os.getpid(), alone=True)}

    def _log(self, name: str) -> Path:
        return self.folder / "log" / f"{name}.log"

    def _set_environment(self) -> None:
        for name in _NOT_INHERITED:
            os.environ.pop(name, None)
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "txnsite.settings",
            "PYTHONUNBUFFERED": "1",
            "TXNSITE_VAR": str(self.folder),
            "DEBUG": "0",
            "SECRET_KEY": "only-for-the-bench",
            "ALLOWED_HOSTS": LOOPBACK,
            "DATABASE_URL": self.postgres.url_of(DATABASE),
            "DATABASE_POOL": "0",
            "CELERY_BROKER_URL": self.broker.url_of(0),
            "CELERY_RESULT_URL": self.broker.url_of(1),
            "CACHE_URL": self.cache.url_of(0),
            "CHAIN_RPC_URLS": self.anvil.url,
            "CHAIN_ID": str(CHAIN_ID),
            "KEYSTORE_DIR": str(self.folder / "keystore"),
            "KEYSTORE_PASSPHRASE": "only-for-the-bench",
        }
        (self.folder / "static").mkdir()

    def _prepare_database(self) -> None:
        env = {**os.environ, "DATABASE_URL": self.postgres.url_of(_EMPTY_DATABASE)}
        argv = [sys.executable, "-m", "bench.prepare"]
        subprocess.run(argv, env=env, cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)

    def _has_followed(self) -> bool:
        with self.postgres.connect(DATABASE) as connection:
            return connection.execute("SELECT FROM transactions_block LIMIT 1").fetchone() is not None

    def _drop_and_copy(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        names = {"database": sql.Identifier(DATABASE), "empty": sql.Identifier(_EMPTY_DATABASE)}
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {database} WITH (FORCE)").format(**names))
        connection.execute(sql.SQL("CREATE DATABASE {database} TEMPLATE {empty}").format(**names))


def _cpu_seconds_of(pid: int, *, alone: bool = False) -> float:
    """Return user and system time of a process and, unless `alone`, its children, also of dead ones."""
    try:
        process = psutil.Process(pid)
        family = [process] if alone else [process, *process.children(recursive=True)]
        times = [member.cpu_times() for member in family]
    except psutil.NoSuchProcess:
        return 0.0
    dead = 0.0 if alone else times[0].children_user + times[0].children_system
    return sum(each.user + each.system for each in times) + dead
