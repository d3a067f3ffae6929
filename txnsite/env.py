"""The one reader of the environment: typed, loud about nonsense, able to take secrets from files."""

import os
from collections.abc import Mapping
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}


class Env:
    """Read settings from the process environment, then from a file of `NAME=value` lines.

    The file is what `make run` writes (`var/stack.env`), so that a second terminal just works. A variable that is
    set, even in the file's presence, wins.
    """

    def __init__(self, environ: Mapping[str, str], fallback_file: Path | None = None) -> None:
        self._values: dict[str, str] = {}
        if fallback_file is not None and fallback_file.is_file():
            self._values.update(read_env_file(fallback_file))
        self._values.update(environ)

    def text(self, name: str, default: str | None = None) -> str:
        """Return the variable.

        :raises ImproperlyConfigured: when it is not set and there is no default.
        """
        value = self._values.get(name, default)
        if value is None:
            raise ImproperlyConfigured(f"{name} is not set.")
        return value

    def secret(self, name: str, default: str | None = None) -> str:
        """Return the variable, or the first line of the file that `NAME_FILE` points to.

        :raises ImproperlyConfigured: when both or neither are set, or the file can't be read.
        """
        file_name = self._values.get(f"{name}_FILE")
        if file_name is None:
            return self.text(name, default)
        if name in self._values:
            raise ImproperlyConfigured(f"Set {name} or {name}_FILE, not both.")
        try:
            lines = Path(file_name).read_text().splitlines()
        except OSError as error:
            raise ImproperlyConfigured(f"{name}_FILE can't be read: {error.strerror}.") from None
        if not lines or not lines[0]:
            raise ImproperlyConfigured(f"{name}_FILE is empty.")
        return lines[0]

    def flag(self, name: str, *, default: bool) -> bool:
        """Return the variable as a boolean.

        :raises ImproperlyConfigured: when it is none of 1/0, true/false, yes/no, on/off.
        """
        value = self._values.get(name)
        if value is None:
            return default
        if value.lower() in _TRUE:
            return True
        if value.lower() in _FALSE:
            return False
        raise ImproperlyConfigured(f"{name} must be one of 1, 0, true, false, yes, no, on, off; it is {value!r}.")

    def integer(self, name: str, default: int | None = None, *, minimum: int = 0) -> int:
        """Return the variable as an integer.

        :raises ImproperlyConfigured: when it is not a whole number of at least `minimum`.
        """
        text = self._values.get(name)
        if text is None:
            if default is None:
                raise ImproperlyConfigured(f"{name} is not set.")
            return default
        if not text.isascii() or not text.isdigit() or int(text) < minimum:
            raise ImproperlyConfigured(f"{name} must be a whole number of at least {minimum}; it is {text!r}.")
        return int(text)

    def words(self, name: str, default: str | None = None) -> list[str]:
        """Return the variable split at commas, empty parts left out."""
        return [part.strip() for part in self.text(name, default).split(",") if part.strip()]

    def choice(self, name: str, choices: tuple[str, ...], default: str) -> str:
        """Return the variable if it is one of `choices`.

        :raises ImproperlyConfigured: when it is another word.
        """
        value = self._values.get(name, default)
        if value not in choices:
            raise ImproperlyConfigured(f"{name} must be one of {', '.join(choices)}; it is {value!r}.")
        return value


def read_env_file(path: Path) -> dict[str, str]:
    """Return the `NAME=value` lines of a file as a dict; blank lines and lines with `#` first are left out."""
    values = {}
    for line in path.read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            name, _, value = line.partition("=")
            values[name.strip()] = value.strip()
    return values


def running_env(repository: Path) -> Env:
    """Return the reader for this process: its environment, then `stack.env` of the running development stack."""
    var = Path(os.environ.get("TXNSITE_VAR", repository / "var"))
    return Env(os.environ, var / "stack.env")
