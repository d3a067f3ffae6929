"""A reorg deeper than CONFIRMATIONS: settlements are reversed by journals of their own, and made anew."""

import pytest
from pytest_django.fixtures import Settings

from accounts.models import Account, AccountKind, Alert, Hold, Journal
from tests.desk import ETHER, FEE, RECIPIENT, Desk, credit, make_address, stages
from tests.rules import execute, refused_by
from transactions.models import Transaction
from transactions.services.cancel import cancel_transaction
from transactions.services.verify import check_books


@pytest.fixture(autouse=True)
def four_confirmations(settings: Settings) -> None:
    settings.CONFIRMATIONS = 4


def journals() -> list[tuple[str, str]]:
    kinds = Journal.objects.filter(kind__in=["settlement", "reversal", "loss"]).order_by("id")
    return list(kinds.values_list("kind", "source"))


def alerts() -> list[str]:
    return sorted(Alert.objects.values_list("kind", flat=True))


def available(account: Account) -> int:
    account.refresh_from_db()
    return account.available_balance_in_wei


def undo(desk: Desk, payment: Transaction) -> None:
    """Let the chain lose the payment's block, and the desk see it."""
    payment.refresh_from_db()
    assert payment.block_number is not None
    desk.chain.reorg(len(desk.chain.blocks) - payment.block_number)
    desk.follow()


def settle(desk: Desk) -> Transaction:
    desk.mine(2)
    payment = desk.accept()
    desk.broadcast()
    desk.mine(4)
    assert stages([payment]) == ["SETTLED"]
    return payment


def test_a_success_is_reversed_held_again_and_settled_in_another_block(desk: Desk) -> None:
    payment = settle(desk)
    before = available(desk.account)
    undo(desk, payment)
    payment.refresh_from_db()
    assert (payment.stage, payment.status, payment.reversals) == ("BROADCAST", "PENDING", 1)
    assert (payment.block_number, payment.block_hash, payment.settled_at) == (None, "", None)
    assert payment.needs_attention
    assert available(desk.account) == before
    assert desk.account.current_balance_in_wei == 100 * ETHER
    assert list(Hold.objects.order_by("id").values_list("source", "status")) == [
        (f"{payment.pk}", "settled"),
        (f"{payment.pk}.1", "held"),
    ]
    assert alerts() == ["deep_reorg"]
    assert len(desk.chain.pool) == 1, "its bytes went out again"
    desk.assert_books_balance()
    desk.run_to_the_end()
    assert journals() == [
        ("settlement", f"{payment.pk}"),
        ("reversal", f"{payment.pk}"),
        ("settlement", f"{payment.pk}.1"),
    ]
    desk.assert_paid_once([payment])
    desk.assert_books_balance()
    assert not check_books().differences


def test_a_success_that_becomes_a_revert_gives_the_money_back(desk: Desk) -> None:
    payment = settle(desk)
    undo(desk, payment)
    desk.chain.reverting.add(RECIPIENT)
    desk.run_to_the_end()
    payment.refresh_from_db()
    assert (payment.status, payment.failure_reason) == ("FAILED", "reverted")
    assert available(desk.account) == 100 * ETHER
    desk.assert_paid_once([])
    desk.assert_books_balance()
    assert not check_books().differences


def revert(desk: Desk) -> Transaction:
    """Settle a payment as reverted: its money is back, and free to be spent."""
    refusing = make_address()
    desk.mine(2)
    payment = desk.accept(60 * ETHER, to=refusing)
    desk.broadcast()
    desk.chain.reverting.add(refusing)
    desk.mine(4)
    desk.chain.reverting.clear()
    payment.refresh_from_db()
    assert (payment.status, payment.failure_reason) == ("FAILED", "reverted")
    return payment


def test_a_revert_that_becomes_a_success_is_paid_from_what_is_still_there(desk: Desk) -> None:
    payment = revert(desk)
    undo(desk, payment)
    desk.run_to_the_end()
    payment.refresh_from_db()
    assert payment.status == "SUCCESSFUL"
    assert available(desk.account) == 40 * ETHER - FEE
    assert alerts() == ["deep_reorg"]
    desk.assert_paid_once([payment])
    desk.assert_books_balance()


def test_what_was_spent_meanwhile_the_desk_makes_up_for(desk: Desk) -> None:
    payment = revert(desk)
    credit(desk.account, -90 * ETHER)
    undo(desk, payment)
    missing = 50 * ETHER + FEE
    assert available(desk.account) == 0
    losses = Account.objects.get(kind=AccountKind.LOSSES)
    assert losses.current_balance_in_wei == -missing
    assert journals()[-1] == ("loss", f"{payment.pk}.1")
    assert alerts() == ["deep_reorg", "loss"]
    desk.assert_books_balance()
    desk.run_to_the_end()
    payment.refresh_from_db()
    assert payment.status == "SUCCESSFUL"
    assert available(desk.account) == 0
    desk.assert_paid_once([payment])
    desk.assert_books_balance()
    assert not check_books().differences


def test_what_was_made_up_for_is_taken_back_when_the_refund_comes_after_all(desk: Desk) -> None:
    payment = revert(desk)
    credit(desk.account, -90 * ETHER)
    undo(desk, payment)
    desk.chain.reverting.add(payment.to_public_address)
    desk.run_to_the_end()
    payment.refresh_from_db()
    assert (payment.status, payment.failure_reason) == ("FAILED", "reverted")
    assert available(desk.account) == desk.account.current_balance_in_wei == 10 * ETHER
    assert Account.objects.get(kind=AccountKind.LOSSES).current_balance_in_wei == 0
    desk.assert_paid_once([])
    desk.assert_books_balance()
    assert not check_books().differences


def losses() -> int:
    return Account.objects.get(kind=AccountKind.LOSSES).current_balance_in_wei


def undo_after_it_was_spent(desk: Desk) -> Transaction:
    """Return a payment whose refund was spent before a reorg undid it: the desk has made up for what lacked."""
    payment = revert(desk)
    credit(desk.account, -90 * ETHER)
    undo(desk, payment)
    assert losses() == -(50 * ETHER + FEE)
    return payment


def end(desk: Desk, payment: Transaction, *, paid: bool) -> None:
    """Let the payment come to an end on the new chain."""
    if paid:
        desk.chain.reverting.clear()
    else:
        desk.chain.reverting.add(payment.to_public_address)
    desk.run_to_the_end()
    payment.refresh_from_db()
    assert payment.status == ("SUCCESSFUL" if paid else "FAILED")


def test_what_was_made_up_for_in_an_earlier_round_is_taken_back_too(desk: Desk) -> None:
    payment = undo_after_it_was_spent(desk)
    end(desk, payment, paid=True)
    undo(desk, payment)
    assert losses() == -(50 * ETHER + FEE), "the desk bears it as long as the money is under way"
    end(desk, payment, paid=False)
    assert payment.reversals == 2
    assert available(desk.account) == desk.account.current_balance_in_wei == 10 * ETHER
    assert losses() == 0
    assert list(Journal.objects.filter(kind="recovery").values_list("source", flat=True)) == [f"{payment.pk}.1"]
    desk.assert_books_balance()
    assert not check_books().differences


def test_what_was_taken_back_is_made_up_for_anew_when_that_comes_undone_and_recovered_once(desk: Desk) -> None:
    payment = undo_after_it_was_spent(desk)
    end(desk, payment, paid=False)
    undo(desk, payment)
    assert (available(desk.account), losses()) == (0, -(50 * ETHER + FEE))
    end(desk, payment, paid=True)
    assert (available(desk.account), losses()) == (0, -(50 * ETHER + FEE))
    undo(desk, payment)
    end(desk, payment, paid=False)
    assert (available(desk.account), losses()) == (10 * ETHER, 0)
    recovered = Journal.objects.filter(kind="recovery").order_by("id").values_list("source", flat=True)
    assert list(recovered) == [f"{payment.pk}.1", f"{payment.pk}.2"]
    desk.assert_books_balance()
    assert not check_books().differences


def test_a_loss_is_of_the_payment_whose_refund_was_spent_and_of_no_other(desk: Desk) -> None:
    """Both come undone at once; what the paid one's reversal gives back is held for it, not for the other."""
    refused = revert(desk)
    paid = desk.accept(30 * ETHER)
    desk.broadcast()
    desk.mine(4)
    credit(desk.account, -70 * ETHER + FEE)
    undo(desk, refused)
    lost = Journal.objects.filter(kind="loss").values_list("source", flat=True)
    assert list(lost) == [f"{refused.pk}.1"]
    desk.chain.reverting.add(refused.to_public_address)
    desk.run_to_the_end()
    assert stages([refused, paid]) == ["SETTLED"] * 2
    assert (available(desk.account), losses()) == (0, 0)
    desk.assert_books_balance()
    assert not check_books().differences


def test_several_payments_of_one_account_in_one_reorg(desk: Desk) -> None:
    desk.mine()
    payments = desk.accept_many(5)
    desk.broadcast()
    desk.mine(4)
    assert stages(payments) == ["SETTLED"] * 5
    undo(desk, payments[0])
    desk.run_to_the_end()
    desk.assert_paid_once(payments)
    desk.assert_books_balance()


def test_twice_is_two_rounds(desk: Desk) -> None:
    payment = settle(desk)
    for _ in range(2):
        undo(desk, payment)
        desk.mine(8)
        assert stages([payment]) == ["SETTLED"]
    assert [source for kind, source in journals() if kind == "settlement"] == [
        f"{payment.pk}", f"{payment.pk}.1", f"{payment.pk}.2",
    ]  # fmt: skip
    desk.assert_paid_once([payment])
    desk.assert_books_balance()
    assert not check_books().differences


def test_a_frozen_account_is_held_again_all_the_same(desk: Desk) -> None:
    payment = settle(desk)
    Account.objects.filter(pk=desk.account.pk).update(frozen_at=payment.accepted_at, frozen_reason="x")
    undo(desk, payment)
    desk.run_to_the_end()
    desk.assert_paid_once([payment])
    desk.assert_books_balance()


def test_a_cancel_that_comes_undone_cancels_again(desk: Desk) -> None:
    desk.mine(2)
    payment = desk.accept()
    desk.broadcast()
    assert desk.account.owner is not None
    cancel_transaction(actor=desk.account.owner, transaction_id=payment.pk, now=payment.accepted_at)
    desk.broadcast()
    desk.mine(4)
    assert stages([payment]) == ["SETTLED"]
    undo(desk, payment)
    desk.run_to_the_end()
    payment.refresh_from_db()
    assert (payment.failure_reason, payment.reversals) == ("cancelled", 1)
    assert available(desk.account) == 100 * ETHER
    desk.assert_paid_once([])
    desk.assert_books_balance()


def test_one_refused_before_it_was_signed_stays_refused(desk: Desk) -> None:
    refusing = make_address()
    desk.chain.reverting.add(refusing)
    desk.mine(3)
    refused = desk.accept(to=refusing)
    desk.broadcast()
    desk.mine(3)
    desk.chain.reorg(5)
    desk.follow()
    assert stages([refused]) == ["SETTLED"]
    assert alerts() == []


class TestTheDatabaseRefuses:
    def reopen(self, payment: Transaction, columns: str = "reversals = reversals + 1") -> None:
        execute(
            "UPDATE transactions_transaction SET stage = 'BROADCAST', status = 'PENDING', settled_at = NULL, "
            "block_number = NULL, block_hash = '', succeeded_on_chain = NULL, "
            "transaction_fee_blockchain_in_wei = NULL, "
            f"{columns} WHERE id = %s",
            payment.pk,
        )

    def test_to_reopen_without_a_reversal_in_the_ledger(self, desk: Desk) -> None:
        payment = settle(desk)
        with refused_by("transactions_transaction_reversed_in_the_ledger"):
            self.reopen(payment)

    def test_to_reopen_without_counting_it(self, desk: Desk) -> None:
        payment = settle(desk)
        with refused_by("transactions_transaction_final_stays_final"):
            self.reopen(payment, "checks_done = 0")

    def test_to_count_a_reversal_that_was_none(self, desk: Desk) -> None:
        payment = desk.accept()
        with refused_by("transactions_transaction_reversals_count_reversals"):
            execute("UPDATE transactions_transaction SET reversals = 1 WHERE id = %s", payment.pk)
