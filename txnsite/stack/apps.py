"""Our own processes, as production would run them: web server, Celery workers, beat, Flower."""

import http.client
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from txnsite.stack.layout import REPOSITORY
from txnsite.stack.ports import LOOPBACK, port_is_free
from txnsite.stack.process import ChildProcess
from txnsite.stack.server import Server, Unit

_CELERY = [sys.executable, "-m", "celery", "--app", "txnsite"]
_QUIET = {
    # We say ourselves that development runs as root where it does.
    "PYTHONWARNINGS": "ignore::Warning:celery.platforms",
    "PYTHONUNBUFFERED": "1",
}


class Web(Server):
    """granian with the site: processes with a few threads each; more of them only wait for one another's GIL."""

    def __init__(
        self,
        *,
        port: int,
        env: Mapping[str, str],
        log_path: Path,
        name: str = "web",
        workers: int = 2,
        threads: int = 3,
    ) -> None:
        self.name = name
        self.ready_timeout_seconds = 90.0
        self.port = port
        argv = [sys.executable, "-m", "granian", "--interface", "wsgi", "--host", LOOPBACK, "--port", str(port)]
        argv += ["--workers", str(workers), "--blocking-threads", str(threads), "--no-ws"]
        argv += ["--respawn-failed-workers", "--respawn-interval", "0.5", "--workers-kill-timeout", "5"]
        argv.append("txnsite.wsgi:application")
        self.process = ChildProcess(name, argv, env={**_QUIET, **env}, cwd=REPOSITORY, log_path=log_path)

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def is_ready(self) -> bool:
        """Tell whether it serves requests, reaches its database, cache, broker and chain, and the desk keeps up."""
        return self.status_of("/readyz?strict=1") == 200

    def status_of(self, path: str) -> int:
        """Return the HTTP status of a GET, 0 when nobody answers."""
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=15)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()


class CeleryWorker(Unit):
    """One Celery worker with its pool of processes."""

    def __init__(
        self,
        *,
        queues: Sequence[str],
        env: Mapping[str, str],
        log_path: Path,
        name: str | None = None,
        concurrency: int = 1,
        pool: str = "prefork",
    ) -> None:
        self.name = name or f"worker-{'-'.join(queues)}"
        argv = [*_CELERY, "worker", "--queues", ",".join(queues), "--hostname", f"{self.name}@%h"]
        argv += ["--concurrency", str(concurrency), "--pool", pool, "--loglevel", "INFO"]
        # Nothing here asks what other workers do; asking costs a second at each start.
        argv += ["--without-mingle", "--without-gossip"]
        # With SIGTERM taken for SIGQUIT, a worker that is stopped puts its unfinished tasks back for others.
        env = {**_QUIET, "REMAP_SIGTERM": "SIGQUIT", **env}
        self.process = ChildProcess(self.name, argv, env=env, cwd=REPOSITORY, log_path=log_path)

    def is_ready(self) -> bool:
        return f"{self.name}@" in self.logs and " ready." in self.logs


class Beat(Unit):
    """Celery beat with the schedules of the database; settings name the scheduler, of which one leads."""

    def __init__(self, *, env: Mapping[str, str], log_path: Path, name: str = "beat") -> None:
        self.name = name
        argv = [*_CELERY, "beat", "--loglevel", "INFO"]
        self.process = ChildProcess(self.name, argv, env={**_QUIET, **env}, cwd=REPOSITORY, log_path=log_path)

    def is_ready(self) -> bool:
        return self.is_running


class Flower(Server):
    """Flower, to look at workers and tasks; it changes nothing and keeps the last tasks only."""

    _TASKS_KEPT = 2_000  # about 4.5 kB each

    def __init__(self, *, port: int, env: Mapping[str, str], log_path: Path) -> None:
        self.name = "flower"
        self.port = port
        argv = [*_CELERY, "flower", f"--address={LOOPBACK}", f"--port={port}", f"--max_tasks={self._TASKS_KEPT}"]
        argv += ["--read_only=True", "--purge_offline_workers=60"]
        self.process = ChildProcess(self.name, argv, env={**_QUIET, **env}, cwd=REPOSITORY, log_path=log_path)

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def is_ready(self) -> bool:
        return not port_is_free(self.port)


def manage(command: str, *options: str, env: Mapping[str, str], log_path: Path | None) -> ChildProcess:
    """Return a `manage.py` command, not started; without a log file it writes to our own output."""
    return program(f"manage.py {command}", "manage.py", command, *options, env=env, log_path=log_path)


def program(name: str, *arguments: str, env: Mapping[str, str], log_path: Path | None) -> ChildProcess:
    """Return our own Python with these arguments, not started."""
    argv = [sys.executable, *arguments]
    return ChildProcess(name, argv, env={**_QUIET, **env}, cwd=REPOSITORY, log_path=log_path)
