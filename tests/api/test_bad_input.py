"""Every kind of bad payment: its answer, and that no balance, hold, entry or row moved."""

from collections.abc import Callable
from typing import Any

import pytest

from accounts.cache_locks import cache_locks
from accounts.money import WEI_MAX
from accounts.services.tokens import revoke_token
from tests.api.callers import PAYMENTS, Caller, books, problem_of
from tests.desk import ETHER, FEE, freeze, make_account

BAD_ADDRESSES = {
    "empty": "",
    "text": "my friend",
    "too short": "0x70997970C51812dc3A010C7d01b50e0d17dc79C",
    "too long": "0x70997970C51812dc3A010C7d01b50e0d17dc79C88",
    "without 0x": "70997970C51812dc3A010C7d01b50e0d17dc79C8",
    "not hexadecimal": "0x70997970C51812dc3A010C7d01b50e0d17dc79Cg",
    "wrong checksum": "0x70997970c51812dc3A010C7d01b50e0d17dc79C8",
    "zero": "0x0000000000000000000000000000000000000000",
    "space before": " 0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
    "newline after": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8\n",
    "number": 5,
    "null": None,
    "list": ["0x70997970C51812dc3A010C7d01b50e0d17dc79C8"],
}

# As JSON text, since Python would not write some of them.
BAD_AMOUNTS = {
    "zero": "0",
    "zero as text": '"0"',
    "negative": "-1",
    "negative as text": '"-1"',
    "fractional": "1.5",
    "fractional as text": '"1.5"',
    "whole float": "1.0",
    "exponent": "1e18",
    "exponent as text": '"1e18"',
    "above 2^256-1": str(WEI_MAX + 1),
    "above 2^256-1 as text": f'"{WEI_MAX + 1}"',
    "far above": "9" * 6_000,
    "far above as text": f'"{"9" * 6_000}"',
    "far below": "-" + "9" * 6_000,
    "empty": '""',
    "blank": '" "',
    "with a space": '"1 000"',
    "with a space before": '" 1"',
    "with a line end": '"1\\n"',
    "with a sign": '"+1"',
    "with an underscore": '"1_000"',
    "with a leading zero": '"01"',
    "hexadecimal": '"0x10"',
    "other digits": '"\\u0661"',
    "unit": '"1 ether"',
    "true": "true",
    "null": "null",
    "list": "[1]",
    "object": '{"wei": 1}',
}

MALFORMED = {
    "empty": b"",
    "text": b"hello",
    "cut off": b'{"user_account_id": 1',
    "comma too many": b'{"user_account_id": 1,}',
    "not UTF-8": b'{"user_account_id": "\xff"}',
    "NaN": b'{"transaction_amount_in_wei": NaN}',
    "Infinity": b'{"transaction_amount_in_wei": -Infinity}',
    "endless nesting": b"[" * 60_000,
    "two documents": b"{}{}",
}


@pytest.fixture
def untouched(caller: Caller) -> Callable[[], None]:
    """A check that nothing has moved since."""
    before = books()

    def check() -> None:
        assert books() == before

    return check


@pytest.mark.parametrize("address", BAD_ADDRESSES.values(), ids=BAD_ADDRESSES)
def test_bad_address(caller: Caller, untouched: Callable[[], None], address: Any) -> None:
    problem = problem_of(caller.pay(to_public_address=address), 422)
    assert problem["code"] == "bad_address"
    assert [error["field"] for error in problem["errors"]] == ["to_public_address"]
    untouched()


@pytest.mark.parametrize("amount", BAD_AMOUNTS.values(), ids=BAD_AMOUNTS)
def test_bad_amount(caller: Caller, untouched: Callable[[], None], amount: str) -> None:
    body = (
        f'{{"user_account_id": {caller.account.pk}, "to_public_address": "{caller.payment()["to_public_address"]}", '
        f'"transaction_amount_in_wei": {amount}}}'
    )
    problem = problem_of(caller.pay(body), 422)
    assert problem["code"] == "bad_amount"
    assert [error["field"] for error in problem["errors"]] == ["transaction_amount_in_wei"]
    untouched()


@pytest.mark.parametrize("amount", [100 * ETHER, 100 * ETHER - FEE + 1, WEI_MAX])
def test_insufficient_funds_with_the_fee_counted(caller: Caller, untouched: Callable[[], None], amount: int) -> None:
    problem = problem_of(caller.pay(transaction_amount_in_wei=str(amount)), 422)
    assert problem["code"] == "insufficient_funds"
    untouched()


def test_funds_that_cover_amount_and_fee_exactly_are_enough(caller: Caller) -> None:
    assert caller.pay(transaction_amount_in_wei=100 * ETHER - FEE).status_code == 201
    caller.account.refresh_from_db()
    assert caller.account.available_balance_in_wei == 0
    assert caller.account.current_balance_in_wei == 100 * ETHER


def test_frozen_account(caller: Caller) -> None:
    freeze(caller.account)
    before = books()
    assert problem_of(caller.pay(), 422)["code"] == "account_frozen"
    assert books() == before


def test_account_of_another_and_none_are_the_same_answer(caller: Caller, stranger: Caller) -> None:
    system = make_account()
    before = books()
    answers = {
        caller.pay(user_account_id=account_id).content
        for account_id in (stranger.account.pk, system.pk, 987_654_321, 0, -1, 2**63, 2**80)
    }
    assert len(answers) == 1
    assert problem_of(caller.pay(user_account_id=stranger.account.pk), 404)["code"] == "account_not_found"
    assert books() == before


@pytest.mark.parametrize("account", ["1", 1.0, True, None, [], {}], ids=str)
def test_account_that_is_no_integer(caller: Caller, untouched: Callable[[], None], account: Any) -> None:
    problem = problem_of(caller.pay(user_account_id=account), 422)
    assert problem["code"] == "invalid_request"
    assert [error["field"] for error in problem["errors"]] == ["user_account_id"]
    untouched()


def test_locked_account(caller: Caller, settings: Any) -> None:
    settings.ACCOUNT_LOCK_WAIT_SECONDS = 0.05
    lock = cache_locks().acquire(f"account-lock:{caller.account.pk}", 10, 0.05)
    assert lock is not None
    before = books()
    response = caller.pay()
    assert problem_of(response, 409)["code"] == "account_locked"
    assert response["Retry-After"] == "1"
    assert books() == before
    cache_locks().release(lock)
    assert caller.pay().status_code == 201


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_malformed_json(caller: Caller, untouched: Callable[[], None], body: bytes) -> None:
    assert problem_of(caller.pay(body), 400)["code"] == "malformed_json"
    untouched()


@pytest.mark.parametrize("body", ["[]", "null", "5", '"x"', "true"])
def test_json_that_is_no_object(caller: Caller, untouched: Callable[[], None], body: str) -> None:
    assert problem_of(caller.pay(body), 422)["code"] == "invalid_request"
    untouched()


def test_missing_and_unknown_fields_are_all_named(caller: Caller, untouched: Callable[[], None]) -> None:
    problem = problem_of(caller.pay({"user_account_id": caller.account.pk, "amount": 5, "secret": "s3cret"}), 422)
    assert problem["code"] == "invalid_request"
    assert {(error["field"], error["code"]) for error in problem["errors"]} == {
        ("to_public_address", "missing"),
        ("transaction_amount_in_wei", "missing"),
        ("amount", "unknown_field"),
        ("secret", "unknown_field"),
    }
    assert "s3cret" not in str(problem)
    untouched()


def test_unknown_field_beside_a_good_payment(caller: Caller, untouched: Callable[[], None]) -> None:
    problem = problem_of(caller.pay(fee="0"), 422)
    assert [(error["field"], error["code"]) for error in problem["errors"]] == [("fee", "unknown_field")]
    untouched()


def test_field_written_twice(caller: Caller, untouched: Callable[[], None]) -> None:
    body = (
        f'{{"user_account_id": {caller.account.pk}, "to_public_address": "{caller.payment()["to_public_address"]}", '
        '"transaction_amount_in_wei": 1, "transaction_amount_in_wei": 2}'
    )
    assert problem_of(caller.pay(body), 422)["code"] == "duplicate_field"
    untouched()


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_body_that_is_not_declared_as_json(caller: Caller, untouched: Callable[[], None], media_type: str) -> None:
    response = caller.client.generic("POST", PAYMENTS, b'{"user_account_id": 1}', content_type=media_type)
    assert problem_of(response, 415)["code"] == "unsupported_media_type"
    untouched()


def test_json_with_a_charset_is_taken(caller: Caller) -> None:
    response = caller.client.post(PAYMENTS, caller.payment(), content_type="application/json; charset=utf-8")
    assert response.status_code == 201


@pytest.mark.parametrize("key", ["", " ", "a" * 256, "tab\there", "ünï", "line\x7f"], ids=repr)
def test_bad_idempotency_key(caller: Caller, untouched: Callable[[], None], key: str) -> None:
    problem = problem_of(caller.pay(key=key), 422)
    assert problem["code"] == "bad_idempotency_key"
    assert [error["field"] for error in problem["errors"]] == ["Idempotency-Key"]
    untouched()


def test_body_of_64_kib_is_read_and_one_byte_more_is_not(caller: Caller, untouched: Callable[[], None]) -> None:
    body = b'{"x": "' + b"a" * (64 * 1024 - 9) + b'"}'
    assert len(body) == 64 * 1024
    assert problem_of(caller.pay(body), 422)["code"] == "invalid_request"
    assert problem_of(caller.pay(body + b" "), 413)["code"] == "body_too_large"
    untouched()


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer x",
        "Bearer txn_" + "a" * 43,
        "Basic ZGVtbzpkZW1v",
        "Token abc",
        "Bearer txn_é",
    ],
)
def test_no_or_wrong_token(caller: Caller, untouched: Callable[[], None], header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    response = type(caller.client)(headers=headers).post(PAYMENTS, caller.payment(), content_type="application/json")
    assert problem_of(response, 401)["code"] in {"unauthorized", "bad_token"}
    assert response["WWW-Authenticate"].startswith('Bearer realm="txnsite"')
    untouched()


def test_revoked_token(caller: Caller) -> None:
    revoke_token(actor=None, token_id=caller.user.api_tokens.get().pk)
    before = books()
    assert problem_of(caller.pay(), 401)["code"] == "bad_token"
    assert books() == before
