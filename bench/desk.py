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
from txnsite.stack.valkey import Valkey

BLOCK_SECONDS = 2
DATABASE = "bench"
_EMPTY_DATABASE = "bench_empty"
# The measured rows read when a change was committed (pg_xact_commit_timestamp), which no program's own clock tells.
_POSTGRES_SETTINGS = {"track_commit_timestamp": "on"}
_NOT_INHERITED = ("SECRET_KEY_FILE", "KEYSTORE_PASSPHRASE_FILE", "DATABASE_URL_FILE", "FAULT_POINTS", "FAULT_DIR", "STATIC_ROOT")
_NOT_INHERITED += ("CONFIRMATIONS", "CHAIN_FINALITY", "PAYMENT_FEE_IN_WEI", "CHAIN_RPC_BATCH_SIZE", "LOG_LEVEL")


class Desk:
    """The servers, and the desk's own processes where a row starts them; a context manager that stops them all."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="txnsite-bench-"))
        # PostgreSQL runs as another user when we are root, and must get through to its folder.
        self.folder.chmod(0o711)
        self.postgres = Postgres(self.folder / "postgres", log_path=self._log("postgres"), settings=_POSTGRES_SETTINGS)
        self.valkey = Valkey(self.folder / "valkey", log_path=self._log("valkey"))
        self.anvil = Anvil(log_path=self._log("anvil"))
        self._programs: list[Unit] = []

    def __enter__(self) -> "Desk":
        """Start the servers and describe them to Django's settings, which must not have been read yet."""
        try:
            self.postgres.start()
            self.valkey.start()
            self._set_environment()
            self.postgres.create_database(_EMPTY_DATABASE)
            for command in (["migrate", "--verbosity", "0"], ["setup_desk"]):
                self._manage(*command)
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
        for server in (self.anvil, self.valkey, self.postgres):
            server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def begin_row(self, *, block_seconds: int | None = BLOCK_SECONDS) -> None:
        """Give the next row a desk on which nothing has happened; nobody may be connected to its database.

        :param block_seconds: time between blocks; None mines only when told to.
        """
        self.stop_programs()
        with self.postgres.connect() as connection:
            self._drop_and_copy(connection)
        self.valkey.flush()
        self.anvil.stop()
        self.anvil.start()
        self.anvil.set_automine(False)
        if block_seconds is not None:
            self.anvil.set_block_time(block_seconds)

    # --- The desk's own processes, as `make run` starts them ----------------------------------------------------------
    def start_web(self, *, workers: int = 2) -> int:
        """Start the web server and return its port."""
        port = free_port()
        self._start(Web(port=port, workers=workers, env={**os.environ, "DATABASE_POOL": "1"}, log_path=self._log("web")))
        return port

    def start_workers(self, *, chain_url: str | None = None) -> None:
        """Start the workers of all queues and wait until they take tasks."""
        env = {**os.environ, "CHAIN_RPC_URLS": chain_url or self.anvil.url}
        self._start(CeleryWorker(queues=["money"], concurrency=2, env=env, log_path=self._log("worker-money")))
        queues = ["files", "housekeeping"]
        self._start(CeleryWorker(queues=queues, name="worker-files", env=env, log_path=self._log("worker-files")))

    def start_beat(self) -> None:
        """Start the scheduler with the schedules that every desk begins with; return when the follower has run."""
        self._start(Beat(env=os.environ, log_path=self._log("beat")))
        wait_for(self._has_followed, what="the follower's first block", timeout_seconds=60, every_seconds=0.1)

    def stop_programs(self) -> None:
        while self._programs:
            self._programs.pop().stop()

    def cpu_seconds(self) -> dict[str, float]:
        """Return the processor time that each part, with its children, has used so far; this process is `bench`."""
        units = [unit for unit in (*self._programs, self.postgres, self.valkey, self.anvil) if unit.is_running]
        used = {unit.name: _cpu_seconds_of(unit.pid) for unit in units}
        return used | {"bench": _cpu_seconds_of(os.getpid(), alone=True)}

    def _start(self, program: Unit) -> None:
        self._programs.append(program)
        program.start()

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
            "CELERY_BROKER_URL": self.valkey.url_of(0),
            "CACHE_URL": self.valkey.url_of(1),
            "CELERY_RESULT_URL": self.valkey.url_of(2),
            "CHAIN_RPC_URLS": self.anvil.url,
            "CHAIN_ID": str(CHAIN_ID),
            "KEYSTORE_DIR": str(self.folder / "keystore"),
            "KEYSTORE_PASSPHRASE": "only-for-the-bench",
        }
        (self.folder / "static").mkdir()

    def _manage(self, *arguments: str) -> None:
        env = {**os.environ, "DATABASE_URL": self.postgres.url_of(_EMPTY_DATABASE)}
        argv = [sys.executable, str(REPOSITORY / "manage.py"), *arguments]
        subprocess.run(argv, env=env, cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)

    def _has_followed(self) -> bool:
        with self.postgres.connect(DATABASE) as connection:
            return connection.execute("SELECT FROM transactions_block LIMIT 1").fetchone() is not None

    def _drop_and_copy(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        names = {"database": sql.Identifier(DATABASE), "empty": sql.Identifier(_EMPTY_DATABASE)}
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {database} WITH (FORCE)").format(**names))
        connection.execute(sql.SQL("CREATE DATABASE {database} TEMPLATE {empty}").format(**names))


def _cpu_seconds_of(pid: int, *, alone: bool = False) -> float:
    """Return user and system time of a process and, unless `alone`, of its children, dead ones it waited for included."""
    try:
        process = psutil.Process(pid)
        family = [process] if alone else [process, *process.children(recursive=True)]
        times = [member.cpu_times() for member in family]
    except psutil.NoSuchProcess:
        return 0.0
    dead = 0.0 if alone else times[0].children_user + times[0].children_system
    return sum(each.user + each.system for each in times) + dead
