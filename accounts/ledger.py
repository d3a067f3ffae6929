"""The ledger: the only writer of balances, entries and holds.

Balances change here and nowhere else, always in the same database transaction as the entries or holds that explain
the change. Amounts are wei. A credit is above zero, a debit below; the entries of a journal sum to zero.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from django.db import IntegrityError, connection
from django.db import transaction as db_transaction

from accounts.exceptions import (
    AccountFrozenError,
    AccountNotFoundError,
    AccountsError,
    AlreadyPostedError,
    BadAmountError,
    HoldNotHeldError,
    InsufficientFundsError,
    UnbalancedJournalError,
)
from accounts.models import Account, AccountKind, Hold, HoldStatus, JournalKind
from txnsite.database.prepared import fetch_prepared

SYSTEM_ACCOUNT_NAMES = {
    AccountKind.FEE_INCOME: "Fee income",
    AccountKind.NETWORK_FEES: "Network fees",
    AccountKind.EXTERNAL_FUNDING: "External funding",
    AccountKind.LOSSES: "Losses",
}


@dataclass(frozen=True, slots=True)
class JournalDraft:
    """A business event to post: `entries` are pairs of account id and signed wei that sum to zero."""

    kind: JournalKind
    source: str
    entries: Sequence[tuple[int, int]]
    description: str = ""
    created_by_id: int | None = None


def system_account(kind: AccountKind) -> Account:
    """Return the desk's one account of this kind, made when first asked for."""
    account, _ = Account.objects.get_or_create(kind=kind, owner=None, defaults={"name": SYSTEM_ACCOUNT_NAMES[kind]})
    return account


def place_hold(*, account_id: int, amount_in_wei: int, kind: str, source: str, now: dt.datetime) -> None:
    """Reserve funds of a user's account for one purpose.

    One statement: the balance is judged and taken in the same breath, so that no two holds share a wei. Run it in the
    database transaction that needs the funds.

    :raises AccountNotFoundError: when there is no such user's account.
    :raises AccountFrozenError: when it is frozen.
    :raises InsufficientFundsError: when its available balance is smaller.
    """
    held = fetch_prepared(
        """
        WITH reserved AS (
            UPDATE accounts_account SET available_balance_in_wei = available_balance_in_wei - %(amount)s::numeric
            WHERE id = %(account)s::bigint AND kind = 'user' AND frozen_at IS NULL
              AND available_balance_in_wei >= %(amount)s::numeric
            RETURNING id
        )
        INSERT INTO accounts_hold (account_id, kind, source, amount_in_wei, status, created_at)
        SELECT id, %(kind)s::text, %(source)s::text, %(amount)s::numeric, 'held', %(now)s::timestamptz FROM reserved
        RETURNING id
        """,
        {"amount": str(amount_in_wei), "account": account_id, "kind": kind, "source": source, "now": now},
    )
    if not held:
        raise _why_not_held(account_id)


@dataclass(frozen=True, slots=True)
class HoldDraft:
    """Funds to reserve on a user's account."""

    account_id: int
    source: str
    amount_in_wei: int


def make_up_for(*, now: dt.datetime, needs: Sequence[tuple[int, str, int]], losses_id: int) -> dict[str, int]:
    """Give accounts what they lack for taking something back that they have spent, from the desk's losses.

    Run it in the database transaction that takes it back: the accounts stay locked until then.

    :param needs: account id, source, and the wei that are about to be taken from what is available.
    :param losses_id: the desk's account of losses.
    :return: what was made up for, in wei by source, where there was something.
    """
    with _constraints_in_words(), db_transaction.atomic():
        account_ids = sorted({account_id for account_id, _, _ in needs} | {losses_id})
        balances = _lock_balances(account_ids)
        available = dict(Account.objects.filter(pk__in=account_ids).values_list("pk", "available_balance_in_wei"))
        made_up: dict[str, int] = {}
        drafts = []
        for account_id, source, amount in needs:
            lacking = max(0, amount - available[account_id])
            available[account_id] += lacking - amount
            if lacking:
                made_up[source] = lacking
                entries = [(account_id, lacking), (losses_id, -lacking)]
                drafts.append(JournalDraft(JournalKind.LOSS, source, entries, "Spent before the network took it back"))
        changes = _insert_journals(drafts, balances, now)
        _update_balances({account_id: (changes[account_id], 0) for account_id in account_ids})
    return made_up


def hold_again(
    *, now: dt.datetime, holds: Sequence[HoldDraft], losses_id: int, kind: str = "payment"
) -> dict[str, int]:
    """Reserve funds once more for what was settled and has come undone, whatever the account has by now.

    Money that is under way on the chain must be covered: what the owner has spent meanwhile the desk makes up for. Run
    it in the database transaction that undoes the settlement.

    :return: what was made up for, in wei by source, where there was something.
    """
    with db_transaction.atomic():
        needs = [(hold.account_id, hold.source, hold.amount_in_wei) for hold in holds]
        made_up = make_up_for(now=now, needs=needs, losses_id=losses_id)
        taken: defaultdict[int, int] = defaultdict(int)
        for hold in holds:
            taken[hold.account_id] -= hold.amount_in_wei
        _update_balances({account_id: (0, freed) for account_id, freed in sorted(taken.items())})
        Hold.objects.bulk_create(
            Hold(
                account_id=hold.account_id,
                kind=kind,
                source=hold.source,
                amount_in_wei=hold.amount_in_wei,
                created_at=now,
            )
            for hold in holds
        )
    return made_up


def _why_not_held(account_id: int) -> AccountsError:
    account = Account.objects.filter(pk=account_id, kind=AccountKind.USER).first()
    if account is None:
        return AccountNotFoundError()
    if account.is_frozen:
        return AccountFrozenError()
    return InsufficientFundsError()


def post(
    *,
    now: dt.datetime,
    journals: Sequence[JournalDraft] = (),
    settle_holds: Sequence[str] = (),
    release_holds: Sequence[str] = (),
    hold_kind: str = "payment",
) -> None:
    """Post journals and resolve holds, all or nothing; one or a thousand cost the same number of statements.

    Settling a hold makes its funds available to the debit that a journal of the same call takes; releasing it gives
    them back to the account's owner.

    :param settle_holds: sources of the holds whose funds leave the account in these journals.
    :param release_holds: sources of the holds whose funds become available again.
    :raises UnbalancedJournalError: when the entries of a journal don't sum to zero, or one is zero.
    :raises AlreadyPostedError: when a journal of the same kind and source exists.
    :raises HoldNotHeldError: when a hold doesn't exist or was resolved before.
    :raises InsufficientFundsError: when a user's available balance would fall below zero.
    """
    for journal in journals:
        if sum(amount for _, amount in journal.entries) != 0 or not all(amount for _, amount in journal.entries):
            raise UnbalancedJournalError()
    with _constraints_in_words(), db_transaction.atomic():
        freed = _resolve_holds(hold_kind, settle_holds, HoldStatus.SETTLED, now)
        for account_id, amount in _resolve_holds(hold_kind, release_holds, HoldStatus.RELEASED, now).items():
            freed[account_id] += amount
        touched = freed.keys() | {account_id for journal in journals for account_id, _ in journal.entries}
        if not touched:
            return
        balances = _lock_balances(sorted(touched))
        changes = _insert_journals(journals, dict(balances), now)
        _update_balances({account_id: (changes[account_id], freed[account_id]) for account_id in sorted(touched)})


def _resolve_holds(kind: str, sources: Sequence[str], status: HoldStatus, now: dt.datetime) -> defaultdict[int, int]:
    """Mark holds as resolved and return the freed wei by account id."""
    freed: defaultdict[int, int] = defaultdict(int)
    if not sources:
        return freed
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE accounts_hold SET status = %s, resolved_at = %s
            WHERE kind = %s AND source = ANY(%s) AND status = 'held'
            RETURNING account_id, amount_in_wei
            """,
            [status.value, now, kind, list(sources)],
        )
        rows = cursor.fetchall()
    if len(rows) != len(sources):
        raise HoldNotHeldError()
    for account_id, amount in rows:
        freed[account_id] += int(amount)
    return freed


def _lock_balances(account_ids: list[int]) -> dict[int, int]:
    """Lock accounts in id order and return their current balances."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, current_balance_in_wei FROM accounts_account WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE",
            [account_ids],
        )
        balances = {account_id: int(balance) for account_id, balance in cursor.fetchall()}
    if len(balances) != len(account_ids):
        raise AccountNotFoundError()
    return balances


def _insert_journals(
    journals: Sequence[JournalDraft], running: dict[int, int], now: dt.datetime
) -> defaultdict[int, int]:
    """Insert journals with their entries and return the change of each account.

    :param running: current balances by account id; brought forward entry by entry.
    """
    changes: defaultdict[int, int] = defaultdict(int)
    if not journals:
        return changes
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO accounts_journal (kind, source, description, created_by_id, created_at)
            SELECT kind, source, description, created_by_id, %s
            FROM unnest(%s::text[], %s::text[], %s::text[], %s::bigint[])
                WITH ORDINALITY AS draft(kind, source, description, created_by_id, position)
            ORDER BY position
            RETURNING id, kind, source
            """,
            [
                now,
                [journal.kind.value for journal in journals],
                [journal.source for journal in journals],
                [journal.description for journal in journals],
                [journal.created_by_id for journal in journals],
            ],
        )
        ids = {(kind, source): journal_id for journal_id, kind, source in cursor.fetchall()}
        journal_ids, account_ids, amounts, balances = [], [], [], []
        for journal in journals:
            journal_id = ids[journal.kind.value, journal.source]
            for account_id, amount in journal.entries:
                running[account_id] += amount
                changes[account_id] += amount
                journal_ids.append(journal_id)
                account_ids.append(account_id)
                amounts.append(str(amount))
                balances.append(str(running[account_id]))
        cursor.execute(
            """
            INSERT INTO accounts_entry (journal_id, account_id, amount_in_wei, balance_after_in_wei)
            SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::numeric[], %s::numeric[])
            """,
            [journal_ids, account_ids, amounts, balances],
        )
    return changes


def _update_balances(changes: dict[int, tuple[int, int]]) -> None:
    """Add (change of current, freed holds) to each account; available follows both."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE accounts_account AS account
            SET current_balance_in_wei = current_balance_in_wei + change.posted,
                available_balance_in_wei = available_balance_in_wei + change.posted + change.freed
            FROM unnest(%s::bigint[], %s::numeric[], %s::numeric[]) AS change(account_id, posted, freed)
            WHERE account.id = change.account_id
            """,
            [
                list(changes),
                [str(posted) for posted, _ in changes.values()],
                [str(freed) for _, freed in changes.values()],
            ],
        )


@contextmanager
def _constraints_in_words() -> Iterator[None]:
    """Turn the database's refusal into the error it means; anything else passes through."""
    try:
        yield
    except IntegrityError as error:
        diagnosis = getattr(error.__cause__, "diag", None)
        match getattr(diagnosis, "constraint_name", None):
            case "accounts_journal_posted_once":
                raise AlreadyPostedError from error
            case "accounts_account_available_not_negative":
                raise InsufficientFundsError from error
            case "accounts_account_current_within_uint256":
                raise BadAmountError("The balance would be larger than the largest amount there is.") from error
            case _:
                raise
