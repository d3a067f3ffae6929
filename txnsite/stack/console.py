"""What the person at the terminal sees: few lines, plain when nobody watches."""

import os
import sys
import time
from typing import TextIO


class Console:
    """Write lines for a person; colour only on a terminal that wants it."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._colour = self._stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"

    def say(self, line: str = "") -> None:
        self._write(line)

    def step(self, what: str, result: str, note: str = "") -> None:
        """Write a line of two columns and, less loud, a note."""
        self._write(f"  {what:<11} {result}  {self._dim(note)}".rstrip())

    def alert(self, line: str) -> None:
        """Write a line that must not be overlooked, with the time."""
        text = f"{time.strftime('%H:%M:%S')}  {line}"
        self._write(f"\033[33m{text}\033[0m" if self._colour else text)

    def fail(self, message: str) -> None:
        self._write(f"\033[31m{message}\033[0m" if self._colour else message)

    def _dim(self, text: str) -> str:
        return f"\033[2m{text}\033[0m" if self._colour and text else text

    def _write(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (BrokenPipeError, OSError):
            # The terminal is gone (a closed window, `| head`): what runs is more important than what is said.
            self._stream = open(os.devnull, "w")  # noqa: SIM115
