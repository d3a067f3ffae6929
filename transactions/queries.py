"""What pages and API list of transactions. A user sees those of their own accounts; staff look in the admin."""

import datetime as dt
from dataclasses import dataclass
from typing import NamedTuple

from django.db.models import Count, Max, QuerySet, Sum
from django.db.models.expressions import RawSQL

from accounts.models import Account
from accounts.paging import PAGE_SIZE, Page, cut_page, page_of, read_cursor
from accounts.queries import account_of
from transactions.detail import Detail, describe
from transactions.exceptions import TransactionNotFoundError
from transactions.models import AllowedRecipient, Approval, Attempt, Block, Deposit, ReservesReport, Transaction, Wallet
from transactions.states import DepositStatus, Purpose, Status

_BIGINT_MAX = 2**63 - 1
_LIST = "transaction"

# Newest first over all accounts of a user: each account's index gives its newest few, and those are merged. A plain
# `account IN (…) ORDER BY id` would walk everybody's newest transactions, or sort all of the user's; and so would
# `user_account_id = account.id ORDER BY id` in here, wherever the planner takes the user's accounts for average ones.
# A range that is as wide as one account, in the order of the index on both columns, leaves it that index.
_NEWEST_IDS = """
SELECT newest.id FROM accounts_account AS account
CROSS JOIN LATERAL (
    SELECT id FROM transactions_transaction
    WHERE (user_account_id, id) < (account.id, %s) AND user_account_id >= account.id
      AND (%s::text IS NULL OR status = %s)
    ORDER BY user_account_id DESC, id DESC LIMIT %s
) AS newest
WHERE account.owner_id = %s AND account.kind = 'user' AND (%s::bigint IS NULL OR account.id = %s)
ORDER BY newest.id DESC LIMIT %s
"""


def transactions_page(
    *,
    user_id: int,
    account_id: int | None = None,
    status: str | None = None,
    cursor: str | None = None,
    limit: int = PAGE_SIZE,
) -> Page[Transaction]:
    """Return a page of a user's transactions with their accounts, newest first.

    :raises AccountNotFoundError: when `account_id` is given and the user has no such account.
    :raises BadCursorError: when the cursor is not one of this list.
    """
    if account_id is not None:
        account_of(user_id, account_id)
    before = _BIGINT_MAX if cursor is None else read_cursor(cursor, of=_LIST)
    newest = RawSQL(_NEWEST_IDS, (before, status, status, limit + 1, user_id, account_id, account_id, limit + 1))
    rows = _with_accounts().filter(pk__in=newest).order_by("-pk")
    return page_of(list(rows), of=_LIST, limit=limit)


def details_page(
    *,
    user_id: int,
    account_id: int | None = None,
    status: str | None = None,
    cursor: str | None = None,
    limit: int = PAGE_SIZE,
) -> Page[Detail]:
    """Return the same page as details, with confirmations counted to the newest block recorded.

    :raises AccountNotFoundError: when `account_id` is given and the user has no such account.
    :raises BadCursorError: when the cursor is not one of this list.
    """
    page = transactions_page(user_id=user_id, account_id=account_id, status=status, cursor=cursor, limit=limit)
    head = Block.newest_number()
    return page.map(lambda row: describe(row, user_id, head))


def transaction_of(user_id: int, transaction_id: int) -> Transaction:
    """Return a transaction of one of the user's own accounts, with the account.

    :raises TransactionNotFoundError: when there is none, or it is another's: nobody learns which.
    """
    row = None
    if 0 < transaction_id <= _BIGINT_MAX:
        row = _with_accounts().filter(pk=transaction_id, user_account__owner_id=user_id).first()
    if row is None:
        raise TransactionNotFoundError
    return row


def is_cancel(detail: Detail) -> bool:
    """Say whether the transaction that a payment's hash names is the one that cancels it."""
    if detail["cancel_requested_at"] is None or detail["transaction_hash"] is None:
        return False
    return Attempt.objects.filter(hash=detail["transaction_hash"], purpose=Purpose.CANCEL).exists()


def payment_of_key(*, user_id: int, account_id: int, idempotency_key: str) -> int | None:
    """Return the id of the payment that a key of the user's account was used for, if it was."""
    return (
        Transaction.objects.filter(
            user_account_id=account_id, user_account__owner_id=user_id, idempotency_key=idempotency_key
        )
        .values_list("pk", flat=True)
        .first()
    )


def same_payment_since(
    *, account_id: int, to_public_address: str, amount_in_wei: int, since: dt.datetime
) -> Transaction | None:
    """Return the newest payment of the same amount to the same address that hasn't failed, if there is one."""
    return (
        Transaction.objects.filter(
            user_account_id=account_id,
            to_public_address=to_public_address,
            transaction_amount_in_wei=amount_in_wei,
            accepted_at__gte=since,
        )
        .exclude(status=Status.FAILED)
        .order_by("-pk")
        .first()
    )


def times_paid(*, account_id: int, to_public_address: str) -> int:
    """Return how often an account has paid an address."""
    paid = Transaction.objects.filter(user_account_id=account_id, to_public_address=to_public_address)
    return paid.filter(status=Status.SUCCESSFUL).count()


def allowed_note(*, account_id: int, to_public_address: str) -> str | None:
    """Return the note of an address on an account's allow-list, or None where it isn't on it."""
    rows = AllowedRecipient.objects.filter(account_id=account_id, address=to_public_address)
    return rows.values_list("note", flat=True).first()


def open_approvals_count() -> int:
    """Return how many payments wait for approval."""
    return Approval.objects.filter(decided_at=None).count()


class CountedDeposit(NamedTuple):
    """A deposit, and how many confirmations it has: the block that holds it is the first."""

    row: Deposit
    confirmations: int


@dataclass(frozen=True, slots=True)
class DepositsOnTheWay:
    """What is on its way to an account, in wei, with the confirmations of the newest."""

    count: int
    amount_in_wei: int
    confirmations: int


def deposit_wallet_of(account: Account) -> Wallet | None:
    """Return the deposit address of an account, if it has one yet."""
    return Wallet.objects.filter(credits_id=account.pk).first()


def deposits_page(wallet: Wallet | None, *, cursor: str | None = None, limit: int = PAGE_SIZE) -> Page[CountedDeposit]:
    """Return a page of what came to a deposit address, newest first; none while there is none.

    :raises BadCursorError: when the cursor is not one of this list.
    """
    rows = Deposit.objects.none() if wallet is None else Deposit.objects.filter(wallet=wallet)
    page = cut_page(rows.select_related("wallet"), of="deposit", cursor=cursor, limit=limit)
    head = Block.newest_number()
    return page.map(lambda row: CountedDeposit(row, Block.count_confirmations(row.block_number, head)))


def deposits_on_the_way(account: Account) -> DepositsOnTheWay:
    """Sum up the deposits of an account that wait for confirmations."""
    found = Deposit.objects.filter(wallet__credits=account, status=DepositStatus.WAITING).aggregate(
        count=Count("pk"), amount=Sum("amount_in_wei"), block=Max("block_number")
    )
    confirmations = Block.count_confirmations(found["block"], Block.newest_number() if found["count"] else None)
    return DepositsOnTheWay(found["count"], int(found["amount"] or 0), confirmations)


def _with_accounts() -> QuerySet[Transaction]:
    return Transaction.objects.select_related("user_account")


def last_report_of(wallet: Wallet) -> ReservesReport | None:
    """Return the last report of reserves for which a wallet was compared with the chain, at whichever block."""
    return _reports_of(wallet).first()


def last_proof_of(wallet: Wallet) -> ReservesReport | None:
    """Return the last report of reserves by which a wallet had what it must, at whichever block."""
    return _reports_of(wallet).exclude(text__contains=ReservesReport.mark_of(wallet.address)).first()


def _reports_of(wallet: Wallet) -> QuerySet[ReservesReport]:
    """Return the reports for which a wallet was compared, the last run first; at older blocks it wasn't there yet."""
    compared = ReservesReport.objects.filter(block_number__gte=wallet.opened_at_block, made_at__gte=wallet.created_at)
    return compared.filter(block_number__isnull=False).order_by("-made_at", "-pk")
