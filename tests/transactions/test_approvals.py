"""Approvals: one verdict by a second person, whoever else asks at the same time."""

import datetime as dt
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections

from accounts.exceptions import AccountFrozenError, ReasonRequiredError
from accounts.models import Account, AuditEvent, Hold, User
from tests.desk import ETHER, FEE, NOW, Desk, freeze, make_officer, make_user, stages
from tests.pages import owner_of
from tests.rules import refused_by
from tests.staff import events
from tests.transactions.test_cancel import available
from tests.transactions.test_nonces import send_elsewhere
from transactions.exceptions import (
    AlreadyDecidedError,
    ApprovalNotFoundError,
    MayBePaidError,
    NotCancellableError,
    OwnAccountError,
)
from transactions.models import Approval, Transaction
from transactions.services.approvals import approve_payment, refuse_payment
from transactions.services.cancel import cancel_transaction
from transactions.services.moves import move_transactions
from transactions.states import Stage

LATER = NOW + dt.timedelta(hours=5)


def approve(payment: Transaction, *, actor: User | None = None, reason: str = "") -> Transaction:
    return approve_payment(actor=actor or make_officer(), transaction_id=payment.pk, reason=reason, now=LATER)


def refuse(payment: Transaction, *, actor: User | None = None, reason: str = "Not plausible") -> Transaction:
    return refuse_payment(actor=actor or make_officer(), transaction_id=payment.pk, reason=reason, now=LATER)


def cancel(desk: Desk, payment: Transaction) -> Transaction:
    return cancel_transaction(actor=owner_of(desk.account), transaction_id=payment.pk, now=LATER)


def state() -> list[list[tuple[object, ...]]]:
    """Return every row that a verdict may touch."""
    return [list(model._default_manager.order_by("pk").values_list()) for model in
            (Account, Hold, Transaction, Approval, AuditEvent)]  # fmt: skip


class TestApproved:
    def test_it_goes_on_as_any_other(self, desk: Desk) -> None:
        payment = desk.accept_for_review()
        row = approve(payment, reason="  Called the  owner ")
        assert (row.stage, row.approved_at, row.next_check_at) == ("ACCEPTED", LATER, LATER + dt.timedelta(seconds=100))
        approval = Approval.objects.get()
        assert (approval.verdict, approval.decided_at, approval.decided_by) == ("approved", LATER, make_officer())
        assert approval.reason == "Called the owner"
        (event,) = events("payment.approved")
        assert (event.actor, event.reason) == (make_officer(), "Called the owner")
        assert (event.target_type, event.target_id) == ("transactions.transaction", str(payment.pk))
        desk.run_to_the_end()
        payment.refresh_from_db()
        assert payment.status == "SUCCESSFUL"
        assert payment.accepted_at == NOW, "when it was asked for"
        desk.assert_paid_once([payment])
        desk.assert_books_balance()

    def test_a_reason_is_not_needed(self, desk: Desk) -> None:
        approve(desk.accept_for_review())
        assert Approval.objects.get().reason == ""

    def test_its_owner_may_cancel_it_yet(self, desk: Desk) -> None:
        payment = approve(desk.accept_for_review())
        assert cancel(desk, payment).failure_reason == "cancelled"
        assert Approval.objects.get().verdict == "approved"
        assert available(desk) == 100 * ETHER

    def test_an_account_that_was_frozen_meanwhile_pays_nobody(self, desk: Desk) -> None:
        payment = desk.accept_for_review()
        freeze(desk.account)
        before = state()
        with pytest.raises(AccountFrozenError):
            approve(payment)
        assert state() == before
        assert refuse(payment).failure_reason == "refused"


class TestRefused:
    def test_it_ends_the_funds_are_back_and_the_reason_is_told(self, desk: Desk) -> None:
        payment = desk.accept_for_review()
        assert available(desk) == 98 * ETHER - FEE
        row = refuse(payment, reason="  The invoice is\n unknown ")
        assert (row.stage, row.status, row.failure_reason) == ("SETTLED", "FAILED", "refused")
        assert (row.failure_detail, row.settled_at, row.approved_at) == ("The invoice is unknown", LATER, None)
        assert available(desk) == 100 * ETHER
        assert Hold.objects.get().status == "released"
        assert Approval.objects.get().verdict == "refused"
        (event,) = events("payment.refused")
        assert (event.actor, event.reason) == (make_officer(), "The invoice is unknown")
        desk.broadcast()
        assert not desk.chain.pool
        desk.assert_books_balance()

    @pytest.mark.parametrize("reason", ["", "  \n", "x" * 501])
    def test_it_needs_a_reason(self, desk: Desk, reason: str) -> None:
        payment = desk.accept_for_review()
        before = state()
        with pytest.raises(ReasonRequiredError):
            refuse(payment, reason=reason)
        assert state() == before

    def test_not_while_an_unknown_transaction_may_have_paid_it(self, desk: Desk) -> None:
        payment = desk.accept_for_review(3 * ETHER)
        send_elsewhere(desk, 0, to=payment.to_public_address, value_in_wei=3 * ETHER)
        desk.mine()
        desk.broadcast()
        before = state()
        with pytest.raises(MayBePaidError):
            refuse(payment)
        assert state() == before
        assert approve(payment).stage == "ACCEPTED"


class TestCalledOff:
    def test_its_owner_may_do_so_at_once(self, desk: Desk) -> None:
        payment = desk.accept_for_review()
        row = cancel(desk, payment)
        assert (row.stage, row.failure_reason) == ("SETTLED", "cancelled")
        assert available(desk) == 100 * ETHER
        approval = Approval.objects.get()
        assert (approval.verdict, approval.decided_at, approval.decided_by) == ("withdrawn", LATER, None)
        assert [event.action for event in AuditEvent.objects.filter(action__startswith="payment.")] == [
            "payment.cancelled"
        ]
        desk.assert_books_balance()

    def test_nobody_decides_on_it_any_more(self, desk: Desk) -> None:
        payment = desk.accept_for_review()
        cancel(desk, payment)
        before = state()
        for decide in (approve, refuse):
            with pytest.raises(AlreadyDecidedError, match=f"Payment #{payment.pk} was called off before a verdict."):
                decide(payment)
        assert state() == before

    def test_a_refused_one_is_over(self, desk: Desk) -> None:
        payment = desk.accept_for_review()
        refuse(payment)
        with pytest.raises(NotCancellableError):
            cancel(desk, payment)


class TestOnce:
    @pytest.mark.parametrize(("first", "verdict"), [(approve, "approved"), (refuse, "refused")])
    @pytest.mark.parametrize("second", [approve, refuse])
    def test_the_first_verdict_stands_and_the_other_is_told(
        self, desk: Desk, first: Callable[[Transaction], object], second: Callable[..., object], verdict: str
    ) -> None:
        payment = desk.accept_for_review()
        first(payment)
        before = state()
        words = f"Payment #{payment.pk} was {verdict} before, by officer on 2026-01-02 08:04 UTC."
        with pytest.raises(AlreadyDecidedError, match=words):
            second(payment, actor=make_user("late"))
        assert state() == before

    def test_there_is_none(self, desk: Desk) -> None:
        plain = desk.accept()
        for number in (plain.pk, 10**9):
            with pytest.raises(ApprovalNotFoundError):
                approve_payment(actor=make_officer(), transaction_id=number, now=NOW)
            with pytest.raises(ApprovalNotFoundError):
                refuse_payment(actor=make_officer(), transaction_id=number, reason="x", now=NOW)
        assert stages([plain]) == ["ACCEPTED"]


class TestSecondPerson:
    def test_nobody_decides_on_a_payment_of_their_own(self, desk: Desk) -> None:
        payment = desk.accept_for_review()
        before = state()
        for decide in (approve, refuse):
            with pytest.raises(OwnAccountError):
                decide(payment, actor=owner_of(desk.account))
        assert state() == before

    def test_nor_does_the_database_let_them(self, desk: Desk) -> None:
        payment = desk.accept_for_review()
        verdict = {"verdict": "approved", "decided_at": NOW, "decided_by": owner_of(desk.account)}
        with refused_by("transactions_approval_by_a_second_person"):
            Approval.objects.filter(pk=payment.pk).update(**verdict)

    def test_nothing_goes_on_without_a_verdict(self, desk: Desk) -> None:
        payment = desk.accept_for_review()
        with refused_by("transactions_transaction_leaves_review_by_its_verdict"):
            move_transactions([payment.pk], old=[Stage.REVIEW], new=Stage.ACCEPTED, constants={"approved_at": NOW})
        assert stages([payment]) == ["REVIEW"]


@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    def together(self, *deeds: Callable[[], object]) -> list[object]:
        """Do all at the same moment; return results and the classes of errors."""
        barrier = threading.Barrier(len(deeds))

        def run(deed: Callable[[], object]) -> object:
            barrier.wait(20)
            try:
                return deed()
            except (AlreadyDecidedError, NotCancellableError) as error:
                return type(error)
            finally:
                connections.close_all()

        with ThreadPoolExecutor(len(deeds)) as threads:
            return list(threads.map(run, deeds))

    @pytest.mark.parametrize("attempt", range(3))
    def test_of_many_verdicts_one_counts(self, desk: Desk, attempt: int) -> None:
        payment = desk.accept_for_review()
        officers = [make_user() for _ in range(8)]
        deeds = [
            (lambda actor=actor, decide=decide: decide(payment, actor=actor))
            for actor, decide in zip(officers, [approve, refuse] * 4, strict=True)
        ]
        answers = self.together(*deeds)
        assert answers.count(AlreadyDecidedError) == 7
        (won,) = (answer for answer in answers if isinstance(answer, Transaction))
        payment.refresh_from_db()
        assert payment.stage == won.stage
        approval = Approval.objects.get()
        assert approval.verdict == ("approved" if won.stage == Stage.ACCEPTED else "refused")
        assert approval.decided_by in officers
        assert AuditEvent.objects.filter(action__startswith="payment.").count() == 1
        desk.assert_books_balance()

    @pytest.mark.parametrize("attempt", range(3))
    def test_a_refusal_and_a_cancel_end_it_once(self, desk: Desk, attempt: int) -> None:
        payment = desk.accept_for_review()
        officer = make_officer()
        answers = self.together(lambda: refuse(payment, actor=officer), lambda: cancel(desk, payment))
        payment.refresh_from_db()
        verdict = Approval.objects.get().verdict
        assert (payment.failure_reason, verdict) in (("refused", "refused"), ("cancelled", "withdrawn"))
        assert answers.count(AlreadyDecidedError) + answers.count(NotCancellableError) == 1
        assert available(desk) == 100 * ETHER
        desk.assert_books_balance()
