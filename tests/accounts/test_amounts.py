"""Amounts, addresses and times on pages: exact, and copied as plain values."""

import datetime as dt
import re

import pytest

from accounts.money import WEI_MAX
from accounts.templatetags.amounts import (
    ether,
    ether_text,
    hexadecimal,
    moment,
    short_hexadecimal,
    signed_ether,
    wei,
)

ADDRESS = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"


def copied(html: str) -> str:
    """Return what a browser copies: the text, without tags."""
    return re.sub(r"<[^>]+>", "", html)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0 ETH"),
        (1, "0.000000000000000001 ETH"),
        (-1, "-0.000000000000000001 ETH"),
        (10**18, "1 ETH"),
        (1_250_000 * 10**18, "1250000 ETH"),
        (-1_258_000_000_000_000_000, "-1.258 ETH"),
        (WEI_MAX, f"{WEI_MAX // 10**18}.584007913129639935 ETH"),
        ("99991999999999999999", "99.991999999999999999 ETH"),
    ],
)
def test_ether_is_exact_and_copied_as_a_plain_number(amount: int | str, text: str) -> None:
    assert copied(ether(amount)) == text
    assert ether_text(amount) == text


def test_what_is_not_there_is_shown_as_nothing() -> None:
    shown = [ether(None), wei(None), hexadecimal(None), hexadecimal(""), short_hexadecimal(None), moment(None)]
    assert shown == [""] * 6


@pytest.mark.parametrize("amount", [0, 7, 999, 1_000, 12_345, 123_456, -1_234_567, WEI_MAX])
def test_wei_are_grouped_by_spans_and_copied_as_digits(amount: int) -> None:
    html = wei(amount)
    assert copied(html) == f"{amount} wei"
    groups = re.findall(r'<span class="group">(\d+)</span>', html)
    assert all(len(group) == 3 for group in groups[1:])
    # The last group has no margin behind it, so that the unit follows at the usual distance.
    assert len(groups) == (len(str(abs(amount))) - 1) // 3


def test_a_long_number_can_break_between_its_groups() -> None:
    assert wei(WEI_MAX).count("<wbr>") == 25


@pytest.mark.parametrize(("amount", "kind"), [(5, "credit"), (-5, "debit")])
def test_a_change_says_which_way_it_goes_and_the_plus_is_not_copied(amount: int, kind: str) -> None:
    html = signed_ether(amount * 10**18)
    assert f'class="{kind}"' in html
    assert copied(html) == f"{amount} ETH"


def test_an_address_is_shown_in_fours_and_copied_whole() -> None:
    html = hexadecimal(ADDRESS)
    assert copied(html) == ADDRESS
    assert '0x<span class="group">5aAe</span>' in html


def test_a_short_address_keeps_its_ends_and_has_the_whole_in_its_tooltip() -> None:
    html = short_hexadecimal(ADDRESS)
    assert copied(html) == "0x5aAeb6…1BeAed"
    assert f'title="{ADDRESS}"' in html


@pytest.mark.parametrize(
    "at",
    [
        dt.datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=dt.UTC),
        "2026-01-02T03:04:05.000678Z",
        "2026-01-02T05:04:05+02:00",
    ],
)
def test_times_are_in_utc_to_the_second(at: dt.datetime | str) -> None:
    html = moment(at)
    assert copied(html) == "2 Jan 2026 03:04:05 UTC"
    assert 'datetime="2026-01-02T03:04:05Z"' in html


def test_what_people_wrote_is_escaped() -> None:
    assert "<b>" not in hexadecimal("<b>")
    assert "<b>" not in short_hexadecimal("<b>")
