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
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

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
def test_every_answer_is_as_described(case: Case[Any], caller: Caller, desk: Desk, site: WSGIHandler) -> None:
    case.call_and_validate(app=site, headers={"Authorization": f"Bearer {caller.token}"}, checks=CHECKS)
    assert_books_balance()


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    """Return method, path and description of every operation."""
    paths = schema.raw_schema["paths"]
    return [
        (method.upper(), path, operation)
        for path, by_method in paths.items()
        for method, operation in by_method.items()
    ]


def test_the_operations_are_those_promised() -> None:
    assert {(method, path) for method, path, _ in operations()} == {
        ("POST", "/api/v1/transactions"),
        ("GET", "/api/v1/transactions"),
        ("GET", "/api/v1/transactions/{transaction_id}"),
        ("POST", "/api/v1/transactions/{transaction_id}/cancel"),
        ("GET", "/api/v1/accounts"),
        ("GET", "/api/v1/accounts/{account_id}"),
        ("GET", "/api/v1/accounts/{account_id}/entries"),
        ("GET", "/api/v1/accounts/{account_id}/deposit-address"),
        ("POST", "/api/v1/accounts/{account_id}/deposit-address"),
        ("GET", "/api/v1/accounts/{account_id}/deposits"),
        ("GET", "/api/v1/tasks/{task_run_id}"),
        ("GET", "/api/v1/problems/{code}"),
    }


@pytest.mark.parametrize(
    ("method", "path", "operation"), operations(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_problem_is_described_with_an_example(method: str, path: str, operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    assert {"422", "500", "503"} <= set(responses)
    assert ("401" in responses) == ("security" in operation) == (path != "/api/v1/problems/{code}")
    assert ({"403", "413"} <= set(responses)) == (method == "POST")
    assert ({"400", "415"} <= set(responses)) == ("requestBody" in operation)
    for status, response in responses.items():
        if int(status) < 400:
            assert set(response["content"]) == {"application/json"}
            continue
        (media_type, content), *others = response["content"].items()
        assert (media_type, others) == ("application/problem+json", [])
        assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
        for code, example in content["examples"].items():
            assert (example["value"]["code"], example["value"]["status"]) == (code, int(status))
    assert ("Retry-After" in responses["503"]["headers"]) is True


def test_the_headers_of_a_payment_are_described() -> None:
    operation = schema.raw_schema["paths"]["/api/v1/transactions"]["post"]
    assert [parameter["name"] for parameter in operation["parameters"]] == ["Idempotency-Key", "Prefer"]
    assert set(operation["responses"]["201"]["headers"]) == {"Location", "Preference-Applied"}
    assert set(operation["responses"]["200"]["headers"]) == {"Location", "Preference-Applied", "Idempotency-Replayed"}
    assert "Retry-After" in operation["responses"]["409"]["headers"]
    assert "Retry-After" in operation["responses"]["429"]["headers"]


def test_how_many_confirmations_are_needed_is_the_desks_setting_and_not_described() -> None:
    assert not re.findall(r"\b(?:\d+|one|two|three|six|ten|twelve) confirmations", json.dumps(schema.raw_schema))


def test_the_description_is_served_without_a_token(client: Client) -> None:
    description = json_of(client.get("/api/v1/openapi.json"))
    assert description["openapi"].startswith("3.1")
    assert description["paths"].keys() == schema.raw_schema["paths"].keys()


def test_the_docs_page_needs_nothing_from_elsewhere(client: Client) -> None:
    page = client.get("/api/v1/docs")
    assert page.status_code == 200
    policy = page["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page.content.decode())
    assert len(addresses) >= 4
    assert all(address.startswith("/static/ninja/") for address in addresses)


def test_the_api_itself_sends_no_policy_for_pages(client: Client) -> None:
    assert "Content-Security-Policy" not in client.get("/api/v1/openapi.json")
