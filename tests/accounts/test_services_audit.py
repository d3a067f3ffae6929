"""The audit trail keeps who did what, and nobody rewrites it."""

from typing import Any

import pytest
from django.db import IntegrityError
from django.db import transaction as db_transaction

from accounts.exceptions import ReasonRequiredError
from accounts.models import Account, AuditEvent
from accounts.services.audit import clean_reason, record_audit, record_audit_of_each
from tests.desk import make_account, make_user

pytestmark = pytest.mark.django_db


def test_an_event_says_who_did_what_to_which_row_and_why() -> None:
    actor, account = make_user("officer"), make_account()
    details = {"amount_in_wei": str(2**256 - 1)}
    event = record_audit(actor=actor, action="account.looked_at", target=account, reason="Asked to", details=details)
    event.refresh_from_db()
    assert (event.actor, event.action, event.reason) == (actor, "account.looked_at", "Asked to")
    assert (event.target_type, event.target_id) == ("accounts.account", str(account.pk))
    assert event.details == {"amount_in_wei": str(2**256 - 1)}


def test_a_reason_is_one_line_of_at_most_500_characters() -> None:
    assert clean_reason(" so\n it  was ") == "so it was"
    assert clean_reason(500 * "x") == 500 * "x"
    for is_required in (True, False):
        with pytest.raises(ReasonRequiredError, match=r"^A reason has at most 500 characters, and this one 501\.$"):
            clean_reason(501 * "x", is_required=is_required)
    with pytest.raises(ReasonRequiredError, match=r"^Say why: a reason is needed\.$"):
        clean_reason(" \n")
    assert clean_reason(" \n", is_required=False) == ""


def test_many_rows_are_one_statement(django_assert_num_queries: Any) -> None:
    accounts = [make_account() for _ in range(5)]
    with django_assert_num_queries(1):
        record_audit_of_each(actor=None, action="account.looked_at", targets=accounts)
    assert set(AuditEvent.objects.values_list("target_id", flat=True)) == {str(account.pk) for account in accounts}


@pytest.mark.parametrize("change", ["update", "delete"])
def test_an_event_neither_changes_nor_goes(change: str) -> None:
    record_audit(actor=None, action="account.looked_at", target=make_account())
    rows = AuditEvent.objects.all()
    with pytest.raises(IntegrityError) as refusal, db_transaction.atomic():
        rows.update(reason="Another") if change == "update" else rows.delete()
    assert refusal.value.__cause__.diag.constraint_name == "accounts_auditevent_append_only"  # type: ignore[union-attr]
    assert AuditEvent.objects.get().reason == ""


def test_what_is_undone_leaves_no_event() -> None:
    with db_transaction.atomic():
        account = Account.objects.create(owner=make_user(), name="Main")
        record_audit(actor=None, action="account.opened", target=account)
        db_transaction.set_rollback(True)
    assert not AuditEvent.objects.exists()
