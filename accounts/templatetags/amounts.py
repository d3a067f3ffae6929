"""Amounts, addresses and times as people read them. What is copied from the page is always the plain value.

Groups of digits are set apart by margins (the class `group`), never by characters, so that a copied number is a number.
"""

import datetime as dt
from itertools import zip_longest

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from accounts.money import format_ether

register = template.Library()

FRACTION_SHOWN_STRONG = 6
"""Digits after the point that people compare by; the rest is there, exact, but quieter."""


@register.filter
def ether(amount_in_wei: int | str | None) -> SafeString:
    """Return wei as an exact amount of ether, with its unit."""
    if amount_in_wei is None:
        return SafeString("")
    text = format_ether(int(amount_in_wei))
    whole, point, fraction = text.partition(".")
    strong, quiet = fraction[:FRACTION_SHOWN_STRONG], fraction[FRACTION_SHOWN_STRONG:]
    return format_html(
        '<span class="amount"><data value="{}">{}{}{}</data> <span class="unit">ETH</span></span>',
        text,
        _in_groups(whole, 3, from_right=True),
        f"{point}{strong}",
        format_html('<span class="amount-tail">{}</span>', quiet) if quiet else "",
    )


@register.filter
def signed_ether(amount_in_wei: int | str) -> SafeString:
    """Return a change of a balance: credits with a plus, which the style sheet draws so that it is never copied."""
    kind = "credit" if int(amount_in_wei) > 0 else "debit"
    return format_html('<span class="{}">{}</span>', kind, ether(amount_in_wei))


@register.filter
def ether_text(amount_in_wei: int | str) -> str:
    """Return wei as plain text, like "1.25 ETH", for titles, buttons and messages."""
    return f"{format_ether(int(amount_in_wei))} ETH"


@register.filter
def wei(amount_in_wei: int | str | None) -> SafeString:
    """Return the exact number of wei in groups of three digits that can break over lines."""
    if amount_in_wei is None:
        return SafeString("")
    text = str(int(amount_in_wei))
    return format_html(
        '<span class="wei"><data value="{}">{}</data> wei</span>', text, _in_groups(text, 3, from_right=True)
    )


@register.filter
def hexadecimal(text: str | None) -> SafeString:
    """Return an address or a hash in groups of four, as people compare them."""
    if not text:
        return SafeString("")
    return format_html('<span class="hex">{}</span>', _in_groups(text, 4, from_right=False, start=text[:2]))


@register.filter
def short_hexadecimal(text: str | None) -> SafeString:
    """Return the two ends of an address or a hash, the whole of it in the tooltip."""
    if not text:
        return SafeString("")
    return format_html('<span class="hex" title="{}">{}…{}</span>', text, text[:8], text[-6:])


@register.filter
def moment(at: dt.datetime | str | None) -> SafeString:
    """Return a point in time in UTC, to the second, readable by people and by programs.

    :param at: aware, or ISO 8601 as details carry it.
    """
    if not at:
        return SafeString("")
    if isinstance(at, str):
        at = dt.datetime.fromisoformat(at)
    at = at.astimezone(dt.UTC)
    return format_html(
        '<time datetime="{}">{} <span class="clock">{} UTC</span></time>',
        at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        f"{at.day} {at:%b %Y}",
        f"{at:%H:%M:%S}",
    )


def _in_groups(text: str, size: int, *, from_right: bool, start: str = "") -> SafeString:
    """Return `text` as spans of `size` characters, with places where a line may break.

    :param start: what stands in front of the groups and belongs to none, like 0x.
    """
    sign, digits = ("-", text[1:]) if text.startswith("-") else (start, text[len(start) :])
    first = len(digits) % size if from_right else 0
    groups = [digits[:first]] if first else []
    groups += ["".join(group) for group in zip_longest(*[iter(digits[first:])] * size, fillvalue="")]
    spans = format_html_join("", '<span class="group">{}</span><wbr>', ((group,) for group in groups[:-1]))
    return format_html("{}{}{}", sign, spans, groups[-1])
