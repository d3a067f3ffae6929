"""Where a development stack keeps what it has, and the environment it gives its processes."""

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from txnsite.stack.errors import InUseError, StackError

REPOSITORY = Path(__file__).resolve().parents[2]
# Only what we made is ever removed, whatever TXNSITE_VAR points to.
_STATE = (
    "postgres",
    "postgres-socket",
    "valkey",
    "valkey-cache",
    "anvil",
    "keystore",
    "secrets",
    "static",
    "faults",
    "log",
    "stack.env",
)
_LOG_BYTES_MAX = 10_000_000


@dataclass(frozen=True)
class Layout:
    """The paths below one state folder."""

    var: Path

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Layout":
        return cls(Path(environ.get("TXNSITE_VAR") or REPOSITORY / "var").resolve())

    @property
    def env_file(self) -> Path:
        """What `manage.py` reads in a second terminal; it is there while the stack runs."""
        return self.var / "stack.env"

    def log(self, name: str) -> Path:
        return self.var / "log" / f"{name}.log"

    def make_folders(self) -> None:
        """Create the folders.

        :raises StackError: when we may not, as after a run by root.
        """
        try:
            for folder in (self.var, self.var / "log"):
                folder.mkdir(parents=True, exist_ok=True)
            for folder in (self.var / "keystore", self.var / "secrets"):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StackError(f"The state folder can't be used: {error}.") from error
        if not os.access(self.var, os.W_OK | os.X_OK):
            raise StackError(f"{self.var} belongs to another user; was the desk run as root before?")

    def secret_file(self, name: str) -> Path:
        """Return the file of a secret, made on first use and readable by us only."""
        path = self.var / "secrets" / name
        if not path.exists():
            write_private(path, secrets.token_urlsafe(48) + "\n")
        return path

    def write_env_file(self, variables: Mapping[str, str]) -> None:
        lines = ["# Written by `make run`, read by manage.py while it runs."]
        lines += [f"{name}={value}" for name, value in variables.items()]
        write_private(self.env_file, "\n".join(lines) + "\n")

    def shorten_logs(self) -> None:
        """Move what a long log file holds to `NAME.log.1`, replacing that; programs go on writing meanwhile."""
        for path in (self.var / "log").glob("*.log"):
            if path.stat().st_size > _LOG_BYTES_MAX:
                shutil.copyfile(path, path.with_name(path.name + ".1"))
                os.truncate(path, 0)

    def remove_state(self) -> list[str]:
        """Remove everything a stack keeps here and return the names of what was there."""
        removed = []
        for name in _STATE:
            path = self.var / name
            if path.is_dir():
                shutil.rmtree(path)
            elif path.exists():
                path.unlink()
            else:
                continue
            removed.append(name)
        return removed

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other stack off this folder; the kernel frees the lock when we end, however we end.

        :raises InUseError: when another stack runs here.
        """
        try:
            file = (self.var / "stack.lock").open("a+")
        except OSError as error:
            raise StackError(f"The state folder can't be used: {error}.") from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                pid = file.read().strip() or "unknown"
                raise InUseError(f"The desk already runs in {self.var} (process {pid}). Stop that one first.") from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield


def write_private(path: Path, text: str) -> None:
    """Write a file that only we can read, whole or not at all."""
    draft = path.with_name(path.name + ".part")
    with contextlib.suppress(FileNotFoundError):
        draft.unlink()
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)
