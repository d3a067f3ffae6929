"""The check of the books holds what the desk made up for against what became of it."""

import pytest
from pytest_django.fixtures import Settings

from accounts.ledger import JournalDraft, post, system_account
from accounts.models import AccountKind, Journal, JournalKind
from tests.desk import ETHER, FEE, NOW, Desk, credit
from tests.transactions.test_reverse import end, undo_after_it_was_spent
from tests.transactions.test_services_verify import behind_the_desks_back
from tests.transactions.test_verify_deposits import deposited
from transactions.models import Deposit, Transaction
from transactions.services.verify import check_books

# The check reads on a connection of its own, which sees only what is committed.
pytestmark = pytest.mark.django_db(transaction=True)

RECOVERED = "what was made up for is taken back of what gives its money after all"
LOST = 50 * ETHER + FEE


@pytest.fixture(autouse=True)
def four_confirmations(settings: Settings) -> None:
    settings.CONFIRMATIONS = 4


def found() -> list[tuple[str, str, str, str]]:
    return [(row.rule, row.subject, row.expected, row.found) for row in check_books().differences]


def entries(desk: Desk, wei: int) -> str:
    return f"{system_account(AccountKind.LOSSES).pk}:{-wei} {desk.account.pk}:{wei}"


def move(desk: Desk, kind: JournalKind, source: str, wei: int) -> Journal:
    """Give the account this much out of the desk's losses."""
    losses = system_account(AccountKind.LOSSES).pk
    post(now=NOW, journals=[JournalDraft(kind, source, [(desk.account.pk, wei), (losses, -wei)])])
    return Journal.objects.get(kind=kind, source=source)


def forget(kind: JournalKind) -> None:
    with behind_the_desks_back() as cursor:
        cursor.execute("UPDATE accounts_journal SET kind = 'adjustment' WHERE kind = %s", [kind.value])


def undone(desk: Desk, *, paid: bool) -> Transaction:
    payment = undo_after_it_was_spent(desk)
    end(desk, payment, paid=paid)
    assert check_books().is_clean
    return payment


def test_a_payment_that_failed_and_gave_nothing_back(desk: Desk) -> None:
    payment = undone(desk, paid=False)
    forget(JournalKind.RECOVERY)
    subject = f"loss {payment.pk}.1 of payment #{payment.pk}"
    assert found() == [(RECOVERED, subject, entries(desk, LOST), "no recovery")]


def test_a_payment_that_gave_back_too_little(desk: Desk) -> None:
    payment = undone(desk, paid=False)
    forget(JournalKind.RECOVERY)
    move(desk, JournalKind.RECOVERY, f"{payment.pk}.1", -(LOST - ETHER - FEE) // 10)
    wei = (LOST - ETHER - FEE) // 10
    subject = f"loss {payment.pk}.1 of payment #{payment.pk}"
    assert found() == [("what is taken back was made up for", subject, entries(desk, LOST), entries(desk, wei))]


def test_taken_back_without_having_been_made_up_for(desk: Desk) -> None:
    payment = undone(desk, paid=False)
    forget(JournalKind.LOSS)
    subject = f"loss {payment.pk}.1 of payment #{payment.pk}"
    assert found() == [("what is taken back was made up for", subject, "no recovery", entries(desk, LOST))]


@pytest.mark.parametrize("paid", [True, False])
def test_made_up_for_in_a_round_that_never_was(desk: Desk, paid: bool) -> None:
    payment = undone(desk, paid=paid)
    journal = move(desk, JournalKind.LOSS, f"{payment.pk}.2", ETHER)
    [(rule, subject, expected, _)] = found()
    assert rule == "a loss belongs to a payment or a deposit"
    assert subject == f"loss {payment.pk}.2 of journal #{journal.pk}"
    assert expected == f"payment or deposit {payment.pk}.2"


@pytest.mark.parametrize("source", ["made up", "9" * 30, "17"])
def test_made_up_for_nobody(desk: Desk, source: str) -> None:
    move(desk, JournalKind.LOSS, source, ETHER)
    assert [rule for rule, *_ in found()] == ["a loss belongs to a payment or a deposit"]


def test_a_credited_deposit_that_gave_nothing_back(desk: Desk) -> None:
    row = deposited(desk)
    move(desk, JournalKind.LOSS, row.transaction_hash, ETHER)
    subject = f"loss {row.transaction_hash} of deposit #{row.pk}"
    assert found() == [(RECOVERED, subject, entries(desk, ETHER), "no recovery")]


def test_what_a_deposit_that_is_gone_has_cost_is_a_loss(desk: Desk) -> None:
    desk.mine(2)
    row = deposited(desk)
    credit(desk.account, -101 * ETHER)
    assert row.block_number is not None
    desk.chain.reorg(len(desk.chain.blocks) - row.block_number)
    desk.follow()
    assert Deposit.objects.get().status == "gone"
    assert Journal.objects.filter(kind=JournalKind.LOSS).count() == 1
    assert check_books().is_clean
