"""The few drawings of the pages, inline, so that they take the colour of the text beside them."""

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()

PATHS = {
    "check": "M4.5 10.5l3.5 3.5 7.5-8",
    "cross": "M5.5 5.5l9 9M14.5 5.5l-9 9",
    "clock": "M10 5.5V10l3 2M10 2.8a7.2 7.2 0 1 1 0 14.4 7.2 7.2 0 0 1 0-14.4z",
    "alert": "M10 3.2l7.6 13.3H2.4zM10 8.3v3.6M10 14.2v.1",
    "info": "M10 9.2v4.6M10 6.3v.1M10 2.8a7.2 7.2 0 1 1 0 14.4 7.2 7.2 0 0 1 0-14.4z",
    "copy": "M7.5 7.5h8v9h-8zM12.5 7.5v-4h-8v9h3",
    "arrow-right": "M4 10h12M11 5l5 5-5 5",
    "arrow-left": "M16 10H4M9 5l-5 5 5 5",
    "plus": "M10 4.5v11M4.5 10h11",
    "minus": "M4.5 10h11",
    "lock": "M5.5 9h9v7.5h-9zM7.2 9V6.3a2.8 2.8 0 0 1 5.6 0V9",
    "up-right": "M6 14l8-8M7.5 6H14v6.5",
    "down-left": "M14 6l-8 8M12.5 14H6V7.5",
}


@register.simple_tag
def icon(name: str) -> SafeString:
    """Return a drawing that says nothing to a screen reader: the words beside it do."""
    return format_html(
        '<svg class="icon" viewBox="0 0 20 20" aria-hidden="true" focusable="false"><path d="{}"/></svg>', PATHS[name]
    )
