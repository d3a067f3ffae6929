"""The limit of bodies, on a real server and however they are sent."""

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.test import Client

from tests.api.callers import PAYMENTS, Caller, books
from txnsite.stack.apps import Web

LIMIT = 64 * 1024


@pytest.fixture
def caller(transactional_db: None) -> Caller:
    """A program whose rows other processes see."""
    return Caller()


def post(web: Web, caller: Caller, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
    """Send a payment and return status and JSON."""
    address = urlsplit(web.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)
    sent = {"Authorization": f"Bearer {caller.token}", "Content-Type": "application/json", **headers}
    try:
        connection.request("POST", PAYMENTS, body=body, headers=sent, encode_chunked="Transfer-Encoding" in sent)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def chunks(body: bytes, size: int = 10_000) -> Iterator[bytes]:
    """Yield a body piece by piece."""
    for start in range(0, len(body), size):
        yield body[start : start + size]


def test_bodies_in_one_piece_and_in_chunks(caller: Caller, live_web: Web) -> None:
    good = json.dumps(caller.payment()).encode()
    in_chunks = {"Transfer-Encoding": "chunked"}
    assert post(live_web, caller, good)[0] == 201
    status, payment = post(live_web, caller, chunks(good, 7), **in_chunks)
    assert (status, payment["user_account_id"]) == (201, caller.account.pk)
    padded = good + b" " * (LIMIT - len(good))
    assert post(live_web, caller, padded)[0] == 201
    assert post(live_web, caller, chunks(padded), **in_chunks)[0] == 201
    before = books()
    for size in (LIMIT + 1, 10 * LIMIT):
        too_large = good + b" " * (size - len(good))
        for answer in (
            post(live_web, caller, too_large),
            post(live_web, caller, chunks(too_large), **in_chunks),
        ):
            assert (answer[0], answer[1]["code"]) == (413, "body_too_large")
    assert books() == before


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "٣"])
def test_a_length_that_is_no_number(client: Client, length: str) -> None:
    response = client.generic("POST", PAYMENTS, b"{}", content_type="application/json", CONTENT_LENGTH=length)
    assert (response.status_code, response.json()["code"]) == (400, "bad_request")


def test_a_form_that_is_too_large_is_refused_in_plain_words(client: Client) -> None:
    response = client.post("/sign-in/", {"username": "a" * LIMIT, "password": "b"})
    assert response.status_code == 413
    assert response.content.decode() == "The body is larger than 64 KiB."
