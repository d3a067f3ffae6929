"""Giving up in the admin what was signed for a nonce that something unknown has used."""

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from tests.desk import Desk
from tests.pages import links_of, owner_of, text_of
from tests.staff import Staff, events, make_staff
from tests.transactions.test_displaced import lose_nonce, sent
from transactions.models import Transaction

pytestmark = pytest.mark.usefixtures("asked_by_pages")


def give_up_page(row: Transaction) -> str:
    return reverse("admin:transactions_transaction_give_up", args=[row.pk])


def is_offered(staff: Staff, row: Transaction) -> bool:
    answer = staff.client.get(reverse("admin:transactions_transaction_change", args=[row.pk]))
    return give_up_page(row) in links_of(answer)


def test_offered_only_where_it_may_apply(operator: Staff, desk: Desk) -> None:
    payment = sent(desk)
    assert not is_offered(operator, payment)
    lose_nonce(desk, payment)
    assert is_offered(operator, payment)
    assert not is_offered(make_staff("viewers"), payment)
    operator.client.post(give_up_page(payment), {"is_looked_up": "on", "reason": "an authorization"})
    assert not is_offered(operator, payment)


def test_given_up_with_a_reason_by_who_has_looked_it_up(operator: Staff, desk: Desk) -> None:
    payment = lose_nonce(desk, sent(desk))
    told = text_of(operator.client.get(give_up_page(payment)))
    assert f"A final block counts nonce 0 of {desk.wallet} as used, and no node can tell by what." in told
    assert "If it was made after all, it was paid and given back." in told
    for fields in ({"reason": "an authorization"}, {"is_looked_up": "on", "reason": " "}):
        assert operator.client.post(give_up_page(payment), fields).status_code == 200
    payment.refresh_from_db()
    assert payment.status == "PENDING"
    fields = {"is_looked_up": "on", "reason": "an authorization"}
    answer = operator.client.post(give_up_page(payment), fields, follow=True)
    assert f"Payment #{payment.pk} is given up: it has failed as displaced." in text_of(answer)
    answer = operator.client.post(give_up_page(payment), fields, follow=True)
    assert "there is nothing to give up" in text_of(answer)
    payment.refresh_from_db()
    assert (payment.status, payment.failure_reason) == ("FAILED", "displaced")
    assert [event.reason for event in events("payment.given_up")] == ["an authorization"]


def test_a_node_that_is_down_is_told_and_changes_nothing(operator: Staff, desk: Desk) -> None:
    payment = lose_nonce(desk, sent(desk))
    desk.chain.down = True
    for answer in (
        operator.client.get(give_up_page(payment), follow=True),
        operator.client.post(give_up_page(payment), {"is_looked_up": "on", "reason": "x"}, follow=True),
    ):
        assert "The fake node is down." in text_of(answer)
    payment.refresh_from_db()
    assert payment.status == "PENDING"


def test_only_who_may_both_cancel_and_operate_wallets(desk: Desk) -> None:
    payment = lose_nonce(desk, sent(desk))
    staff = make_staff("viewers")
    for codename in ("cancel_transaction", "operate_wallet"):
        permission = Permission.objects.get(codename=codename)
        staff.user.user_permissions.set([permission])
        assert staff.client.post(give_up_page(payment), {"is_looked_up": "on", "reason": "x"}).status_code == 403
    payment.refresh_from_db()
    assert payment.status == "PENDING"


def test_there_is_no_such_payment(operator: Staff, desk: Desk) -> None:
    page = reverse("admin:transactions_transaction_give_up", args=[99_999])
    assert operator.client.get(page).status_code == 404


def test_its_owner_reads_what_happened(operator: Staff, desk: Desk, client: Client) -> None:
    payment = lose_nonce(desk, sent(desk))
    client.force_login(owner_of(desk.account))
    public_page = reverse("payment-detail", args=[payment.pk])
    told = text_of(client.get(public_page))
    assert "Something else took this payment's place in line, and we can't find that the payment was made." in told
    assert "2.008 ETH are reserved on your account" in told
    operator.client.post(give_up_page(payment), {"is_looked_up": "on", "reason": "an authorization"})
    told = text_of(client.get(public_page))
    assert "Something else took its place in line, so that it can never reach the recipient." in told
    assert "No money was taken. The 2.008 ETH that were reserved are available to you again." in told
    assert "Confirmations" not in told
