"""Start real servers for the test run before Django's settings are read (loaded by `-p`, see pyproject.toml).

PostgreSQL and Valkey run once for the whole run, started by the process that was called (with xdist: the controller).
Every process that runs tests has its own test database (pytest-django's doing), its own three Valkey databases, its own
anvil and its own folder.
"""

import os
import shutil
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.processes import make_folder
from txnsite.stack.anvil import CHAIN_ID, Anvil
from txnsite.stack.errors import StartError
from txnsite.stack.ports import free_port
from txnsite.stack.postgres import UNSAFE_AND_FAST, Postgres
from txnsite.stack.valkey import Valkey, tell_valkey

# How the controller tells its workers where its servers are.
_SHARED = "TXNSITE_TEST_SERVERS"
_VALKEY_DATABASES = 3


@dataclass(frozen=True)
class TestServers:
    """The servers of this process. `postgres` and `valkey` are None in an xdist worker: they are the controller's."""

    __test__ = False

    folder: Path
    anvil: Anvil
    valkey_port: int
    valkey_databases: range
    postgres: Postgres | None
    valkey: Valkey | None

    def start(self) -> None:
        for server in (self.postgres, self.valkey, self.anvil):
            if server is not None:
                server.start()

    def empty_valkey(self) -> None:
        """Forget what this process's databases hold; other processes' stay."""
        selected = (command for number in self.valkey_databases for command in (f"SELECT {number}", "FLUSHDB"))
        tell_valkey(self.valkey_port, *selected)

    def stop(self) -> None:
        for server in (self.anvil, self.valkey, self.postgres):
            if server is not None:
                server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


servers_key = pytest.StashKey[TestServers]()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, None, None]:
    """Set the environment in which pytest-django, called inside, will read Django's settings."""
    options = early_config.known_args_namespace
    if options.help or options.version:
        return (yield)
    servers = early_config.stash[servers_key] = _make_servers()
    try:
        return (yield)
    except BaseException:
        # Settings or a conftest that can't be loaded; no later hook is called then.
        servers.stop()
        raise


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Start the servers, before xdist starts its workers."""
    servers = session.config.stash.get(servers_key, None)
    if servers is not None and not session.config.option.collectonly:
        try:
            servers.start()
        except StartError as error:
            pytest.exit(str(error), returncode=3)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    servers = config.stash.get(servers_key, None)
    if servers is not None:
        servers.stop()


def _make_servers() -> TestServers:
    shared = os.environ.get(_SHARED)
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    postgres: Postgres | None = None
    valkey: Valkey | None = None
    if worker and shared:
        root, valkey_port = Path(shared.partition(":")[2]), int(shared.partition(":")[0])
        folder = root / worker
        folder.mkdir()
    else:
        folder = root = make_folder()
        postgres = Postgres(root / "postgres", log_path=root / "log" / "postgres.log", settings=UNSAFE_AND_FAST)
        valkey = Valkey(root / "valkey", log_path=root / "log" / "valkey.log", port=free_port(), durable=False)
        valkey_port = valkey.port
        os.environ[_SHARED] = f"{valkey_port}:{root}"
        os.environ["DATABASE_URL"] = postgres.url_of("txnsite")
    first = _VALKEY_DATABASES * int(worker.removeprefix("gw") or 0)
    databases = range(first, first + _VALKEY_DATABASES)
    anvil = Anvil(log_path=folder / "log" / "anvil.log", mining=False)
    _set_environment(folder, [f"redis://127.0.0.1:{valkey_port}/{number}" for number in databases], anvil)
    return TestServers(folder, anvil, valkey_port, databases, postgres, valkey)


def _set_environment(folder: Path, valkey_urls: list[str], anvil: Anvil) -> None:
    """Describe the servers to Django's settings; what the person at the terminal had set must not leak in."""
    for name in (
        "SECRET_KEY_FILE",
        "KEYSTORE_PASSPHRASE_FILE",
        "FAULT_POINTS",
        "FAULT_DIR",
        "STATIC_ROOT",
        "CONFIRMATIONS",
        "WALLET_PRIVATE_KEYS",
        "WALLET_PRIVATE_KEYS_FILE",
        "SIGNERS",
        "LOCK_URLS",
        "LOCK_URLS_FILE",
        "ALERT_EMAILS",
        "EMAIL_URL",
        "EMAIL_URL_FILE",
        "EMAIL_FROM",
        "CHAIN_LAG_BLOCKS_MAX",
        "CHAIN_RPC_CALLS_PER_SECOND",
    ):
        os.environ.pop(name, None)
    os.environ |= {
        "TXNSITE_VAR": str(folder),
        "DEBUG": "0",
        "SECRET_KEY": "only-for-tests",
        "SECURE_COOKIES": "0",
        "ALLOWED_HOSTS": "localhost,127.0.0.1,testserver",
        "CELERY_BROKER_URL": valkey_urls[0],
        "CACHE_URL": valkey_urls[1],
        "CELERY_RESULT_URL": valkey_urls[2],
        "CHAIN_RPC_URLS": anvil.url,
        "CHAIN_ID": str(CHAIN_ID),
        # Chains of tests make blocks when they are told to.
        "STANDSTILL_AFTER_SECONDS": "0",
        "KEYSTORE_DIR": str(folder / "keystore"),
        "KEYSTORE_PASSPHRASE": "only-for-tests",
    }
