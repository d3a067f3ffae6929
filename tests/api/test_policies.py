"""Payments under a policy: refused with a code of its own, or answered as one that waits for approval."""

import time
from typing import Any

import pytest

from accounts.models import Account
from tests.api.callers import Caller, books, json_of, problem_of
from tests.desk import ETHER, NOW, RECIPIENT, Desk, make_address, make_officer
from transactions.models import Transaction
from transactions.services.approvals import approve_payment, refuse_payment

OTHER = make_address(2**106)


@pytest.mark.parametrize(
    ("terms", "code", "field", "detail"),
    [
        (
            {"amount_max_in_wei": ETHER - 1},
            "amount_above_policy",
            "transaction_amount_in_wei",
            "At most 0.999999999999999999 ETH may be paid from this account at once.",
        ),
        (
            {"daily_amount_max_in_wei": ETHER // 2},
            "daily_amount_exceeded",
            "transaction_amount_in_wei",
            "At most 0.5 ETH may be paid from this account within 24 hours, and 0.5 ETH of it are left.",
        ),
        (
            {"is_allow_list_only": True},
            "recipient_not_allowed",
            "to_public_address",
            "This account pays only the recipients on its allow-list, and this address is not on it.",
        ),
    ],
)
def test_what_a_policy_does_not_allow(
    caller: Caller, desk: Desk, terms: dict[str, Any], code: str, field: str, detail: str
) -> None:
    desk.set_policy(caller.account, **terms)
    before = books()
    problem = problem_of(caller.pay(key="k"), 422)
    assert (problem["code"], problem["detail"]) == (code, detail)
    assert problem["errors"] == [{"field": field, "code": code, "detail": detail}]
    assert books() == before


def test_a_replay_is_answered_whatever_the_policy_says_now(caller: Caller, desk: Desk) -> None:
    first = caller.pay(key="k")
    desk.set_policy(caller.account, amount_max_in_wei=1, approval_above_in_wei=0, is_allow_list_only=True)
    again = caller.pay(key="k")
    assert (again.status_code, again.content) == (200, first.content)
    assert problem_of(caller.pay(key="another"), 422)["code"] == "recipient_not_allowed"


def test_a_payment_that_waits_for_approval_is_told_to_its_end(caller: Caller, desk: Desk) -> None:
    desk.set_policy(caller.account, approval_above_in_wei=0)
    payment = json_of(caller.pay(key="k"), 201)
    assert (payment["status"], payment["stage"], payment["approved_at"]) == ("PENDING", "REVIEW", None)
    path = f"transactions/{payment['id']}"
    assert json_of(caller.get(path)) == payment
    approve_payment(actor=make_officer(), transaction_id=payment["id"], now=NOW)
    approved = json_of(caller.get(path))
    assert (approved["stage"], approved["approved_at"]) == ("ACCEPTED", "2026-01-02T03:04:05Z")
    assert json_of(caller.pay(key="k")) == payment, "the first answer"
    desk.run_to_the_end()
    assert json_of(caller.get(path))["status"] == "SUCCESSFUL"


def test_a_refusal_says_why(caller: Caller, desk: Desk) -> None:
    desk.set_policy(caller.account, approval_above_in_wei=0)
    payment = json_of(caller.pay(), 201)
    refuse_payment(actor=make_officer(), transaction_id=payment["id"], reason="The invoice is unknown", now=NOW)
    refused = json_of(caller.get(f"transactions/{payment['id']}"))
    assert (refused["status"], refused["failure_reason"]) == ("FAILED", "refused")
    assert refused["failure_detail"] == "The invoice is unknown"


def test_its_owner_calls_it_off_at_once(caller: Caller, desk: Desk) -> None:
    desk.set_policy(caller.account, approval_above_in_wei=0)
    payment = json_of(caller.pay(), 201)
    answer = json_of(caller.client.post(f"/api/v1/transactions/{payment['id']}/cancel"))
    assert (answer["status"], answer["failure_reason"]) == ("FAILED", "cancelled")
    assert Account.objects.get(pk=caller.account.pk).available_balance_in_wei == 100 * ETHER


def test_nobody_waits_for_the_hash_of_one_that_waits_for_people(caller: Caller, desk: Desk) -> None:
    desk.set_policy(caller.account, approval_above_in_wei=0)
    started = time.monotonic()
    response = caller.pay(prefer="wait=10")
    assert time.monotonic() - started < 5
    assert json_of(response, 201)["stage"] == "REVIEW"


def test_on_the_list_however_it_is_written(caller: Caller, desk: Desk) -> None:
    desk.set_policy(caller.account, is_allow_list_only=True)
    desk.allow(RECIPIENT, account=caller.account)
    assert caller.pay(to_public_address=RECIPIENT.lower()).status_code == 201
    assert problem_of(caller.pay(to_public_address=OTHER), 422)["code"] == "recipient_not_allowed"
    assert Transaction.objects.count() == 1
