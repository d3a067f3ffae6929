"""Approvers see what waits, the longest waiting first, and approve or refuse it on a page that tells all."""

import datetime as dt
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse

from accounts.models import AuditEvent, User
from tests.desk import ETHER, NOW, RECIPIENT, Desk, freeze, make_account, make_address, make_officer
from tests.pages import owner_of, text_of
from tests.staff import PASSWORD, Staff, events, make_staff
from transactions.models import Approval, Transaction, Wallet
from transactions.services.approvals import refuse_payment
from transactions.services.cancel import cancel_transaction

LIST = "admin:transactions_approval_changelist"


@pytest.fixture
def approver(desk: Desk) -> Staff:
    return make_staff("approvers")


@pytest.fixture
def nudges(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A one for each time that the broadcaster was woken."""
    woken: list[int] = []
    monkeypatch.setattr("tasks.approving.nudge_broadcast", lambda: woken.append(1))
    return woken


@pytest.fixture
def payment(desk: Desk) -> Transaction:
    return desk.accept_for_review(2 * ETHER)


def decide_url(row: Transaction) -> str:
    return reverse("admin:transactions_approval_decide", args=[row.pk])


def decide(staff: Staff, row: Transaction, verdict: str, reason: str = "") -> Any:
    return staff.client.post(decide_url(row), {verdict: "pressed", "reason": reason})


def said(answer: Any) -> list[str]:
    return [str(message) for message in get_messages(answer.wsgi_request)]


def listed(staff: Staff, **query: str) -> list[int]:
    answer = staff.client.get(reverse(LIST), query)
    assert answer.status_code == 200
    return [row.pk for row in answer.context["cl"].result_list]


def test_open_ones_come_first_the_longest_waiting_on_top(approver: Staff, desk: Desk) -> None:
    desk.set_policy(approval_above_in_wei=0)
    rows = [desk.accept(ETHER, now=NOW + dt.timedelta(minutes=number)) for number in range(5)]
    refuse_payment(actor=make_officer(), transaction_id=rows[0].pk, reason="x", now=NOW)
    refuse_payment(actor=make_officer(), transaction_id=rows[2].pk, reason="x", now=NOW + dt.timedelta(hours=1))
    cancel_transaction(actor=owner_of(desk.account), transaction_id=rows[3].pk, now=NOW + dt.timedelta(hours=2))
    order = [rows[number].pk for number in (1, 4, 3, 2, 0)]
    assert listed(approver) == order
    assert listed(approver, state="open") == order[:2]
    assert listed(approver, state="refused") == order[3:]
    assert listed(approver, state="withdrawn") == [rows[3].pk]
    assert listed(approver, state="approved") == []
    desk_index = approver.client.get(reverse("admin:index"))
    assert "2 payments waiting for approval" in text_of(desk_index)
    assert "waiting for approval" not in text_of(make_staff("viewers").client.get(reverse("admin:index")))


def test_the_list_tells_who_how_much_to_whom_and_why(approver: Staff, desk: Desk, payment: Transaction) -> None:
    page = approver.client.get(reverse(LIST)).content.decode()
    user_name = owner_of(desk.account).username
    for text in ("2 ETH", RECIPIENT, user_name, f"Main (#{desk.account.pk})", "above 1 ETH", decide_url(payment)):
        assert text in page, text
    for query in (f"#{payment.pk}", user_name, RECIPIENT.lower(), str(desk.account.pk)):
        assert listed(approver, q=query) == [payment.pk], query
    assert listed(approver, q="nobody") == listed(approver, q=make_address()) == []


def test_a_list_costs_the_same_however_long(approver: Staff, desk: Desk, django_assert_num_queries: Any) -> None:
    desk.set_policy(approval_above_in_wei=0)
    for _ in range(5):
        desk.accept(1)
    approver.client.get(reverse(LIST))
    with django_assert_num_queries(6):  # session, user, two of permissions, count, rows
        approver.client.get(reverse(LIST))


def test_the_page_tells_all_that_speaks_for_and_against_it(approver: Staff, desk: Desk) -> None:
    desk.accept(ETHER)
    desk.run_to_the_end()
    payment = desk.accept_for_review(2 * ETHER)
    desk.allow(RECIPIENT)
    text = text_of(approver.client.get(decide_url(payment)))
    for words in (
        "Amount 2 ETH 2,000,000,000,000,000,000 wei, and a fee of 0.008 ETH",
        f"To {RECIPIENT} on the allow-list; paid from this account 1 time before",
        "ETH available besides this payment",
        "The account's policy asks for approval above 1 ETH.",
    ):
        assert words in text
    assert "As the policy is now" not in text
    desk.set_policy(approval_above_in_wei=ETHER, amount_max_in_wei=ETHER)
    text = text_of(approver.client.get(decide_url(payment)))
    assert "As the policy is now, this payment would not be taken: At most 1 ETH may be paid" in text
    assert "never paid from this account before" in text_of(
        approver.client.get(decide_url(new_review(desk, to=make_address())))
    )


def new_review(desk: Desk, *, to: str = RECIPIENT) -> Transaction:
    desk.set_policy(approval_above_in_wei=0)
    return desk.accept(1, to=to)


def test_an_approved_payment_goes_out(approver: Staff, desk: Desk, payment: Transaction, nudges: list[int]) -> None:
    answer = decide(approver, payment, "approve", "Called the owner")
    assert answer["Location"] == reverse(LIST)
    assert said(answer) == [f"Approved: payment #{payment.pk} of 2 ETH goes out."]
    assert nudges == [1]
    (event,) = events("payment.approved")
    assert (event.actor, event.reason, event.target_id) == (approver.user, "Called the owner", str(payment.pk))
    desk.run_to_the_end()
    desk.assert_paid_once([payment])
    page = text_of(approver.client.get(reverse("admin:transactions_approval_change", args=[payment.pk])))
    assert "approved" in page
    assert "Called the owner" in page


def test_a_refused_one_ends_and_its_owner_reads_why(
    approver: Staff, desk: Desk, payment: Transaction, nudges: list[int]
) -> None:
    answer = decide(approver, payment, "refuse", "The invoice is unknown")
    assert said(answer) == [f"Refused: payment #{payment.pk} of 2 ETH. The money is available again."]
    assert nudges == []
    (event,) = events("payment.refused")
    assert (event.actor, event.reason) == (approver.user, "The invoice is unknown")
    client = Client()
    client.force_login(owner_of(desk.account))
    text = text_of(client.get(f"/payments/{payment.pk}/"))
    assert "The payment was not approved" in text
    assert "Our staff said: “The invoice is unknown”" in text
    desk.assert_books_balance()


def test_what_may_have_been_paid_is_not_refused_and_never_sent_once_called_off(
    approver: Staff, desk: Desk, payment: Transaction, nudges: list[int]
) -> None:
    Wallet.objects.update(unknown_since=NOW)
    answer = decide(approver, payment, "refuse", "x")
    words = "A transaction that nobody can tell yet may have paid it: tell that one first, on its wallet's page."
    assert answer.context["form"].errors == {"__all__": [words]}
    assert Approval.objects.get().is_open
    assert "called this payment off" not in text_of(approver.client.get(decide_url(payment)))
    cancel_transaction(actor=owner_of(desk.account), transaction_id=payment.pk, now=NOW)
    assert "called this payment off" in text_of(approver.client.get(decide_url(payment)))
    answer = decide(approver, payment, "approve")
    assert said(answer) == [f"Approved: payment #{payment.pk} of 2 ETH was called off and is not sent."]


def test_a_refusal_needs_a_reason(approver: Staff, payment: Transaction) -> None:
    answer = decide(approver, payment, "refuse", "  ")
    assert answer.context["form"].errors == {"reason": ["Say why: a reason is needed."]}
    assert "Say why: a reason is needed." in answer.content.decode()
    assert Approval.objects.get().is_open


def test_without_a_verdict_nothing_is_decided(approver: Staff, payment: Transaction) -> None:
    assert approver.client.post(decide_url(payment), {"reason": "x"}).status_code == 200
    assert Approval.objects.get().is_open


@pytest.mark.parametrize("verdict", ["approve", "refuse"])
def test_who_comes_too_late_is_told(approver: Staff, payment: Transaction, nudges: list[int], verdict: str) -> None:
    refuse_payment(actor=make_officer(), transaction_id=payment.pk, reason="x", now=NOW)
    answer = decide(approver, payment, verdict, "late")
    assert answer["Location"] == reverse(LIST)
    assert said(answer) == [
        f"Payment #{payment.pk} was refused before, by officer on 2026-01-02 03:04 UTC. Nothing was changed."
    ]
    assert nudges == []
    assert Approval.objects.get().decided_by == make_officer()
    page = reverse("admin:transactions_approval_change", args=[payment.pk])
    assert approver.client.get(decide_url(payment))["Location"] == page
    assert decide_url(payment) not in approver.client.get(page).content.decode()


def test_nobody_decides_on_their_own_not_even_a_superuser(desk: Desk) -> None:
    staff = make_staff(is_superuser=True)
    own = make_account(staff.user, balance_in_wei=5 * ETHER)
    desk.set_policy(own, approval_above_in_wei=0)
    payment = desk.accept(ETHER, account=own)
    page = staff.client.get(decide_url(payment))
    assert "This payment is from your own account: somebody else has to decide." in text_of(page)
    assert 'name="approve"' not in page.content.decode()
    for verdict in ("approve", "refuse"):
        answer = decide(staff, payment, verdict, "mine")
        assert "somebody else has to decide" in text_of(answer)
    assert Approval.objects.get().is_open


def test_a_frozen_accounts_payment_can_only_be_refused(approver: Staff, desk: Desk, payment: Transaction) -> None:
    freeze(desk.account)
    page = approver.client.get(decide_url(payment))
    assert "This account is frozen: A test froze it." in text_of(page)
    assert 'name="approve"' not in page.content.decode()
    assert "This account is frozen." in text_of(decide(approver, payment, "approve"))
    assert Approval.objects.get().is_open
    decide(approver, payment, "refuse", "Frozen")
    assert Approval.objects.get().verdict == "refused"


@pytest.mark.parametrize("group", ["viewers", "operators", "schedulers"])
def test_only_approvers_decide(desk: Desk, payment: Transaction, group: str) -> None:
    staff = make_staff(group)
    count = AuditEvent.objects.count()
    assert staff.client.get(decide_url(payment)).status_code == 403
    for verdict in ("approve", "refuse"):
        assert decide(staff, payment, verdict, "forged").status_code == 403
    assert Approval.objects.get().is_open
    assert AuditEvent.objects.count() == count
    payment_page = reverse("admin:transactions_transaction_change", args=[payment.pk])
    if group != "schedulers":
        approval_page = reverse("admin:transactions_approval_change", args=[payment.pk])
        for page in (payment_page, approval_page, reverse(LIST)):
            assert decide_url(payment) not in staff.client.get(page).content.decode()


def test_the_payments_page_leads_there(approver: Staff, payment: Transaction) -> None:
    page = approver.client.get(reverse("admin:transactions_transaction_change", args=[payment.pk])).content.decode()
    assert decide_url(payment) in page
    assert "Reconcile now" not in page


def test_a_forged_form_decides_nothing(payment: Transaction) -> None:
    make_staff("approvers")
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.get(username="approvers"))
    assert strict.login(username="approvers", password=PASSWORD)
    assert strict.post(decide_url(payment), {"approve": "pressed"}).status_code == 403
    assert Approval.objects.get().is_open


@pytest.mark.parametrize("number", [10**9, 0])
def test_there_is_none(approver: Staff, number: int) -> None:
    assert approver.client.get(reverse("admin:transactions_approval_decide", args=[number])).status_code == 404


def test_a_payment_that_needed_none_has_none(approver: Staff, desk: Desk) -> None:
    assert decide(approver, desk.accept(), "approve").status_code == 404
