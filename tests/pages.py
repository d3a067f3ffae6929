"""Read pages as people do: the text that would be copied, without tags, hidden words included."""

import re
from html import unescape
from html.parser import HTMLParser
from typing import Any

from accounts.models import Account, User

_SILENT = {"script", "style", "head"}
_BLOCKS = {"p", "div", "li", "dt", "dd", "h1", "h2", "br", "section", "td", "th"}
_BLOCKS |= {"button", "a", "label", "option", "progress", "strong"}


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.ids: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silent += tag in _SILENT
        if tag in _BLOCKS:
            self.words.append(" ")
        self.ids += [value for name, value in attrs if name == "id" and value]

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in _SILENT
        if tag in _BLOCKS:
            self.words.append(" ")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.words.append(data)


def owner_of(account: Account) -> User:
    """Return whose account this is."""
    assert account.owner is not None, "an account of the desk's own"
    return account.owner


def text_of(response: Any) -> str:
    """Return the words of a page in one line."""
    return " ".join("".join(_read(response).words).split())


def ids_of(response: Any) -> list[str]:
    """Return the ids of all elements, in order."""
    return _read(response).ids


def links_of(response: Any) -> list[str]:
    """Return where the links of a page lead, in order."""
    return [unescape(link) for link in re.findall(r'<a [^>]*href="([^"]+)"', response.content.decode())]


def _read(response: Any) -> _Reader:
    reader = _Reader()
    reader.feed(response.content.decode())
    return reader
