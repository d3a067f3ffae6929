"""WSGI entry point."""

import os
from collections.abc import Iterable
from typing import Any

import django
from django.core.handlers.wsgi import WSGIHandler

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "txnsite.settings")


class Application(WSGIHandler):
    """Django's handler, handing over a whole answer as a list: the server sends that at once, and not as a stream."""

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        response = super().__call__(environ, start_response)
        if getattr(response, "streaming", True):
            return response
        body = [response.content]
        response.close()
        return body


django.setup(set_prefix=False)
application = Application()
