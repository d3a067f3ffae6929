"""The API's description: whole, truthful, and kept by every answer to what schemathesis makes up."""

import json
import re
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from django.test import Client
from hypothesis import HealthCheck
from schemathesis import Case
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from schemathesis.checks import not_a_server_error

from tests.api.callers import Caller, json_of
from tests.books import assert_books_balance
from tests.desk import Desk
from txnsite.api import api

schema = schemathesis.openapi.from_dict(json.loads(json.dumps(api.get_openapi_schema(path_prefix="api/v1/"))))

# Not that good data is always accepted: no schema can say which cursors were handed out, or what an account holds.
CHECKS = [
    allow_header_conformance,
    content_type_conformance,
    negative_data_rejection,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
]


@pytest.fixture
def site() -> Iterator[WSGIHandler]:
    """The site, for schemathesis to call within the test's database transaction."""
    settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)
    # As Django's own test client does: a request would close the connection that the test's rows are on.
    request_started.disconnect(close_old_connections)
    request_finished.disconnect(close_old_connections)
    yield get_wsgi_application()
    request_started.connect(close_old_connections)
    request_finished.connect(close_old_connections)


@schema.parametrize()
@hypothesis.settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)
def test_every_answer_is_as_described(case: Case, caller: Caller, desk: Desk, site: WSGIHandler) -> None:
    case.call_and_validate(app=site, headers={"Authorization": f"Bearer {caller.token}"}, checks=CHECKS)
    assert_books_balance()
