"""What can be wrong with a request before any service is asked. `code` is stable and goes out to API clients."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """What is wrong with one field or header of a request."""

    field: str
    code: str
    detail: str


class RequestError(Exception):
    """Something is wrong with this request."""

    code = "bad_request"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip().splitlines()[0])


class BadRequestError(RequestError):
    """This request can't be understood."""


class MalformedJsonError(RequestError):
    """The body is not JSON (RFC 8259)."""

    code = "malformed_json"


class UnsupportedMediaTypeError(RequestError):
    """The body must be sent as application/json."""

    code = "unsupported_media_type"


class BodyTooLargeError(RequestError):
    """The body is larger than 64 KiB."""

    code = "body_too_large"


class UnauthorizedError(RequestError):
    """Send an API token as “Authorization: Bearer …”, or sign in."""

    code = "unauthorized"


class BadTokenError(RequestError):
    """This API token is not valid, or was revoked."""

    code = "bad_token"


class CsrfFailedError(RequestError):
    """A request by session that changes something needs the header X-CSRFToken."""

    code = "csrf_failed"


class ForbiddenError(RequestError):
    """This is not allowed."""

    code = "forbidden"


class NotFoundError(RequestError):
    """There is nothing at this address."""

    code = "not_found"


class MethodNotAllowedError(RequestError):
    """This address does not take this method; the header Allow lists those it takes."""

    code = "method_not_allowed"


class InvalidRequestError(RequestError):
    """Some fields of this request are not valid."""

    code = "invalid_request"

    def __init__(self, errors: tuple[FieldProblem, ...] = (), message: str | None = None) -> None:
        super().__init__(message)
        self.errors = errors


class DuplicateFieldError(RequestError):
    """A field is written twice, and which of them is meant is anyone's guess."""

    code = "duplicate_field"


class DatabaseUnavailableError(RequestError):
    """The database does not answer. Repeat a payment with the same Idempotency-Key: it is then made only once."""

    code = "database_unavailable"

    retry_after_seconds = 2


class InternalError(RequestError):
    """Something went wrong on our side; it has been noted."""

    code = "internal_error"
