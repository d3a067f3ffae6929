"""Reads of accounts: the owner's own and nothing else."""

import pytest

from accounts.exceptions import AccountNotFoundError, BadCursorError
from accounts.ledger import system_account
from accounts.models import Account, AccountKind
from accounts.queries import account_of, accounts_of, accounts_page, entries_page, user_of
from tests.desk import credit, make_account, make_user


def test_a_user_sees_their_own_accounts_oldest_first(alice: Account) -> None:
    second = make_account(alice.owner)
    make_account()
    assert alice.owner_id is not None
    assert accounts_of(alice.owner_id) == [alice, second]
    assert accounts_page(user_id=alice.owner_id).items == [second, alice]
    assert account_of(alice.owner_id, alice.pk) == alice
    assert user_of(alice.owner_id) == alice.owner


@pytest.mark.parametrize("number", [0, -1, 987_654_321, 2**63, -(2**63) - 1, 10**40])
def test_no_such_account(alice: Account, number: int) -> None:
    assert alice.owner_id is not None
    with pytest.raises(AccountNotFoundError):
        account_of(alice.owner_id, number)
    with pytest.raises(AccountNotFoundError):
        entries_page(user_id=alice.owner_id, account_id=number)


def test_anothers_account_and_the_desks_own_are_none(alice: Account) -> None:
    stranger = make_user()
    for account in (alice, system_account(AccountKind.EXTERNAL_FUNDING)):
        with pytest.raises(AccountNotFoundError):
            account_of(stranger.pk, account.pk)
        with pytest.raises(AccountNotFoundError):
            entries_page(user_id=stranger.pk, account_id=account.pk)


def test_entries_come_with_their_journals_newest_first(alice: Account) -> None:
    assert alice.owner_id is not None
    for amount in (1, 2, -3):
        credit(alice, amount)
    first = entries_page(user_id=alice.owner_id, account_id=alice.pk, limit=3)
    assert [entry.amount_in_wei for entry in first.items] == [-3, 2, 1]
    assert all("journal" in entry._state.fields_cache for entry in first.items)
    second = entries_page(user_id=alice.owner_id, account_id=alice.pk, cursor=first.next_cursor, limit=3)
    assert [entry.balance_after_in_wei for entry in second.items] == [5 * 10**18]
    assert second.next_cursor is None


def test_a_cursor_of_another_list_is_refused(alice: Account) -> None:
    assert alice.owner_id is not None
    make_account(alice.owner)
    cursor = accounts_page(user_id=alice.owner_id, limit=1).next_cursor
    with pytest.raises(BadCursorError):
        entries_page(user_id=alice.owner_id, account_id=alice.pk, cursor=cursor)
