"""`make run`: the whole desk on this machine, from an empty folder to a paid demo, and on until Ctrl-C."""

import os
import time
from collections.abc import Mapping

from txnsite.stack.anvil import CHAIN_ID, Anvil
from txnsite.stack.apps import Beat, CeleryWorker, Flower, Web, manage, program
from txnsite.stack.console import Console
from txnsite.stack.errors import ForeignStateError, InUseError
from txnsite.stack.layout import Layout
from txnsite.stack.ports import free_ports, port_is_free
from txnsite.stack.postgres import Postgres
from txnsite.stack.process import ending_of
from txnsite.stack.server import Unit
from txnsite.stack.supervisor import StopRequested, Supervisor
from txnsite.stack.valkey import Valkey, ValkeyCache

_DATABASE = "txnsite"
_BLOCK_TIME_SECONDS = 2
# What `manage.py check_chain` answers when node and database have different histories.
_CHAIN_MISMATCH = 3


class Stack:
    """Everything that `make run` runs, and the order in which it comes up."""

    def __init__(self, layout: Layout, port: int, console: Console) -> None:
        self.layout = layout
        self.console = console
        broker_port, cache_port, anvil_port, self.flower_port = free_ports(4)
        self.port = port
        self.postgres = Postgres(layout.var / "postgres", log_path=layout.log("postgres"))
        self.broker = Valkey(layout.var / "valkey", log_path=layout.log("valkey"), port=broker_port)
        self.cache = ValkeyCache(layout.var / "valkey-cache", log_path=layout.log("valkey-cache"), port=cache_port)
        self.anvil = Anvil(
            log_path=layout.log("anvil"),
            port=anvil_port,
            state_dir=layout.var / "anvil",
            block_time_seconds=_BLOCK_TIME_SECONDS,
        )
        self.variables = self._variables()
        self.env = _merged(os.environ, self.variables)

    def run(self) -> None:
        """Bring everything up and keep it up.

        :raises StackError: when something can't be started.
        :raises StopRequested: when somebody asks it to stop.
        """
        with Supervisor(self.console.alert) as supervisor:
            try:
                self._start_servers(supervisor)
                self._prepare_database(supervisor)
                self._start_apps(supervisor)
                self._say_where()
                self._pay_once(supervisor)
                supervisor.watch(chore=self._housekeep)
            except StopRequested:
                self.console.say("\nStopping ...")
                raise
            finally:
                self.layout.env_file.unlink(missing_ok=True)

    def _start_servers(self, supervisor: Supervisor) -> None:
        begun = time.monotonic()
        supervisor.start(self.postgres, self.broker, self.cache, self.anvil)
        self.postgres.create_database(_DATABASE, owner=_DATABASE)
        self.layout.write_env_file(self.variables)
        self.console.step("servers", "PostgreSQL, 2 Valkeys, anvil", _since(begun))

    def _prepare_database(self, supervisor: Supervisor) -> None:
        begun = time.monotonic()
        log = self.layout.log
        prepare = program("prepare", "-m", "txnsite.stack.prepare", env=self.env, log_path=log("prepare"))
        collect = manage("collectstatic", "--noinput", "--verbosity", "0", env=self.env, log_path=log("collectstatic"))
        supervisor.finish(prepare, collect)
        if prepare.returncode == _CHAIN_MISMATCH:
            raise ForeignStateError(
                f"The chain and the database in {self.layout.var} don't belong together:\n{prepare.log_tail(1)}\n"
                "`make reset` throws both away and begins anew."
            )
        for process in (prepare, collect):
            if process.returncode != 0:
                raise process.start_error(f"ended with {ending_of(process.returncode)}")
        self.console.step("database", "up to date, demo loaded", _since(begun))

    def _start_apps(self, supervisor: Supervisor) -> None:
        begun = time.monotonic()
        log = self.layout.log
        apps: list[Unit] = [
            CeleryWorker(queues=["money"], concurrency=2, env=self.env, log_path=log("worker-money")),
            CeleryWorker(
                queues=["deposits", "files", "housekeeping"],
                name="worker-files",
                env=self.env,
                log_path=log("worker-files"),
            ),
            Beat(env=self.env, log_path=log("beat")),
            Flower(port=self.flower_port, env=self.env, log_path=log("flower")),
            # Last, as it is ready once the others have walked to the blocks made since the last run.
            # Threads come and go in a web process; a pool keeps their database connections.
            Web(port=self.port, env={**self.env, "DATABASE_POOL": "1"}, log_path=log("web")),
        ]
        supervisor.start(*apps)
        self.console.step("processes", "web, 2 workers, beat, Flower", _since(begun))

    def _say_where(self) -> None:
        site = f"http://localhost:{self.port}"
        self.console.say()
        self.console.step("Site", f"{site}/", "demo / demo")
        self.console.step("Admin", f"{site}/admin/", "admin / admin")
        self.console.step("API", f"{site}/api/v1/docs")
        self.console.step("Flower", f"http://localhost:{self.flower_port}/")
        self.console.step("Node", self.anvil.url, f"chain {CHAIN_ID}, a block each {_BLOCK_TIME_SECONDS} s")
        self.console.step("Logs", f"{self.layout.var / 'log'}")
        self.console.say("\nCtrl-C stops everything; the next `make run` goes on from here.\n")

    def _pay_once(self, supervisor: Supervisor) -> None:
        """Let a first run show a payment from start to end; a failure of that is told, and stops nothing."""
        payment = manage("demo_payment", "--once", env=self.env, log_path=None)
        (code,) = supervisor.finish(payment)
        if code != 0:
            self.console.alert(f"The demo payment ended with {ending_of(code)}; {self.layout.var / 'log'} may say why.")

    def _housekeep(self) -> None:
        self.anvil.keep_copy()
        self.layout.shorten_logs()

    def _variables(self) -> dict[str, str]:
        secret_key = self.layout.secret_file("secret-key")
        passphrase = self.layout.secret_file("keystore-passphrase")
        return {
            "TXNSITE_VAR": str(self.layout.var),
            "DEBUG": "1",
            "SECRET_KEY_FILE": str(secret_key),
            "DATABASE_URL": self.postgres.url_of(_DATABASE, user=_DATABASE),
            "CELERY_BROKER_URL": self.broker.url_of(0),
            # With the broker: what a workflow waits for must not make room for anything.
            "CELERY_RESULT_URL": self.broker.url_of(1),
            "CACHE_URL": self.cache.url_of(0),
            "CHAIN_RPC_URLS": self.anvil.url,
            "CHAIN_ID": str(CHAIN_ID),
            "KEYSTORE_DIR": str(self.layout.var / "keystore"),
            "KEYSTORE_PASSPHRASE_FILE": str(passphrase),
            "STATIC_ROOT": str(self.layout.var / "static"),
        }


def run(layout: Layout, port: int, console: Console) -> None:
    """Run the desk until somebody stops it.

    :raises StackError: when it can't be started; nothing is left running then.
    """
    layout.make_folders()
    with layout.locked():
        # Before anything is started, and again by granian, which owns the last word.
        if not port_is_free(port):
            raise InUseError(f"Port {port} is taken. Free it, or choose another: make run PORT={port + 1}")
        layout.shorten_logs()
        console.say(f"Starting the desk; its state is in {layout.var}")
        stack = Stack(layout, port, console)
        try:
            stack.run()
        except StopRequested:
            console.say("Stopped.")


def _merged(environ: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of our processes: what the terminal has, but never its servers or secrets."""
    ours = {name.removesuffix("_FILE") for name in variables}
    return {name: value for name, value in environ.items() if name.removesuffix("_FILE") not in ours} | dict(variables)


def _since(begun: float) -> str:
    return f"{time.monotonic() - begun:.1f} s"
