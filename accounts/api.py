"""API: a user's accounts and what changed their balances."""

import datetime as dt
from typing import Annotated, Any

from django.http import HttpResponse
from ninja import Query, Router
from pydantic import BaseModel, Field

from accounts.exceptions import AccountNotFoundError, BadCursorError
from accounts.models import Account, Entry, JournalKind
from accounts.queries import account_of, accounts_page, entries_page
from txnsite.callers import ApiRequest
from txnsite.openapi import tells
from txnsite.replies import PageParameters, reply, reply_page, require_known_parameters, utc

router = Router(tags=["accounts"])

Wei = Annotated[str, Field(pattern="^-?[0-9]{1,78}$", examples=["1250000000000000000"])]


class AccountOut(BaseModel):
    """An account with its balances, in wei as decimal strings."""

    id: int
    name: str
    current_balance_in_wei: Annotated[Wei, Field(description="What the account holds.")]
    available_balance_in_wei: Annotated[Wei, Field(description="What can be paid: current less payments under way.")]
    is_frozen: Annotated[bool, Field(description="No payments can be made from a frozen account.")]
    created_at: dt.datetime


class AccountPage(BaseModel):
    """Some accounts, newest first."""

    results: list[AccountOut]
    next: Annotated[str | None, Field(description="The address of the next page; null on the last one.")]


class EntryOut(BaseModel):
    """One change of an account's balance."""

    id: int
    amount_in_wei: Annotated[Wei, Field(description="Credit above zero, debit below.")]
    balance_after_in_wei: Wei
    journal_id: Annotated[int, Field(description="The business event; its entries over all accounts sum to zero.")]
    kind: JournalKind
    source: Annotated[str, Field(description="What caused it: of a settlement, the transaction's id.")]
    description: str
    created_at: dt.datetime


class EntryPage(BaseModel):
    """Some entries, newest first."""

    results: list[EntryOut]
    next: Annotated[str | None, Field(description="The address of the next page; null on the last one.")]


@router.get(
    "/accounts",
    operation_id="list_accounts",
    summary="Your accounts",
    response=AccountPage,
    openapi_extra=tells(BadCursorError),
)
def list_accounts(request: ApiRequest, page: Query[PageParameters]) -> HttpResponse:
    require_known_parameters(request, PageParameters.model_fields)
    found = accounts_page(user_id=request.auth.user_id, cursor=page.cursor, limit=page.limit)
    return reply_page(request, found, _show_account, limit=page.limit)


@router.get(
    "/accounts/{int:account_id}",
    operation_id="get_account",
    summary="One account",
    response=AccountOut,
    openapi_extra=tells(AccountNotFoundError),
)
def get_account(request: ApiRequest, account_id: int) -> HttpResponse:
    return reply(_show_account(account_of(request.auth.user_id, account_id)))


@router.get(
    "/accounts/{int:account_id}/entries",
    operation_id="list_entries",
    summary="What changed an account's balance",
    response=EntryPage,
    openapi_extra=tells(AccountNotFoundError, BadCursorError),
)
def list_entries(request: ApiRequest, account_id: int, page: Query[PageParameters]) -> HttpResponse:
    require_known_parameters(request, PageParameters.model_fields)
    found = entries_page(user_id=request.auth.user_id, account_id=account_id, cursor=page.cursor, limit=page.limit)
    return reply_page(request, found, _show_entry, limit=page.limit)


def _show_account(account: Account) -> dict[str, Any]:
    return {
        "id": account.pk,
        "name": account.name,
        "current_balance_in_wei": str(account.current_balance_in_wei),
        "available_balance_in_wei": str(account.available_balance_in_wei),
        "is_frozen": account.is_frozen,
        "created_at": utc(account.created_at),
    }


def _show_entry(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.pk,
        "amount_in_wei": str(entry.amount_in_wei),
        "balance_after_in_wei": str(entry.balance_after_in_wei),
        "journal_id": entry.journal_id,
        "kind": entry.journal.kind,
        "source": entry.journal.source,
        "description": entry.journal.description,
        "created_at": utc(entry.journal.created_at),
    }
