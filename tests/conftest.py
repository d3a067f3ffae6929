"""Fixtures for every test: the real servers, empty at its start, and real worker and web processes of our own code."""

import contextlib
import itertools
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import pytest
from django.conf import settings
from django.db import connection

from tests.plugin_servers import TestServers, servers_key
from tests.processes import subprocess_environment
from txnsite.stack.anvil import Anvil
from txnsite.stack.apps import CeleryWorker, Web
from txnsite.stack.errors import StackError
from txnsite.stack.layout import REPOSITORY
from txnsite.stack.ports import free_port
from txnsite.stack.valkey import Valkey


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> TestServers:
    """The servers this process tests against. Don't stop the shared ones: take `own_postgres` or `own_valkey`."""
    return request.config.stash[servers_key]


@pytest.fixture(autouse=True)
def _empty_valkey(servers: TestServers) -> None:
    """Let no lock, cached page or message of an earlier test be seen by this one."""
    servers.empty_valkey()


@pytest.fixture(autouse=True, scope="session")
def _static_files_without_manifest() -> None:
    """Let pages name static files without a `collectstatic`; `live_web` does one and serves as production does."""
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
    # WhiteNoise warns about a directory that isn't there, and warnings are errors.
    settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings: None) -> None:
    """Let Django empty tables after a transactional test although the ledger's triggers refuse TRUNCATE.

    Triggers don't fire for a session in the role of a replica, which the tests' superuser may take.
    """
    original = connection.ops.execute_sql_flush

    def flush(sql_list: Iterable[str]) -> None:
        original(["SET session_replication_role = replica", *sql_list, "SET session_replication_role = DEFAULT"])

    connection.ops.execute_sql_flush = flush  # type: ignore[method-assign]


# --- The chain --------------------------------------------------------------------------------------------------------
@pytest.fixture
def anvil(servers: TestServers) -> Iterator[Anvil]:
    """This process's chain, which mines only when told to (`mine`, `set_automine`, `set_block_time`).

    It goes back to where it was after the test.
    """
    chain = servers.anvil
    snapshot = chain.snapshot()
    yield chain
    chain.set_block_time(0)
    chain.set_automine(False)
    chain.rpc("anvil_dropAllTransactions")
    try:
        chain.revert(snapshot)
    except StackError:
        # A reorg went below the snapshot, or the test restarted the node.
        chain.restart()


# --- Servers that a test may stop -------------------------------------------------------------------------------------
@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A running Valkey that nobody else uses, which keeps its messages over restarts."""
    server = Valkey(tmp_path / "valkey", log_path=tmp_path / "valkey.log")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def own_anvil(tmp_path: Path) -> Iterator[Anvil]:
    """A running chain that nobody else uses, which keeps its state over restarts."""
    server = Anvil(state_dir=tmp_path / "anvil", log_path=tmp_path / "anvil.log", mining=False)
    server.start()
    yield server
    server.kill()


# --- Processes of our own code ----------------------------------------------------------------------------------------
class StartWorker(Protocol):
    """Start a Celery worker and wait until it is ready; the fixture stops it after the test.

    :param env: set on top of the test's own environment, for example `FAULT_POINTS`.
    """

    def __call__(
        self, *queues: str, concurrency: int = 1, pool: str = "prefork", env: dict[str, str] | None = None
    ) -> CeleryWorker: ...


class StartWeb(Protocol):
    """Start a web server and wait until it answers; the fixture stops it after the test."""

    def __call__(self, *, workers: int = 1, env: dict[str, str] | None = None) -> Web: ...


@pytest.fixture
def running(transactional_db: None) -> Iterator[contextlib.ExitStack]:
    """Processes that a test started, each killed when it ends, before its database is emptied."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def celery_worker(running: contextlib.ExitStack, tmp_path: Path) -> StartWorker:
    """Start real Celery workers: `celery_worker("money")` has `pid`, `kill()`, `stop()`, `restart()` and `logs`."""
    numbers = itertools.count(1)

    def start(
        *queues: str, concurrency: int = 1, pool: str = "prefork", env: dict[str, str] | None = None
    ) -> CeleryWorker:
        name = f"worker{next(numbers)}-{'-'.join(queues)}"
        worker = CeleryWorker(
            name=name,
            queues=queues,
            concurrency=concurrency,
            pool=pool,
            env=subprocess_environment(env),
            log_path=tmp_path / f"{name}.log",
        )
        running.callback(worker.kill)
        worker.start()
        return worker

    return start


@pytest.fixture
def start_web(running: contextlib.ExitStack, tmp_path: Path, collected_static_files: None) -> StartWeb:
    """Start real web servers, each on a port of its own: `start_web().url`."""

    def start(*, workers: int = 1, env: dict[str, str] | None = None) -> Web:
        port = free_port()
        web = Web(port=port, workers=workers, env=subprocess_environment(env), log_path=tmp_path / f"web{port}.log")
        running.callback(web.kill)
        web.launch()
        # Not readiness: a test may start it while the chain or the cache is down.
        web.process.wait_ready(lambda: web.status_of("/healthz") == 200, web.ready_timeout_seconds)
        return web

    return start


@pytest.fixture
def live_web(start_web: StartWeb) -> Web:
    """A real web server with the site on the test's database."""
    return start_web()


@pytest.fixture(scope="session")
def collected_static_files(servers: TestServers) -> None:
    """The static files as production serves them, in STATIC_ROOT."""
    command = [sys.executable, "manage.py", "collectstatic", "--noinput", "--verbosity", "0"]
    subprocess.run(command, cwd=REPOSITORY, check=True)
