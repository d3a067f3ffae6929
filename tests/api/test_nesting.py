"""Deeply nested JSON is refused by a real web process, which lives on."""

import sys
import urllib.error
import urllib.request

import pytest

import transactions.chain  # noqa: F401 (brings web3, whose import raises the limit)
from accounts.services.tokens import create_token
from tests.conftest import StartWeb
from tests.desk import make_user


def test_a_web_process_survives_deeply_nested_json(start_web: StartWeb) -> None:
    web = start_web()
    token = create_token(user=make_user(), name="test").text
    request = urllib.request.Request(
        f"{web.url}/api/v1/transactions",
        data=b"[" * 60_000,
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        method="POST",
    )
    for _ in range(3):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=20)
        assert refused.value.code == 400
        refused.value.close()
    assert web.status_of("/healthz") == 200


def test_web3_does_not_raise_the_recursion_limit() -> None:
    assert sys.getrecursionlimit() <= 1_000
