"""Cursors: opaque words that name a place in one list, and no other words."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.exceptions import BadCursorError
from accounts.models import Account
from accounts.paging import Page, cut_page, read_cursor, write_cursor
from tests.desk import make_account, make_user


def encode(text: str) -> str:
    """Return what a cursor looks like."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@given(st.integers(1, 2**63 - 1))
def test_a_cursor_is_read_back(last_id: int) -> None:
    assert read_cursor(write_cursor(last_id, of="entry"), of="entry") == last_id


@given(st.text())
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(BadCursorError):
        read_cursor(text, of="entry")


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        encode("entry:0"),
        encode("entry:-1"),
        encode("entry:01"),
        encode("entry:1 "),
        encode("entry:1\n"),
        encode(f"entry:{2**63}"),
        encode("entry:" + "9" * 30),
        encode("account:1"),
        encode("entry:١"),
        encode("entry:1") + "=",
        encode("entry:1") + "!",
        encode("entry:12") + "\n",
        # The same bytes in another spelling: the last letter has bits that decoding ignores.
        encode("entry:12")[:-1] + chr(ord(encode("entry:12")[-1]) + 1),
    ],
)
def test_forgeries_are_refused(cursor: str) -> None:
    with pytest.raises(BadCursorError):
        read_cursor(cursor, of="entry")


def test_a_list_is_cut_into_pages_without_gap_or_overlap(db: None) -> None:
    owner = make_user()
    numbers = [make_account(owner).pk for _ in range(7)][::-1]
    rows = Account.objects.filter(owner=owner)
    found: list[int] = []
    cursor = None
    sizes = []
    while True:
        page = cut_page(rows, of="account", cursor=cursor, limit=3)
        found += [row.pk for row in page.items]
        sizes.append(len(page.items))
        cursor = page.next_cursor
        if cursor is None:
            break
    assert (found, sizes) == (numbers, [3, 3, 1])
    assert cut_page(rows, of="account", cursor=None, limit=7).next_cursor is None


def test_a_page_is_shown_row_by_row() -> None:
    assert Page([1, 2], "next").map(str) == Page(["1", "2"], "next")
