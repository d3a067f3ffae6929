"""The JSON API under /api/v1/: its routers, its description, and how its errors are told."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Router
from ninja.errors import AuthenticationError, HttpError, ValidationError
from ninja.openapi.docs import Swagger

from accounts.api import router as accounts_router
from accounts.exceptions import BadAmountError
from tasks.api import router as tasks_router
from transactions.api.deposits import router as deposits_router
from transactions.api.payments import router as transactions_router
from transactions.exceptions import BadAddressError
from txnsite.callers import SessionAuth, TokenAuth
from txnsite.exceptions import (
    BadRequestError,
    FieldProblem,
    InvalidRequestError,
    MalformedJsonError,
    NotFoundError,
    RequestError,
    UnauthorizedError,
)
from txnsite.openapi import DeskApi, Problem, tells
from txnsite.problems import KINDS, code_of, describe_kind, problem
from txnsite.replies import StrictParser, reply

# What the rules of one field already say with a code of its own.
_FIELD_ERRORS: dict[str, type[Exception]] = {error.code: error for error in (BadAmountError, BadAddressError)}
_NO_BODY = FieldProblem("body", "missing", "Field required")
_FIELD_CODES = {"missing": "missing", "extra_forbidden": "unknown_field"}

api = DeskApi(
    title="txnsite",
    version="1.0.0",
    description=(
        "A payments desk on Ethereum.\n\n"
        "Wei go out as decimal strings and come in as decimal strings or integers, exact up to 2^256-1. "
        "Errors are problem JSON (RFC 9457) with a stable `code`. Lists come in pages: follow `next`."
    ),
    urls_namespace="api",
    auth=[TokenAuth(), SessionAuth()],
    parser=StrictParser(),
    docs=Swagger({"persistAuthorization": False, "tryItOutEnabled": True}),
)
problems_router = Router(tags=["problems"])


@problems_router.get(
    "/problems/{code}",
    auth=None,
    operation_id="get_problem",
    summary="What a problem code means",
    response=Problem,
    openapi_extra=tells(NotFoundError, authenticated=False),
)
def get_problem(request: HttpRequest, code: str) -> HttpResponse:
    for error in KINDS:
        if code_of(error) == code:
            return reply(describe_kind(error))
    raise NotFoundError


api.add_router("", transactions_router)
api.add_router("", accounts_router)
api.add_router("", deposits_router)
api.add_router("", tasks_router)
api.add_router("", problems_router)


@api.exception_handler(ValidationError)
def _tell_invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    found = [_field_problem(item) for item in error.errors]
    if len(found) == 1 and found[0].code in _FIELD_ERRORS:
        return problem(_FIELD_ERRORS[found[0].code](found[0].detail))
    if found == [_NO_BODY]:
        return problem(MalformedJsonError("The body is not JSON (RFC 8259): it is empty."))
    return problem(InvalidRequestError(tuple(found)))


@api.exception_handler(HttpError)
def _tell_http_error(request: HttpRequest, error: HttpError) -> HttpResponse:
    # ninja turns whatever the parser raises into a 400 of its own.
    if isinstance(error.__cause__, RequestError):
        return problem(error.__cause__)
    return problem(UnauthorizedError() if isinstance(error, AuthenticationError) else BadRequestError())


@api.exception_handler(Exception)
def _tell(request: HttpRequest, error: Exception) -> HttpResponse:
    return problem(error)


def _field_problem(item: dict[str, Any]) -> FieldProblem:
    """Return what is wrong with a field without repeating what was sent.

    The place is ("body", parameter, field, …) or ("query" or "header" or "path", [parameter,] name).
    """
    place = [str(part) for part in item["loc"]]
    kind = str(item["type"])
    name = place[-1] if place[0] != "body" else ".".join(place[2:]) or "body"
    code = kind if kind in _FIELD_ERRORS else _FIELD_CODES.get(kind, "invalid")
    return FieldProblem(name, code, str(item["msg"]))
