"""A real server whose database, cache, broker or node is away."""

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.api.callers import PAYMENTS, Caller
from tests.books import assert_books_balance
from tests.conftest import StartWeb
from transactions.models import Transaction
from txnsite.stack.apps import Web
from txnsite.stack.ports import free_port


@pytest.fixture
def caller(transactional_db: None) -> Caller:
    """A program whose rows other processes see."""
    return Caller()


def ask(web: Web, caller: Caller, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any], str | None]:
    """Return status, JSON and Retry-After of a request."""
    address = urlsplit(web.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)
    headers = {"Authorization": f"Bearer {caller.token}", "Content-Type": "application/json", "Idempotency-Key": "k"}
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read()), response.getheader("Retry-After")
    finally:
        connection.close()


def test_without_cache_broker_and_node_payments_are_accepted_and_read(caller: Caller, start_web: StartWeb) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    web = start_web(
        env={
            "CACHE_URL": f"redis://{nowhere}/1",
            "CELERY_BROKER_URL": f"redis://{nowhere}/0",
            "CHAIN_RPC_URLS": f"http://{nowhere}",
        }
    )
    status, told, _ = ask(web, caller, "GET", "/readyz")
    assert (status, told["status"]) == (200, "degraded")
    status, payment, _ = ask(web, caller, "POST", PAYMENTS, caller.payment())
    assert status == 201
    assert ask(web, caller, "POST", PAYMENTS, caller.payment())[:2] == (200, payment)
    assert ask(web, caller, "GET", f"{PAYMENTS}/{payment['id']}")[:2] == (200, payment)
    assert Transaction.objects.count() == 1
    assert_books_balance()


def test_without_database_nothing_is_accepted_and_everybody_is_told(caller: Caller, start_web: StartWeb) -> None:
    web = start_web(env={"DATABASE_URL": f"postgresql://user:s3cret@127.0.0.1:{free_port()}/txnsite"})
    status, told, _ = ask(web, caller, "GET", "/readyz")
    assert (status, told["status"], told["checks"]["database"]["state"]) == (503, "down", "down")
    for method, path, body in (("GET", PAYMENTS, None), ("POST", PAYMENTS, caller.payment())):
        status, problem, retry_after = ask(web, caller, method, path, body)
        assert (status, problem["code"]) == (503, "database_unavailable")
        assert retry_after is not None
        assert "s3cret" not in str(problem)
    assert not Transaction.objects.exists()
