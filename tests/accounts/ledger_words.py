"""What the ledger's tests share: short words for postings, and the rows before and after."""

import datetime as dt

from accounts.ledger import JournalDraft, place_hold, system_account
from accounts.models import Account, AccountKind, Entry, Hold, Journal, JournalKind
from tests.desk import NOW

LATER = NOW + dt.timedelta(minutes=3)


def account(kind: AccountKind) -> Account:
    """Return the desk's own account of a kind."""
    return system_account(kind)


def balances(*accounts: Account) -> list[tuple[int, int]]:
    """Return (current, available) of each account as the database has them now."""
    found = {
        row.pk: (row.current_balance_in_wei, row.available_balance_in_wei)
        for row in Account.objects.filter(pk__in=[one.pk for one in accounts])
    }
    return [found[one.pk] for one in accounts]


def entries(kind: JournalKind, source: str) -> dict[int, tuple[int, int]]:
    """Return (amount, balance after) of each entry of a journal, by account id."""
    rows = Entry.objects.filter(journal__kind=kind, journal__source=source)
    return {row.account_id: (row.amount_in_wei, row.balance_after_in_wei) for row in rows}


def rows() -> dict[str, list[tuple[object, ...]]]:
    """Return every row of the ledger: what a refused posting must leave as it was."""
    return {
        model.__name__: list(model.objects.order_by("pk").values_list()) for model in (Account, Journal, Entry, Hold)
    }


def hold(owner: Account, amount_in_wei: int, source: str = "1") -> None:
    place_hold(account_id=owner.pk, amount_in_wei=amount_in_wei, kind="payment", source=source, now=NOW)


def journal(
    *entries: tuple[Account, int], source: str = "1", kind: JournalKind = JournalKind.SETTLEMENT
) -> JournalDraft:
    return JournalDraft(kind, source, [(one.pk, amount) for one, amount in entries])
