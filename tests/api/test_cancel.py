"""POST transactions/{id}/cancel: at once, by a replacement, or too late."""

from django.utils import timezone

from accounts.models import Account
from tests.api.callers import Caller, books, json_of, problem_of
from tests.desk import ETHER, Desk
from transactions.models import Transaction, Wallet


def cancel(caller: Caller, transaction_id: int) -> object:
    return caller.client.post(f"/api/v1/transactions/{transaction_id}/cancel")


def available(caller: Caller) -> int:
    return Account.objects.get(pk=caller.account.pk).available_balance_in_wei


def test_before_it_is_signed_it_is_over_at_once(caller: Caller) -> None:
    payment = json_of(caller.pay(), 201)
    answer = json_of(cancel(caller, payment["id"]))
    assert (answer["status"], answer["stage"], answer["failure_reason"]) == ("FAILED", "SETTLED", "cancelled")
    assert available(caller) == 100 * ETHER
    assert json_of(caller.get(f"transactions/{payment['id']}")) == answer
    before = books()
    assert json_of(cancel(caller, payment["id"])) == answer
    assert books() == before


def test_once_it_is_sent_a_cancel_is_asked_for_and_decided_by_the_chain(caller: Caller, desk: Desk) -> None:
    payment = json_of(caller.pay(), 201)
    desk.broadcast()
    answer = json_of(cancel(caller, payment["id"]))
    assert (answer["status"], answer["stage"]) == ("PENDING", "BROADCAST")
    assert answer["cancel_requested_at"]
    assert available(caller) < 99 * ETHER
    desk.run_to_the_end()
    answer = json_of(caller.get(f"transactions/{payment['id']}"))
    assert (answer["status"], answer["failure_reason"]) == ("FAILED", "cancelled")
    assert available(caller) == 100 * ETHER
    desk.assert_paid_once([])


def test_while_it_may_have_been_paid_it_stays_pending(caller: Caller, desk: Desk) -> None:
    payment = json_of(caller.pay(), 201)
    Wallet.objects.filter(pk=desk.wallet.pk).update(unknown_since=timezone.now())
    answer = json_of(cancel(caller, payment["id"]))
    assert (answer["status"], answer["stage"]) == ("PENDING", "ACCEPTED")
    assert answer["cancel_requested_at"]
    before = books()
    assert json_of(cancel(caller, payment["id"])) == answer
    assert books() == before


def test_too_late(caller: Caller, desk: Desk) -> None:
    payment = json_of(caller.pay(), 201)
    desk.broadcast()
    desk.mine()
    before = books()
    assert problem_of(cancel(caller, payment["id"]), 409)["code"] == "not_cancellable"
    assert books() == before


def test_anothers_and_none_are_the_same_answer(caller: Caller, stranger: Caller) -> None:
    payment = json_of(stranger.pay(), 201)
    before = books()
    answers = [problem_of(cancel(caller, number), 404) for number in (payment["id"], 0, 2**63, payment["id"] + 1)]
    assert {answer["code"] for answer in answers} == {"transaction_not_found"}
    assert books() == before
    assert Transaction.objects.get().status == "PENDING"
