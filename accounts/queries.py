"""What pages and API read of accounts. A user sees their own accounts and nothing else; staff look in the admin."""

from accounts.exceptions import AccountNotFoundError
from accounts.models import Account, AccountKind, Alert, Entry, User
from accounts.paging import PAGE_SIZE, Page, cut_page

_BIGINT_MAX = 2**63 - 1


def user_of(user_id: int) -> User:
    """Return a user who is known to exist, like the one that a token speaks for."""
    return User.objects.get(pk=user_id)


def accounts_of(user_id: int) -> list[Account]:
    """Return all accounts of a user, oldest first."""
    return list(Account.objects.filter(owner_id=user_id, kind=AccountKind.USER).order_by("pk"))


def accounts_page(*, user_id: int, cursor: str | None = None, limit: int = PAGE_SIZE) -> Page[Account]:
    """Return a page of a user's accounts, newest first.

    :raises BadCursorError: when the cursor is not one of this list.
    """
    rows = Account.objects.filter(owner_id=user_id, kind=AccountKind.USER)
    return cut_page(rows, of="account", cursor=cursor, limit=limit)


def account_of(user_id: int, account_id: int) -> Account:
    """Return an account of the user's own.

    :raises AccountNotFoundError: when there is none, or it is another's: nobody learns which.
    """
    account = None
    if 0 < account_id <= _BIGINT_MAX:
        account = Account.objects.filter(pk=account_id, owner_id=user_id, kind=AccountKind.USER).first()
    if account is None:
        raise AccountNotFoundError
    return account


def entries_page(*, user_id: int, account_id: int, cursor: str | None = None, limit: int = PAGE_SIZE) -> Page[Entry]:
    """Return a page of an account's entries with their journals, newest first.

    :raises AccountNotFoundError: when the user has no such account.
    :raises BadCursorError: when the cursor is not one of this list.
    """
    account = account_of(user_id, account_id)
    rows = Entry.objects.filter(account_id=account.pk).select_related("journal")
    return cut_page(rows, of="entry", cursor=cursor, limit=limit)


def unacknowledged_alerts_count() -> int:
    """Return how many alerts are open that nobody of the staff has acknowledged."""
    return Alert.objects.filter(resolved_at=None, acknowledged_at=None).count()
