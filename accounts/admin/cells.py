"""Cells of the admin's tables: amounts, addresses, times, links."""

import datetime as dt

from django.db import models
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join

from accounts.models import Account
from accounts.money import format_ether

EMPTY = "–"
"""What stands where there is nothing: Django itself writes it in lists, but “None” on a row's page."""


def amount(amount_in_wei: int | None) -> str:
    """Return ether with the exact wei below it."""
    if amount_in_wei is None:
        return EMPTY
    return format_html(
        '<span class="desk-amount">{} ETH</span><span class="desk-quiet">{} wei</span>',
        format_ether(amount_in_wei),
        f"{amount_in_wei:,}",
    )


def ether(amount_in_wei: int | None) -> str:
    """Return ether on one line, the exact wei in the tooltip."""
    if amount_in_wei is None:
        return EMPTY
    return format_html('<span title="{} wei">{} ETH</span>', f"{amount_in_wei:,}", format_ether(amount_in_wei))


def hexadecimal(text: str | None) -> str:
    """Return an address or a hash whole, in a fixed-width type that breaks anywhere."""
    return format_html('<code class="desk-hex">{}</code>', text) if text else EMPTY


def folded_hexadecimal(content: bytes) -> str:
    """Return bytes as hexadecimal that a press unfolds, what shows being how many there are."""
    if not content:
        return EMPTY
    return format_html(
        "<details><summary>{} bytes</summary>{}</details>", len(content), hexadecimal(f"0x{content.hex()}")
    )


def short_hexadecimal(text: str | None) -> str:
    """Return the two ends of an address or a hash, the whole of it in the tooltip."""
    return format_html('<code title="{}">{}…{}</code>', text, text[:8], text[-6:]) if text else EMPTY


def age(at: dt.datetime | None) -> str:
    """Return how long ago something was, in one unit, the time itself in the tooltip."""
    if at is None:
        return EMPTY
    seconds = max(0, int((timezone.now() - at).total_seconds()))
    for width, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= width:
            text = f"{seconds // width} {unit}"
            break
    else:
        text = f"{seconds} s"
    return format_html('<time datetime="{}" title="{} UTC">{}</time>', at.isoformat(), f"{at:%Y-%m-%d %H:%M:%S}", text)


def link_to(model: type[models.Model], pk: object, text: object) -> str:
    """Return a link to a row's page in the admin; a dash where there is no row."""
    if pk is None:
        return EMPTY
    url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[pk])
    return format_html('<a href="{}">{}</a>', url, text)


def list_url(model: type[models.Model], **filters: object) -> str:
    """Return the address of a list in the admin, filtered."""
    url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    query = "&".join(f"{name}={value}" for name, value in filters.items())
    return f"{url}?{query}" if query else url


def links(*named: tuple[str, str]) -> str:
    """Return (text, address) pairs as links in a row."""
    return format_html_join(" · ", '<a href="{1}">{0}</a>', named)


def frozen(account: Account) -> str:
    """Return since when and why an account is frozen; a dash when it isn't."""
    if account.frozen_at is None:
        return EMPTY
    return format_html(
        '<span class="desk-pill desk-bad">frozen</span> <span class="desk-quiet">{} UTC: {}</span>',
        f"{account.frozen_at:%Y-%m-%d %H:%M}",
        account.frozen_reason,
    )


def pill(text: str, tone: str) -> str:
    """Return a word with a colour of its own: `good`, `bad` or `plain`."""
    return format_html('<span class="desk-pill desk-{}">{}</span>', tone, text)


def bar(percent: int | None, processed: int, total: int | None, *, is_finished: bool) -> str:
    """Return a progress bar with its numbers; one without an end while the total isn't known."""
    words = f"{processed:,}" if total is None else f"{processed:,} of {total:,}"
    if percent is None:
        if is_finished:
            return format_html("{}", words)
        return format_html('<progress title="{0}"></progress> {0}', words)
    return format_html('<progress max="100" value="{}" title="{}">{}%</progress> {}', percent, words, percent, words)
