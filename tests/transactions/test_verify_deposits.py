"""The check of the books holds each deposit against its journals, and each sweep against both wallets."""

import pytest
from pytest_django.fixtures import Settings

from accounts.ledger import JournalDraft, post, system_account
from accounts.models import AccountKind, Journal, JournalKind
from accounts.services.verify import Difference
from tests.desk import ETHER, NOW, Desk, make_account
from tests.transactions.test_services_verify import behind_the_desks_back
from transactions.models import Deposit, Transaction, Wallet
from transactions.services import verify_deposits
from transactions.services.sweep import sweep_deposits
from transactions.services.verify import check_books

# The check reads on a connection of its own, which sees only what is committed.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def four_confirmations(settings: Settings) -> None:
    settings.CONFIRMATIONS = 4


def deposited(desk: Desk, to: str = "") -> Deposit:
    """Return a deposit of an ether that was credited."""
    hash_ = desk.pay_in(to or desk.add_deposit_address().address)
    desk.mine()
    desk.take_in()
    desk.mine(3)
    row = Deposit.objects.get(transaction_hash=hash_)
    assert row.status == "credited"
    return row


def undone(desk: Desk, *, back_to_pool: bool = False) -> Deposit:
    """Return a deposit that was credited and that a reorg has undone."""
    desk.mine(2)
    row = deposited(desk)
    assert row.block_number is not None
    desk.chain.reorg(len(desk.chain.blocks) - row.block_number, back_to_pool=back_to_pool)
    desk.follow()
    row.refresh_from_db()
    assert row.status == "gone"
    return row


def credited_again(desk: Desk) -> Deposit:
    row = undone(desk, back_to_pool=True)
    desk.mine()
    desk.take_in()
    desk.mine(3)
    row.refresh_from_db()
    assert (row.status, row.credits) == ("credited", 2)
    return row


def about_deposits() -> list[Difference]:
    """Return what differs, leaving aside what the ledger's own check says."""
    return [row for row in check_books().differences if not row.subject.startswith("account")]


def delete(kind: JournalKind, source: str) -> None:
    """Delete a journal with its entries."""
    with behind_the_desks_back() as cursor:
        of_journal = "(SELECT id FROM accounts_journal WHERE kind = %s AND source = %s)"
        cursor.execute(f"DELETE FROM accounts_entry WHERE journal_id IN {of_journal}", [kind.value, source])
        cursor.execute("DELETE FROM accounts_journal WHERE kind = %s AND source = %s", [kind.value, source])
        assert cursor.rowcount == 1


def add(kind: JournalKind, source: str, desk: Desk) -> Journal:
    """Post a journal that only staff or nobody may."""
    funding = system_account(AccountKind.EXTERNAL_FUNDING).pk
    post(now=NOW, journals=[JournalDraft(kind, source, [(desk.wallet.account_id, -1), (funding, 1)])])
    return Journal.objects.get(kind=kind, source=source)


def test_deposits_of_all_kinds_add_up(desk: Desk) -> None:
    credited_again(desk)
    deposited(desk, to=desk.wallet.address)
    desk.pay_in(desk.wallet.address)
    desk.mine()
    desk.take_in()
    report = check_books()
    assert report.is_clean, [str(row) for row in report.differences]
    assert report.checked["deposits"] == 3
    undone(desk)
    assert check_books().is_clean


def test_progress_ends_at_its_total(desk: Desk) -> None:
    deposited(desk)
    totals: list[int] = []
    steps: list[int] = []
    check_books(on_total=totals.append, on_progress=steps.append)
    assert totals == [sum(steps)]


def test_chunks_leave_nothing_out(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_deposits, "ROWS_AT_ONCE", 1)
    rows = [deposited(desk) for _ in range(3)]
    for row in rows:
        delete(JournalKind.DEPOSIT, row.transaction_hash)
        add(JournalKind.DEPOSIT, f"{row.transaction_hash}.7", desk)
    assert {row.subject.split(",")[0] for row in about_deposits() if row.subject.startswith("deposit")} == {
        f"deposit #{row.pk} (credited)" for row in rows
    }
    assert len(about_deposits()) == 6


def test_a_credit_without_its_journal(desk: Desk) -> None:
    row = deposited(desk)
    delete(JournalKind.DEPOSIT, row.transaction_hash)
    [difference] = about_deposits()
    assert difference.rule == "a credit has its journal"
    assert difference.subject == f"deposit #{row.pk} (credited), credit 1 of 1"
    assert difference.expected == f"{row.wallet.account_id}:{-ETHER} {desk.account.pk}:{ETHER}"
    assert difference.found == "no journal"
    assert difference.rows[0] == f"deposit=None source={row.transaction_hash} entries=None"


def test_each_credit_has_one(desk: Desk) -> None:
    row = credited_again(desk)
    delete(JournalKind.DEPOSIT, f"{row.transaction_hash}.2")
    [difference] = about_deposits()
    assert difference.subject == f"deposit #{row.pk} (credited), credit 2 of 2"


def test_a_credit_of_another_amount(desk: Desk) -> None:
    row = deposited(desk)
    journal = Journal.objects.get(kind=JournalKind.DEPOSIT)
    with behind_the_desks_back() as cursor:
        cursor.execute("UPDATE accounts_entry SET amount_in_wei = amount_in_wei + sign(amount_in_wei) * 5"
                       " WHERE journal_id = %s", [journal.pk])  # fmt: skip
    [difference] = about_deposits()
    assert difference.found == f"{row.wallet.account_id}:{-ETHER - 5} {desk.account.pk}:{ETHER + 5}"


def test_a_credit_of_another_account(desk: Desk) -> None:
    row = deposited(desk)
    other = make_account()
    with behind_the_desks_back() as cursor:
        cursor.execute("UPDATE accounts_entry SET account_id = %s WHERE journal_id = (SELECT id FROM accounts_journal"
                       " WHERE kind = 'deposit') AND amount_in_wei > 0", [other.pk])  # fmt: skip
    [difference] = about_deposits()
    assert difference.found == f"{row.wallet.account_id}:{-ETHER} {other.pk}:{ETHER}"


def test_funding_of_a_hot_wallet_that_was_booked_as_somebodys_deposit(desk: Desk) -> None:
    row = deposited(desk, to=desk.wallet.address)
    journal = Journal.objects.get(kind=JournalKind.WALLET_FUNDING, source=row.transaction_hash)
    with behind_the_desks_back() as cursor:
        cursor.execute("UPDATE accounts_journal SET kind = 'deposit' WHERE id = %s", [journal.pk])
    missing, orphan = about_deposits()
    assert (missing.rule, missing.found) == ("a credit has its journal", "no journal")
    assert (orphan.subject, orphan.found) == (f"journal #{journal.pk} (deposit)", "no such credit")


def test_a_credit_that_came_undone_without_its_reversal(desk: Desk) -> None:
    row = undone(desk)
    delete(JournalKind.DEPOSIT_REVERSAL, row.transaction_hash)
    [difference] = about_deposits()
    assert difference.rule == "a credit that came undone has its reversal"
    assert difference.subject == f"deposit #{row.pk} (gone), credit 1 of 1"
    assert difference.expected == f"{desk.account.pk}:{-ETHER} {row.wallet.account_id}:{ETHER}"
    assert difference.found == "no journal"


def test_an_earlier_credit_without_its_reversal(desk: Desk) -> None:
    row = credited_again(desk)
    delete(JournalKind.DEPOSIT_REVERSAL, row.transaction_hash)
    [difference] = about_deposits()
    assert difference.subject == f"deposit #{row.pk} (credited), credit 1 of 2"


@pytest.mark.parametrize("kind", [JournalKind.DEPOSIT, JournalKind.DEPOSIT_REVERSAL, JournalKind.WALLET_FUNDING])
@pytest.mark.parametrize("suffix", ["", ".1", ".2"])
def test_a_journal_of_no_credit(desk: Desk, kind: JournalKind, suffix: str) -> None:
    row = deposited(desk)
    if (kind, suffix) == (JournalKind.DEPOSIT, ""):
        suffix = ".3"
    journal = add(kind, f"{row.transaction_hash}{suffix}", desk)
    [difference] = about_deposits()
    assert difference.rule == "a journal of a deposit belongs to one of its credits"
    assert difference.subject == f"journal #{journal.pk} ({kind.value})"
    assert difference.expected == f"a credit of deposit {row.transaction_hash}{suffix}"


@pytest.mark.parametrize("source", ["made up", "0x" + "ab" * 32])
def test_a_deposit_that_nobody_made(desk: Desk, source: str) -> None:
    journal = add(JournalKind.DEPOSIT, source, desk)
    assert [row.subject for row in about_deposits()] == [f"journal #{journal.pk} (deposit)"]


def test_what_staff_book_and_what_a_wallet_held_are_left_alone(desk: Desk) -> None:
    add(JournalKind.WALLET_FUNDING, f"opening {desk.wallet.address}", desk)
    add(JournalKind.WALLET_FUNDING, "3f0c", desk)
    assert check_books().is_clean


def swept(desk: Desk) -> Transaction:
    deposited(desk)
    sweep_deposits(NOW, chain=desk.chain)
    desk.run_to_the_end()
    row = Transaction.objects.get(kind="sweep")
    assert row.status == "SUCCESSFUL"
    assert check_books().is_clean
    return row


def test_a_sweep_that_took_too_little(desk: Desk) -> None:
    row = swept(desk)
    source = Wallet.objects.get(role="deposit")
    with behind_the_desks_back() as cursor:
        cursor.execute("UPDATE accounts_entry SET amount_in_wei = amount_in_wei - 1 WHERE account_id = %s AND"
                       " amount_in_wei > 0", [source.account_id])  # fmt: skip
    assert f"payment #{row.pk} (SETTLED)" in {difference.subject for difference in about_deposits()}
