"""Payments over the API: made, replayed, waited for, read one by one and in pages."""

import itertools
import time
from typing import Any

import pytest

from accounts.cache import cache_commands
from accounts.money import WEI_MAX
from tests.api.callers import Caller, books, json_of, problem_of
from tests.books import assert_books_balance
from tests.desk import ETHER, FEE, RECIPIENT, Desk, credit, make_account
from transactions import detail
from transactions.api import payments as transactions_api
from transactions.chain import use_chain
from transactions.detail import read_detail
from transactions.models import Transaction
from transactions.services.broadcast import broadcast_payments

NOT_KNOWN_YET = dict.fromkeys(
    [
        "failure_reason",
        "failure_detail",
        "wait_reason",
        "from_public_address",
        "transaction_hash",
        "transaction_fee_blockchain_in_wei",
        "nonce",
        "block_number",
        "block_hash",
        "approved_at",
        "cancel_requested_at",
        "signed_at",
        "broadcast_at",
        "mined_at",
        "settled_at",
    ]
)


def test_a_payment_is_accepted_and_its_funds_are_held(caller: Caller) -> None:
    response = caller.pay()
    payment = json_of(response, 201)
    row = Transaction.objects.get()
    assert response["Location"] == f"/api/v1/transactions/{row.pk}"
    assert "Idempotency-Replayed" not in response
    assert "Preference-Applied" not in response
    assert response["Cache-Control"] == "no-store"
    accepted_at = payment.pop("accepted_at")
    assert accepted_at.endswith("Z")
    assert payment == {
        **NOT_KNOWN_YET,
        "id": row.pk,
        "user_account_id": caller.account.pk,
        "status": "PENDING",
        "stage": "ACCEPTED",
        "to_public_address": RECIPIENT,
        "transaction_amount_in_wei": str(ETHER),
        "transaction_fee_total_in_wei": str(FEE),
        "confirmations": 0,
        "confirmations_required": 10,
    }
    caller.account.refresh_from_db()
    assert caller.account.current_balance_in_wei == 100 * ETHER
    assert caller.account.available_balance_in_wei == 100 * ETHER - ETHER - FEE
    assert_books_balance()


@pytest.mark.parametrize("write", [str, int], ids=["as text", "as an integer"])
@pytest.mark.parametrize("amount", [1, 2**53 + 1, 2**64 - 1, 10**30 + 1, WEI_MAX - FEE])
def test_amounts_are_exact_up_to_the_largest(caller: Caller, amount: int, write: type) -> None:
    account = make_account(caller.user)
    credit(account, amount + FEE)
    payment = json_of(caller.pay(user_account_id=account.pk, transaction_amount_in_wei=write(amount)), 201)
    assert payment["transaction_amount_in_wei"] == str(amount)
    assert Transaction.objects.get().transaction_amount_in_wei == amount
    account.refresh_from_db()
    assert (account.current_balance_in_wei, account.available_balance_in_wei) == (amount + FEE, 0)
    assert json_of(caller.get(f"accounts/{account.pk}"))["current_balance_in_wei"] == str(amount + FEE)


# --- Idempotency ------------------------------------------------------------------------------------------------------
def test_the_same_request_again_is_the_same_answer_and_moves_nothing(caller: Caller) -> None:
    first = caller.pay(key="order-17")
    before = books()
    again = caller.pay(key="order-17")
    assert first.status_code == 201
    assert again.status_code == 200
    assert again.content == first.content
    assert again["Idempotency-Replayed"] == "true"
    assert again["Location"] == first["Location"]
    assert books() == before


def test_the_same_amount_and_address_written_otherwise_are_the_same_payment(caller: Caller) -> None:
    first = caller.pay(key="k", transaction_amount_in_wei=str(ETHER))
    again = caller.pay(key="k", transaction_amount_in_wei=ETHER, to_public_address=RECIPIENT.lower())
    assert again.status_code == 200
    assert again.content == first.content


def test_a_replay_tells_the_first_answer_even_when_the_payment_has_moved_on(caller: Caller, desk: Desk) -> None:
    first = caller.pay(key="k")
    broadcast_payments(desk.chain)
    assert Transaction.objects.get().transaction_hash
    again = caller.pay(key="k")
    assert again.content == first.content
    assert json_of(again)["transaction_hash"] is None
    waited = caller.pay(key="k", prefer="wait=5")
    assert json_of(waited)["transaction_hash"] == Transaction.objects.get().transaction_hash
    assert waited["Idempotency-Replayed"] == "true"


def test_a_replay_is_answered_when_the_funds_are_gone(caller: Caller) -> None:
    caller.pay(key="k", transaction_amount_in_wei=100 * ETHER - FEE)
    assert caller.pay(key="k", transaction_amount_in_wei=100 * ETHER - FEE).status_code == 200


@pytest.mark.parametrize("changes", [{"transaction_amount_in_wei": "1"}, {"to_public_address": "0x" + "ab" * 20}])
def test_the_same_key_for_another_payment_is_refused(caller: Caller, changes: dict[str, Any]) -> None:
    caller.pay(key="k")
    before = books()
    assert problem_of(caller.pay(key="k", **changes), 422)["code"] == "idempotency_key_reused"
    assert books() == before


def test_a_key_belongs_to_one_account(caller: Caller, stranger: Caller) -> None:
    second = make_account(caller.user, balance_in_wei=10 * ETHER)
    ids = {
        json_of(caller.pay(key="k"), 201)["id"],
        json_of(caller.pay(key="k", user_account_id=second.pk), 201)["id"],
        json_of(stranger.pay(key="k"), 201)["id"],
    }
    assert len(ids) == 3
    assert caller.pay(key="k", user_account_id=stranger.account.pk).status_code == 404


def test_without_a_key_each_request_is_a_payment(caller: Caller) -> None:
    assert json_of(caller.pay(), 201)["id"] != json_of(caller.pay(), 201)["id"]


# --- Prefer: wait -----------------------------------------------------------------------------------------------------
def test_wait_answers_when_the_hash_is_there(caller: Caller, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = itertools.count(1)

    def look(number: int) -> detail.Detail | None:
        if next(looks) == 3:
            broadcast_payments(desk.chain)
        return read_detail(number)

    monkeypatch.setattr(detail, "read_detail", look)
    response = caller.pay(prefer="wait=10")
    payment = json_of(response, 201)
    assert payment["transaction_hash"] == Transaction.objects.get().transaction_hash
    assert payment["stage"] == "BROADCAST"
    assert response["Preference-Applied"] == "wait=10"
    assert next(looks) == 4


def test_wait_ends_with_its_time(caller: Caller) -> None:
    started = time.monotonic()
    response = caller.pay(prefer="wait=1")
    assert 1 <= time.monotonic() - started < 3
    assert json_of(response, 201)["transaction_hash"] is None
    assert response["Preference-Applied"] == "wait=1"


def test_a_longer_wait_is_cut_to_ten_seconds(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    monkeypatch.setattr(transactions_api, "wait_for_hash", lambda _, seconds: asked.append(seconds))
    response = caller.pay(prefer="wait=3600")
    assert asked == [10]
    assert response["Preference-Applied"] == "wait=10"
    assert json_of(response, 201)["stage"] == "ACCEPTED"


def test_a_malformed_wait_is_ignored(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions_api, "wait_for_hash", None)
    response = caller.pay(prefer="wait=soon, respond-async")
    assert response.status_code == 201
    assert "Preference-Applied" not in response


def test_only_so_many_wait_at_once(caller: Caller, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    monkeypatch.setattr(transactions_api, "wait_for_hash", lambda *_: None)
    taken = [transactions_api._waiting.acquire(blocking=False) for _ in range(settings.PREFER_WAITERS_MAX)]
    assert all(taken)
    try:
        response = caller.pay(prefer="wait=10")
        assert response.status_code == 201
        assert "Preference-Applied" not in response
    finally:
        for _ in taken:
            transactions_api._waiting.release()
    assert caller.pay(prefer="wait=10")["Preference-Applied"] == "wait=10"


# --- One payment ------------------------------------------------------------------------------------------------------
def test_a_payment_can_be_read_by_its_owner_only(caller: Caller, stranger: Caller) -> None:
    accepted = caller.pay()
    path = f"transactions/{json_of(accepted, 201)['id']}"
    assert json_of(caller.get(path)) == json_of(accepted, 201)
    another = stranger.get(path)
    none = stranger.get("transactions/987654321")
    assert problem_of(another, 404)["code"] == "transaction_not_found"
    assert another.content == none.content


@pytest.mark.parametrize("number", [0, 2**63 - 1, 2**63, 10**40])
def test_a_number_that_no_payment_has(caller: Caller, number: int) -> None:
    assert problem_of(caller.get(f"transactions/{number}"), 404)["code"] == "transaction_not_found"


def test_a_cached_payment_is_read_without_the_database(caller: Caller, django_assert_num_queries: Any) -> None:
    # As after the request that accepted it: the test's own transaction never commits.
    number = json_of(caller.pay(), 201)["id"]
    cache_commands().forget([f"transaction:{number}"])
    first = caller.get(f"transactions/{number}")
    with django_assert_num_queries(0):
        second = caller.get(f"transactions/{number}")
    assert second.content == first.content


def test_a_cached_payment_is_no_strangers_either(caller: Caller, stranger: Caller) -> None:
    number = json_of(caller.pay(), 201)["id"]
    assert caller.get(f"transactions/{number}").status_code == 200
    assert stranger.get(f"transactions/{number}").status_code == 404
    assert read_detail(number) is not None


def test_a_payment_is_told_to_its_end(caller: Caller, desk: Desk) -> None:
    number = json_of(caller.pay(), 201)["id"]
    use_chain(desk.chain)
    try:
        desk.run_to_the_end()
    finally:
        use_chain(None)
    payment = json_of(caller.get(f"transactions/{number}"))
    assert payment["status"] == "SUCCESSFUL"
    assert payment["stage"] == "SETTLED"
    assert payment["confirmations"] >= payment["confirmations_required"] == 10
    assert payment["from_public_address"] == desk.wallet.address
    assert int(payment["transaction_fee_blockchain_in_wei"]) > 0
    assert payment["failure_reason"] is None
    entries = json_of(caller.get(f"accounts/{caller.account.pk}/entries"))["results"]
    assert [entry["amount_in_wei"] for entry in entries] == [str(-ETHER - FEE), str(100 * ETHER)]
    assert (entries[0]["kind"], entries[0]["source"]) == ("settlement", str(number))
