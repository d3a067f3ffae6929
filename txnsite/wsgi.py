"""WSGI entry point."""

import os
from collections.abc import Iterable
from typing import Any

from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.http.response import HttpResponseBase

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "txnsite.settings")
_handle = get_wsgi_application()

# Models can be imported from here on.
from transactions.exceptions import ChainMismatchError  # noqa: E402
from transactions.services.match import refuse_wrong_chain  # noqa: E402

try:
    refuse_wrong_chain()
except ChainMismatchError as error:
    raise SystemExit(f"The web server does not start: {error}") from None


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes] | HttpResponseBase:
    """Answer as Django does, but hand over whole answers as a list: the server sends those at once, not as a stream."""
    response = _handle(environ, start_response)
    if not isinstance(response, HttpResponse):
        return response
    body = [response.content]
    response.close()
    return body
