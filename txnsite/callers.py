"""Who calls the API: a program by its token, or a person's browser by its session."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from ninja.security import APIKeyCookie, HttpBearer
from ninja.utils import check_csrf

from accounts.services.tokens import authenticate_and_read
from txnsite.exceptions import BadTokenError, CsrfFailedError, UnauthorizedError


@dataclass(frozen=True, slots=True)
class Caller:
    """The user that a request is made for."""

    user_id: int


class ApiRequest(HttpRequest):
    """A request as API operations see it (for type checks only).

    `read_ahead` is what the cache held under the keys that the operation's `TokenAuth` was told to read along, and is
    there only if a token was sent.
    """

    auth: Caller
    read_ahead: dict[str, Any]


class TokenAuth(HttpBearer):
    """`Authorization: Bearer txn_…` (RFC 6750)."""

    openapi_bearerFormat = "txn_ and 43 characters"
    openapi_description = "An API token, from the admin or `manage.py create_api_token`."

    def __init__(self, read_ahead: Callable[[HttpRequest], Sequence[str]] | None = None) -> None:
        """Recognise tokens, and read what the operation needs of the cache in the same round trip.

        :param read_ahead: gives the cache's keys to read along.
        """
        super().__init__()
        self._read_ahead = read_ahead

    def __call__(self, request: HttpRequest) -> Caller | None:
        """Return the caller; nothing when no token was sent, and a session may say who it is.

        :raises UnauthorizedError: when another scheme is used.
        :raises BadTokenError: when the token is none, was revoked, or its user was deactivated.
        """
        header = request.META.get("HTTP_AUTHORIZATION")
        if header is None:
            return None
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer":
            raise UnauthorizedError
        return self.authenticate(request, token.strip())

    def authenticate(self, request: HttpRequest, token: str) -> Caller:
        keys = () if self._read_ahead is None else self._read_ahead(request)
        owner, request.read_ahead = authenticate_and_read(token, keys)  # type: ignore[attr-defined]
        if owner is None:
            raise BadTokenError
        return Caller(owner.user_id)


class SessionAuth(APIKeyCookie):
    """The session of someone who signed in on a page; whatever changes something needs Django's CSRF token as well."""

    param_name = settings.SESSION_COOKIE_NAME
    openapi_description = "The session of a signed-in browser; POST needs the header `X-CSRFToken` too."

    def __call__(self, request: HttpRequest) -> Caller | None:
        """Return the caller, or nothing when no one is signed in.

        :raises CsrfFailedError: when the CSRF token is missing or wrong.
        """
        if self.param_name not in request.COOKIES:
            return None
        return self.authenticate(request, None)

    def authenticate(self, request: HttpRequest, key: str | None) -> Caller | None:
        user = request.user
        if not user.is_authenticated:
            return None
        if check_csrf(request) is not None:
            raise CsrfFailedError
        return Caller(user.pk)
