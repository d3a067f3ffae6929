"""Keyset pages: newest first by primary key, each page found by an index however deep it is."""

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from django.db import models

from accounts.exceptions import BadCursorError

PAGE_SIZE = 50
PAGE_SIZE_MAX = 200
_BIGINT_MAX = 2**63 - 1
_CURSOR = re.compile(r"([a-z]+):([1-9][0-9]{0,18})")

Row = TypeVar("Row")
Shown = TypeVar("Shown")
RowModel = TypeVar("RowModel", bound=models.Model)


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Some rows of a longer list, and the cursor of the page after it if there is one."""

    items: list[Row]
    next_cursor: str | None

    def map(self, show: Callable[[Row], Shown]) -> "Page[Shown]":
        """Return the same page of what `show` makes of each row."""
        return Page([show(row) for row in self.items], self.next_cursor)


def cut_page(rows: models.QuerySet[RowModel], *, of: str, cursor: str | None, limit: int) -> Page[RowModel]:
    """Return the page of `rows` after `cursor`, newest first.

    :param of: what is listed, a word of its own for each list, so that a cursor only fits the list it came from.
    :raises BadCursorError: when the cursor is not one of this list.
    """
    if cursor is not None:
        rows = rows.filter(pk__lt=read_cursor(cursor, of=of))
    return page_of(list(rows.order_by("-pk")[: limit + 1]), of=of, limit=limit)


def page_of(found: list[RowModel], *, of: str, limit: int) -> Page[RowModel]:
    """Return the page of rows that were fetched with one more than `limit`, to see whether there are more."""
    items = found[:limit]
    return Page(items, write_cursor(items[-1].pk, of=of) if len(found) > limit else None)


def write_cursor(last_id: int, *, of: str) -> str:
    """Return the opaque word for “what comes after this row”."""
    return base64.urlsafe_b64encode(f"{of}:{last_id}".encode()).decode().rstrip("=")


def read_cursor(cursor: str, *, of: str) -> int:
    """Return the id of the row that the next page comes after.

    :raises BadCursorError: when the cursor was not made for this list.
    """
    try:
        # Lenient decoding would take a second spelling of the same cursor; comparing with our own refuses it.
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    except (binascii.Error, ValueError):
        raise BadCursorError from None
    match = _CURSOR.fullmatch(text)
    if match is None or match[1] != of or int(match[2]) > _BIGINT_MAX or write_cursor(int(match[2]), of=of) != cursor:
        raise BadCursorError
    return int(match[2])
