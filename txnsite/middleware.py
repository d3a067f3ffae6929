"""Middleware of our own: only what no library brings."""

import io
from collections.abc import Callable
from typing import Any, cast

from csp.middleware import CSPMiddleware
from django.conf import settings
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.csrf import CsrfViewMiddleware
from django_htmx.middleware import HtmxMiddleware

from txnsite import exceptions
from txnsite.problems import MEDIA_TYPE, problem

API_PREFIX = "/api/"
API_DOCS_PATH = "/api/v1/docs"
DRAINED_BYTES_MAX = 1024 * 1024
GetResponse = Callable[[HttpRequest], HttpResponseBase]

# What Django, or a library, answers by itself, told below /api/ like everything else.
_PLAIN_ERRORS: dict[int, type[exceptions.RequestError]] = {
    400: exceptions.BadRequestError,
    403: exceptions.ForbiddenError,
    404: exceptions.NotFoundError,
    405: exceptions.MethodNotAllowedError,
    413: exceptions.BodyTooLargeError,
    500: exceptions.InternalError,
}
_KEPT_HEADERS = ("Allow", "Retry-After")


def is_for_programs(request: HttpRequest) -> bool:
    """Say whether errors of this request are told in problem JSON."""
    return request.path_info.startswith(API_PREFIX)


class ProblemsForPrograms:
    """Turn every error below /api/ that isn't problem JSON yet into it, Django's own 404 and 500 included."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if response.status_code < 400 or not is_for_programs(request) or response["Content-Type"] == MEDIA_TYPE:
            return response
        error = _PLAIN_ERRORS.get(response.status_code)
        if error is None:
            return response
        # Django has logged a 500 with its traceback by now; there is nothing to add.
        told = problem(error(), is_logged=True)
        for name in _KEPT_HEADERS:
            if name in response:
                told[name] = response[name]
        return told


class LimitBody:
    """Refuse bodies above `BODY_BYTES_MAX`, whether their length is announced or they come in chunks.

    A body in chunks announces no length, and Django would take it for empty: it is read here, up to the limit.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        length = request.META.get("CONTENT_LENGTH") or ""
        if length:
            if not (length.isascii() and length.isdigit()):
                return self._refuse(request, exceptions.BadRequestError("Content-Length is not a number."))
            if len(length) > 12 or int(length) > settings.BODY_BYTES_MAX:
                return self._refuse(request, exceptions.BodyTooLargeError(), unread=int(length[:12]))
        elif "HTTP_TRANSFER_ENCODING" in request.META:
            body = request.META["wsgi.input"].read(settings.BODY_BYTES_MAX + 1)
            if len(body) > settings.BODY_BYTES_MAX:
                return self._refuse(request, exceptions.BodyTooLargeError(), unread=DRAINED_BYTES_MAX)
            request.META["CONTENT_LENGTH"] = str(len(body))
            request._stream = io.BytesIO(body)
        return self.get_response(request)

    def _refuse(self, request: HttpRequest, error: exceptions.RequestError, unread: int = 0) -> HttpResponse:
        """Return the answer; read away what is still coming, unless the client waits to be told to send it."""
        # A client that is still sending when the connection closes may never read the answer.
        unread = 0 if "HTTP_EXPECT" in request.META else min(unread, DRAINED_BYTES_MAX)
        while unread > 0 and (piece := request.META["wsgi.input"].read(min(unread, settings.BODY_BYTES_MAX))):
            unread -= len(piece)
        response = problem(error)
        if not is_for_programs(request):
            response = HttpResponse(str(error), status=response.status_code, content_type="text/plain; charset=utf-8")
        return response


class _PagesOnly:
    """Leave requests of programs alone: each has better things to do than what only a page needs."""

    get_response: Any

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if is_for_programs(request) and request.path_info != API_DOCS_PATH:
            return cast(HttpResponseBase, self.get_response(request))
        return super().__call__(request)  # type: ignore[misc,no-any-return]


class _WithoutToken:
    """Leave API requests that name a token alone: whoever sends one isn't asked for a session."""

    get_response: Any

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if "HTTP_AUTHORIZATION" in request.META and is_for_programs(request) and request.path_info != API_DOCS_PATH:
            return cast(HttpResponseBase, self.get_response(request))
        return super().__call__(request)  # type: ignore[misc,no-any-return]


class PageSecurityPolicy(_PagesOnly, CSPMiddleware):
    """Send pages with the content security policy."""


class PageMessages(_PagesOnly, MessageMiddleware):
    """Give pages their messages."""


class PageHtmx(_PagesOnly, HtmxMiddleware):
    """Tell pages whether htmx asks."""


class Session(_WithoutToken, SessionMiddleware):
    """Give people their session."""


class SessionUser(_WithoutToken, AuthenticationMiddleware):
    """Say whose session it is."""


class SessionCsrf(_WithoutToken, CsrfViewMiddleware):
    """Keep other sites from using a session."""
