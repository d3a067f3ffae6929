"""API: deposits, and the addresses that they come to."""

import datetime as dt
from typing import Annotated, Any

from django.conf import settings
from django.http import HttpResponse
from ninja import Query, Router
from pydantic import BaseModel, Field

from accounts.exceptions import AccountNotFoundError, BadCursorError
from accounts.keys import DepositSeedNotFoundError
from accounts.queries import account_of
from transactions.exceptions import DepositAddressNotFoundError
from transactions.models import Wallet
from transactions.networks import payment_uri
from transactions.queries import CountedDeposit, deposit_wallet_of, deposits_page
from transactions.services.deposit_addresses import deposit_address_of
from transactions.states import DepositStatus
from txnsite.callers import ApiRequest
from txnsite.openapi import tells
from txnsite.replies import PageParameters, reply, reply_page, require_known_parameters, utc

router = Router(tags=["deposits"])

Wei = Annotated[str, Field(pattern="^[0-9]{1,78}$", examples=["1250000000000000000"])]
Address = Annotated[str, Field(pattern="^0x[0-9a-fA-F]{40}$", examples=["0x70997970C51812dc3A010C7d01b50e0d17dc79C8"])]
Hash = Annotated[str, Field(pattern="^0x[0-9a-f]{64}$")]


class DepositAddressOut(BaseModel):
    """Where an account is paid to."""

    account_id: int
    address: Annotated[Address, Field(description="Of this account alone, for good (EIP-55).")]
    chain_id: Annotated[int, Field(description="The only network on which it is watched (EIP-155).")]
    uri: Annotated[str, Field(description="The same for wallet programs (EIP-681).", examples=["ethereum:0x7099…@1"])]
    confirmations_required: Annotated[int, Field(description="How many a deposit needs to be credited.")]
    created_at: dt.datetime


class DepositOut(BaseModel):
    """Ether that came to an account's deposit address."""

    id: int
    account_id: int
    status: Annotated[
        DepositStatus,
        Field(
            description="`waiting` for confirmations; `credited`; `gone`: the network has dropped its block, and a "
            "credit was taken back. It may come again: then it is `waiting` anew."
        ),
    ]
    amount_in_wei: Wei
    from_public_address: Address
    to_public_address: Address
    transaction_hash: Hash
    block_number: Annotated[int | None, Field(description="Null when it is in no block.")]
    block_hash: Hash | None
    confirmations: Annotated[int, Field(ge=0, description="The block that holds it is the first.")]
    confirmations_required: int
    seen_at: dt.datetime
    credited_at: dt.datetime | None


class DepositPage(BaseModel):
    """Some deposits, newest first."""

    results: list[DepositOut]
    next: Annotated[str | None, Field(description="The address of the next page; null on the last one.")]


@router.get(
    "/accounts/{int:account_id}/deposit-address",
    operation_id="get_deposit_address",
    summary="An account's deposit address",
    response=DepositAddressOut,
    openapi_extra=tells(AccountNotFoundError, DepositAddressNotFoundError),
)
def get_deposit_address(request: ApiRequest, account_id: int) -> HttpResponse:
    wallet = deposit_wallet_of(account_of(request.auth.user_id, account_id))
    if wallet is None:
        raise DepositAddressNotFoundError
    return reply(_show_address(wallet))


@router.post(
    "/accounts/{int:account_id}/deposit-address",
    operation_id="create_deposit_address",
    summary="Give an account a deposit address",
    description=(
        "An account has one deposit address, for good: asking again is answered 200 with the same.\n\n"
        "Ether that is sent to it on this network is credited to the account once it has its confirmations. Only "
        "transfers of ether by a transaction of its own are seen: tokens are not, nor is ether that a contract "
        "forwards within a transaction."
    ),
    response={201: DepositAddressOut, 200: DepositAddressOut},
    openapi_extra=tells(
        AccountNotFoundError,
        DepositSeedNotFoundError,
        changing=True,
        _201={"description": "Made."},
        _200={"description": "Made before."},
    ),
)
def create_deposit_address(request: ApiRequest, account_id: int) -> HttpResponse:
    wallet = deposit_wallet_of(account_of(request.auth.user_id, account_id))
    if wallet is not None:
        return reply(_show_address(wallet))
    return reply(_show_address(deposit_address_of(account_id)), status=201)


@router.get(
    "/accounts/{int:account_id}/deposits",
    operation_id="list_deposits",
    summary="What came to an account's deposit address",
    response=DepositPage,
    openapi_extra=tells(AccountNotFoundError, BadCursorError),
)
def list_deposits(request: ApiRequest, account_id: int, page: Query[PageParameters]) -> HttpResponse:
    require_known_parameters(request, PageParameters.model_fields)
    wallet = deposit_wallet_of(account_of(request.auth.user_id, account_id))
    found = deposits_page(wallet, cursor=page.cursor, limit=page.limit)
    return reply_page(request, found, _show_deposit, limit=page.limit)


def _show_address(wallet: Wallet) -> dict[str, Any]:
    return {
        "account_id": wallet.credits_id,
        "address": wallet.address,
        "chain_id": settings.CHAIN_ID,
        "uri": payment_uri(wallet.address, settings.CHAIN_ID),
        "confirmations_required": settings.CONFIRMATIONS,
        "created_at": utc(wallet.created_at),
    }


def _show_deposit(deposit: CountedDeposit) -> dict[str, Any]:
    row = deposit.row
    return {
        "id": row.pk,
        "account_id": row.wallet.credits_id,
        "status": row.status,
        "amount_in_wei": str(row.amount_in_wei),
        "from_public_address": row.from_public_address,
        "to_public_address": row.wallet.address,
        "transaction_hash": row.transaction_hash,
        "block_number": row.block_number,
        "block_hash": row.block_hash or None,
        "confirmations": deposit.confirmations,
        "confirmations_required": settings.CONFIRMATIONS,
        "seen_at": utc(row.seen_at),
        "credited_at": None if row.credited_at is None else utc(row.credited_at),
    }
