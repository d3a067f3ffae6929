"""What the admin's first page says of approvals."""

from django import template

from transactions import queries

register = template.Library()


@register.simple_tag
def open_approvals_count() -> int:
    """Return how many payments wait for approval."""
    return queries.open_approvals_count()
