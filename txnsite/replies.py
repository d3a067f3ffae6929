"""What every API operation has in common: reading JSON strictly, answering JSON fast, pages, parameters."""

import datetime as dt
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from ninja.parser import Parser
from pydantic import BaseModel, Field
from pydantic_core import to_json

from accounts.paging import PAGE_SIZE, PAGE_SIZE_MAX, Page
from txnsite.exceptions import (
    DuplicateFieldError,
    FieldProblem,
    InvalidRequestError,
    MalformedJsonError,
    UnsupportedMediaTypeError,
)

INTEGER_DIGITS_MAX = 100
"""More digits than any field takes: longer integers are cut there, and are refused for their size all the same."""

Row = TypeVar("Row")


class StrictParser(Parser):
    """Read bodies as JSON means it (RFC 8259): no NaN, no field twice, integers exact whatever their size."""

    def parse_body(self, request: HttpRequest) -> Any:
        """Return the body's value.

        :raises UnsupportedMediaTypeError: when it isn't declared as JSON.
        :raises MalformedJsonError: when it is none.
        :raises DuplicateFieldError: when an object has a field twice.
        """
        if request.content_type != "application/json":
            raise UnsupportedMediaTypeError
        try:
            return json.loads(
                request.body.decode("utf-8"),
                parse_int=_parse_integer,
                parse_constant=_refuse_constant,
                object_pairs_hook=_refuse_duplicates,
            )
        except (ValueError, RecursionError) as error:
            # The message names a position and never what is written there.
            raise MalformedJsonError(f"The body is not JSON (RFC 8259): {error}") from None


def reply(data: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None) -> HttpResponse:
    """Return JSON that no one keeps a copy of."""
    body = to_json(data)
    return HttpResponse(
        body, status=status, content_type="application/json", headers={"Cache-Control": "no-store", **(headers or {})}
    )


class PageParameters(BaseModel):
    """Which page of a list."""

    cursor: Annotated[str | None, Field(max_length=100, description="From `next` of the page before; opaque.")] = None
    limit: Annotated[int, Field(ge=1, le=PAGE_SIZE_MAX, description="How many at most.")] = PAGE_SIZE


def reply_page(
    request: HttpRequest, page: Page[Row], show: Callable[[Row], Mapping[str, Any]], *, limit: int, **filters: object
) -> HttpResponse:
    """Return a page as JSON, with the whole address of the next one."""
    following = None
    if page.next_cursor is not None:
        asked = {name: value for name, value in filters.items() if value is not None}
        following = request.build_absolute_uri(
            f"{request.path}?{urlencode({**asked, 'limit': limit, 'cursor': page.next_cursor})}"
        )
    return reply({"results": [show(row) for row in page.items], "next": following})


def require_known_parameters(request: HttpRequest, names: Iterable[str]) -> None:
    """Refuse a query with parameters that mean nothing here, or twice: a mistyped filter must not list everything.

    :raises InvalidRequestError: naming them.
    """
    known = set(names)
    problems = [
        FieldProblem(name, "unknown_parameter", "There is no such parameter.")
        if name not in known
        else FieldProblem(name, "duplicate_parameter", "Give this parameter once.")
        for name, values in request.GET.lists()
        if name not in known or len(values) > 1
    ]
    if problems:
        raise InvalidRequestError(tuple(problems))


def utc(at: dt.datetime) -> str:
    """Return a time in UTC as ISO 8601 writes it, with a Z."""
    return at.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")


def _parse_integer(text: str) -> int:
    return int(text[:INTEGER_DIGITS_MAX])


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise DuplicateFieldError
    return value
