"""Errors: each has a status and a code, and whatever goes wrong below /api/ is told as problem JSON."""

import importlib
import json
import logging
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import IntegrityError, InterfaceError, OperationalError, connection
from django.http import HttpResponse
from django.test import Client

import accounts
import tasks
import transactions
from accounts.exceptions import AccountsError, InsufficientFundsError
from tasks.exceptions import TasksError
from tests.api.callers import Caller, json_of, problem_of
from tests.desk import make_account
from transactions.api import payments as transactions_api
from transactions.chain.exceptions import ChainError
from transactions.exceptions import TransactionsError
from txnsite.exceptions import RequestError
from txnsite.problems import CONSTRAINTS, KINDS, code_of, describe_kind, problem


def leaves(of: type[Exception]) -> Iterator[type[Exception]]:
    """Yield the errors below `of` that nothing is derived from, of all modules."""
    for package in (accounts, transactions, tasks):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if ".migrations" not in module.name:
                importlib.import_module(module.name)
    below = of.__subclasses__()
    for error in below:
        if error.__subclasses__():
            yield from leaves(error)
        else:
            yield error


@pytest.mark.parametrize("base", [AccountsError, TransactionsError, TasksError, ChainError, RequestError])
def test_every_error_is_in_the_map(base: type[Exception]) -> None:
    assert {error.__name__ for error in leaves(base)} - {error.__name__ for error in KINDS} == set()


def test_codes_are_unique_and_of_their_own() -> None:
    codes = [code_of(error) for error in KINDS]
    assert len(set(codes)) == len(codes)
    assert all("code" in vars(error) or error.__name__ == "BadRequestError" for error in KINDS)
    assert all(400 <= kind.status <= 599 and kind.title for kind in KINDS.values())


def test_constraints_in_the_map_exist(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT conname FROM pg_constraint UNION SELECT relname FROM pg_class WHERE relkind = 'i'")
        existing = {row[0] for row in cursor.fetchall()}
    assert set(CONSTRAINTS) - existing == set()
    assert set(CONSTRAINTS.values()) <= set(KINDS)


def test_every_type_is_described_where_it_says(client: Client) -> None:
    for error in KINDS:
        described = describe_kind(error)
        assert json_of(client.get(described["type"])) == described
    assert problem_of(client.get("/api/v1/problems/no_such_code"), 404)["code"] == "not_found"


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize(
    "path", ["/api/", "/api/v1/", "/api/v1/nothing", "/api/v1/transactions/", "/api/v1/transactions/x", "/api/v2/x"]
)
def test_unknown_addresses(client: Client, settings: Any, path: str, debug: bool) -> None:
    settings.DEBUG = debug
    assert problem_of(client.get(path), 404)["code"] == "not_found"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "transactions", {"GET", "POST"}),
        ("PUT", "transactions/1", {"GET"}),
        ("POST", "accounts", {"GET"}),
        ("PATCH", "accounts/1/entries", {"GET"}),
    ],
)
def test_methods_that_are_not_taken(caller: Caller, method: str, path: str, allowed: set[str]) -> None:
    response = caller.client.generic(method, f"/api/v1/{path}")
    assert problem_of(response, 405)["code"] == "method_not_allowed"
    assert set(response["Allow"].split(", ")) == allowed


def test_pages_answer_people_in_html(client: Client) -> None:
    response = client.get("/no/such/page")
    assert response.status_code == 404
    assert response["Content-Type"].startswith("text/html")


# --- What nobody expected ---------------------------------------------------------------------------------------------
@pytest.fixture
def fail_with(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], HttpResponse]:
    """Make a payment that ends in an exception, and return the answer."""

    def fail(error: Exception) -> HttpResponse:
        def fault(**_: object) -> None:
            raise error

        monkeypatch.setattr(transactions_api, "submit_payment", fault)
        return caller.pay()

    return fail


def test_an_unexpected_error_is_logged_and_tells_nothing(
    fail_with: Callable[[Exception], HttpResponse], caplog: pytest.LogCaptureFixture, settings: Any
) -> None:
    for settings.DEBUG in (False, True):
        caplog.clear()
        response = fail_with(ZeroDivisionError("the secret is 42"))
        assert problem_of(response, 500)["code"] == "internal_error"
        assert "42" not in response.content.decode()
        assert "Zero" not in response.content.decode()
        assert "the secret is 42" in caplog.text


@pytest.mark.parametrize(
    "error", [OperationalError("server at 10.1.2.3 closed"), InterfaceError("connection is closed")]
)
def test_a_database_that_does_not_answer(
    fail_with: Callable[[Exception], HttpResponse], caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    with caplog.at_level(logging.WARNING):
        response = fail_with(error)
    problem = problem_of(response, 503)
    assert problem["code"] == "database_unavailable"
    assert "Idempotency-Key" in problem["detail"]
    assert "10.1.2.3" not in response.content.decode()
    assert int(response["Retry-After"]) >= 1
    assert type(error).__name__ in caplog.text


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (PermissionDenied("internal words"), 403, "forbidden"),
        (SuspiciousOperation("internal words"), 400, "bad_request"),
        (IntegrityError("internal words"), 500, "internal_error"),
        (AccountsError("internal words"), 500, "internal_error"),
    ],
)
def test_errors_of_the_framework(
    fail_with: Callable[[Exception], HttpResponse], error: Exception, status: int, code: str
) -> None:
    response = fail_with(error)
    assert problem_of(response, status)["code"] == code
    assert "internal words" not in response.content.decode()


def violate(statement: str) -> IntegrityError:
    """Return the database's refusal of a statement."""
    with pytest.raises(IntegrityError) as refusal, connection.cursor() as cursor:
        cursor.execute(statement, [make_account().pk])
    return refusal.value


@pytest.mark.django_db(transaction=True)
def test_a_refusal_by_a_known_constraint_is_told_as_what_it_means() -> None:
    error = violate("UPDATE accounts_account SET available_balance_in_wei = -1 WHERE id = %s")
    told = json.loads(problem(error).content)
    assert told["code"] == InsufficientFundsError.code
    assert told["status"] == 422


@pytest.mark.django_db(transaction=True)
def test_a_refusal_by_another_constraint_is_our_fault() -> None:
    error = violate("UPDATE accounts_account SET frozen_at = now() WHERE id = %s")
    response = problem(error)
    assert response.status_code == 500
    assert "frozen" not in response.content.decode()
