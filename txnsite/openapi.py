"""The API's own description: problems told for each operation as truthfully as its successes."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.openapi.schema import OpenAPISchema
from pydantic import BaseModel, ConfigDict, Field

from txnsite import exceptions as site
from txnsite.problems import KINDS, MEDIA_TYPE, code_of, describe_kind

_UNUSED = HttpResponse()

ALWAYS: tuple[type[Exception], ...] = (
    site.InvalidRequestError,
    site.InternalError,
    site.DatabaseUnavailableError,
)
ONLY_WITH_AUTHENTICATION = (site.UnauthorizedError, site.BadTokenError)
ONLY_WHEN_CHANGING = (site.CsrfFailedError, site.BodyTooLargeError)
ONLY_WITH_A_BODY = (
    site.BadRequestError,
    site.MalformedJsonError,
    site.UnsupportedMediaTypeError,
    site.DuplicateFieldError,
)
_RETRY_AFTER = {"Retry-After": {"description": "Seconds after which to try again.", "schema": {"type": "integer"}}}
_PROBLEM_HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"description": "`Bearer`, RFC 6750.", "schema": {"type": "string"}}},
    409: _RETRY_AFTER,
    429: _RETRY_AFTER,
    503: _RETRY_AFTER,
}


class FieldProblem(BaseModel):
    """What is wrong with one field, parameter or header."""

    field: str
    code: str
    detail: str


class Problem(BaseModel):
    """An error (RFC 9457)."""

    model_config = ConfigDict(title="Problem")

    type: str = Field(description="Where this kind of problem is described.")
    title: str = Field(description="A summary, the same for every problem of this kind.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What happened, in words for people.")
    code: str = Field(description="What programs tell problems apart by; it never changes.")
    errors: list[FieldProblem] | None = Field(None, description="Field by field, where fields are what is wrong.")


def tells(
    *errors: type[Exception],
    authenticated: bool = True,
    changing: bool = False,
    body: bool = False,
    **extra: dict[str, Any],
) -> dict[str, Any]:
    """Return the part of an operation's description that lists what it answers when it can't do its work.

    :param changing: whether it changes something (POST).
    :param body: whether it reads a body.
    :param extra: more of the description by status, like `_201={"headers": …}`, or by name, like `requestBody`.
    """
    told = [*errors, *ALWAYS]
    told += ONLY_WITH_AUTHENTICATION if authenticated else ()
    told += ONLY_WHEN_CHANGING if changing else ()
    told += ONLY_WITH_A_BODY if body else ()
    responses: dict[Any, Any] = {}
    for error in sorted(told, key=lambda error: (KINDS[error].status, code_of(error))):
        status = KINDS[error].status
        response = responses.setdefault(status, _problem_response(status))
        response["content"][MEDIA_TYPE]["examples"][code_of(error)] = {
            "summary": KINDS[error].title,
            "value": describe_kind(error),
        }
        response["description"] += f"{', ' if response['description'] else ''}`{code_of(error)}`"
    for name in [name for name in extra if name.startswith("_")]:
        responses[int(name[1:])] = extra.pop(name)
    return {"responses": responses, **extra}


def header(description: str, example: str) -> dict[str, Any]:
    """Return the description of a response's header."""
    return {"description": description, "schema": {"type": "string"}, "example": example}


def _problem_response(status: int) -> dict[str, Any]:
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}}
    response: dict[str, Any] = {"description": "", "content": content}
    return {**response, "headers": _PROBLEM_HEADERS[status]} if status in _PROBLEM_HEADERS else response


class DeskApi(NinjaAPI):
    """An API whose operations answer with responses of their own, and whose description knows problems."""

    def create_temporal_response(self, request: HttpRequest) -> HttpResponse:
        """Return the response that ninja makes beforehand for operations that return data; ours return responses."""
        return _UNUSED

    def get_openapi_schema(self, **where: Any) -> OpenAPISchema:
        """Return the description with the schema of problems in it."""
        schema = super().get_openapi_schema(**where)
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schema["components"]["schemas"].update(problem.pop("$defs"))
        schema["components"]["schemas"]["Problem"] = problem
        return schema
