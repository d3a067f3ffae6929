"""Payments in the admin: shown whole, never edited, found by what people have at hand, reconciled by a button."""

from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.urls import reverse
from kombu.exceptions import OperationalError

from tasks.models import TaskRun
from tests.desk import ETHER, Desk, make_account, make_address, make_user
from tests.staff import Staff, events, make_staff
from transactions.models import Attempt, Transaction

LIST = "admin:transactions_transaction_changelist"
Messages = list[tuple[Any, ...]]


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> Messages:
    """What would go to the workers."""
    sent: Messages = []
    monkeypatch.setattr(
        "celery.app.task.Task.apply_async", lambda task, args, **_options: sent.append((task.name, *args))
    )
    return sent


def listed(staff: Staff, **parameters: str) -> list[Transaction]:
    answer = staff.client.get(reverse(LIST), parameters)
    assert answer.status_code == 200
    return list(answer.context["cl"].result_list)


def page(staff: Staff, row: Transaction) -> str:
    content: str = staff.client.get(reverse("admin:transactions_transaction_change", args=[row.pk])).content.decode()
    return content


def reconcile(staff: Staff, *rows: Transaction) -> Any:
    fields = {"action": "reconcile", "_selected_action": [row.pk for row in rows], "index": 0}
    return staff.client.post(reverse(LIST), fields)


def test_a_payments_page_shows_its_attempts_with_their_bytes(operator: Staff, desk: Desk) -> None:
    row = desk.accept(3 * ETHER // 2)
    desk.broadcast()
    attempt = Attempt.objects.get()
    shown = page(operator, row)
    assert "0x" + bytes(attempt.raw_transaction).hex() in shown
    assert attempt.hash in shown
    assert "1.5 ETH" in shown
    assert "1,500,000,000,000,000,000 wei" in shown
    assert row.to_public_address in shown
    assert f"Main (#{desk.account.pk})" in shown
    assert "<input" not in shown.split('id="transaction_form"')[1].split("</form>")[0].replace(
        '<input type="hidden"', ""
    ), "nothing can be typed"


def test_the_list_shows_what_matters(operator: Staff, desk: Desk) -> None:
    row = desk.accept(3 * ETHER // 2)
    desk.broadcast()
    Transaction.objects.filter(pk=row.pk).update(needs_attention=True)
    row.refresh_from_db()
    shown = operator.client.get(reverse(LIST)).content.decode()
    assert row.transaction_hash is not None
    for text in ("1.5 ETH", "broadcast", "pending", "needs attention", row.to_public_address, row.transaction_hash):
        assert text in shown, text


def test_payments_are_found_by_whatever_is_at_hand(operator: Staff, desk: Desk) -> None:
    row = desk.accept(to=make_address())
    desk.broadcast()
    row.refresh_from_db()
    other = desk.accept(account=make_account(make_user("carol"), balance_in_wei=2 * ETHER), to=make_address())
    assert row.transaction_hash is not None
    hash_in_capitals = "0x" + row.transaction_hash[2:].upper()
    for term in (
        f"#{row.pk}", str(row.pk), row.transaction_hash, hash_in_capitals, f" {row.transaction_hash} ",
        row.to_public_address, row.to_public_address.lower(), row.from_public_address.lower(),
    ):  # fmt: skip
        assert row in listed(operator, q=term), term
        assert other not in listed(operator, q=term) or term.strip("#") == str(other.user_account_id), term
    assert listed(operator, q="CAROL") == [other]
    assert listed(operator, q="nobody") == []
    assert listed(operator, q="0x" + "12" * 20) == []
    assert listed(operator, q="0x" + "zz" * 20) == []
    assert listed(operator, q="9" * 18) == []


def test_an_earlier_attempts_hash_leads_to_its_payment(operator: Staff, desk: Desk) -> None:
    row = desk.accept()
    desk.broadcast()
    attempt = Attempt.objects.get()
    earlier = "0x" + "ab" * 32
    Attempt.objects.create(
        wallet=attempt.wallet,
        nonce=attempt.nonce,
        transaction=row,
        hash=earlier,
        raw_transaction=b"\x02",
        gas_limit=21_000,
        max_fee_per_gas_in_wei=2,
        max_priority_fee_per_gas_in_wei=1,
    )
    assert listed(operator, q=earlier) == [row]
    assert page(operator, row).count("Raw transaction:") == 2


def test_payments_are_filtered(operator: Staff, desk: Desk) -> None:
    done = desk.accept()
    desk.run_to_the_end()
    flagged = desk.accept()
    Transaction.objects.filter(pk=flagged.pk).update(needs_attention=True)
    assert listed(operator, status__exact="SUCCESSFUL") == [done]
    assert listed(operator, stage__exact="ACCEPTED") == [flagged]
    assert listed(operator, needs_attention__exact="1") == [flagged]
    assert listed(operator, accepted_at__gte="2030-01-01 00:00:00+00:00") == []


def test_a_payments_page_costs_the_same_however_many_attempts(
    operator: Staff, desk: Desk, django_assert_max_num_queries: Any
) -> None:
    row = desk.accept()
    desk.broadcast()
    with django_assert_max_num_queries(9):
        page(operator, row)


def test_one_payment_is_reconciled_from_its_page(operator: Staff, desk: Desk, messages: Messages) -> None:
    row = desk.accept()
    button = reverse("admin:transactions_transaction_reconcile", args=[row.pk])
    assert button in page(operator, row)
    assert operator.client.get(button).status_code == 405
    answer = operator.client.post(button)
    run = TaskRun.objects.get()
    assert answer["Location"] == reverse("task-detail", args=[run.pk])
    assert (run.owner, run.total) == (operator.user, 1)
    assert messages == [("tasks.housekeeping.reconcile_selected", str(run.pk), [row.pk])]
    (event,) = events("transaction.reconcile_started")
    assert (event.actor, event.target_id) == (operator.user, str(row.pk))


def test_many_payments_are_reconciled_from_the_list(operator: Staff, desk: Desk, messages: Messages) -> None:
    rows = desk.accept_many(3)
    answer = reconcile(operator, *rows)
    run = TaskRun.objects.get()
    assert answer["Location"] == reverse("task-detail", args=[run.pk])
    assert messages == [("tasks.housekeeping.reconcile_selected", str(run.pk), [row.pk for row in rows])]


def test_all_of_too_many_are_not(operator: Staff, desk: Desk, messages: Messages, monkeypatch: Any) -> None:
    monkeypatch.setattr("tasks.staff.RECONCILED_AT_ONCE_MAX", 2)
    rows = desk.accept_many(3)
    answer = reconcile(operator, *rows)
    assert [str(text) for text in get_messages(answer.wsgi_request)] == [
        "At most 2 payments can be reconciled at once."
    ]
    assert messages == []


def test_a_silent_broker_is_said(operator: Staff, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr("celery.app.task.Task.apply_async", refuse)
    answer = reconcile(operator, desk.accept())
    assert "The broker does not answer" in str(list(get_messages(answer.wsgi_request))[0])
    assert TaskRun.objects.get().status == "Failed"


def test_viewers_have_no_button_and_a_final_payment_neither(operator: Staff, desk: Desk) -> None:
    done = desk.accept()
    desk.run_to_the_end()
    under_way = desk.accept()
    assert "Reconcile now" not in page(operator, done)
    assert "Reconcile now" in page(operator, under_way)
    assert "Reconcile now" not in page(make_staff("viewers"), under_way)


def test_the_owner_finds_the_public_page(desk: Desk) -> None:
    staff = make_staff(is_superuser=True)
    own = desk.accept(account=make_account(staff.user, balance_in_wei=2 * ETHER))
    assert reverse("payment-detail", args=[own.pk]) in page(staff, own)
    assert reverse("payment-detail", args=[desk.accept().pk]) not in page(staff, Transaction.objects.latest("pk"))


def test_a_wallet_shows_what_it_has_and_what_is_in_flight(operator: Staff, desk: Desk) -> None:
    desk.accept_many(3)
    desk.broadcast()
    shown = operator.client.get(reverse("admin:transactions_wallet_changelist")).content.decode()
    assert desk.wallet.address in shown
    assert "1000 ETH" in shown
    assert '<td class="field-in_flight">3</td>' in shown
