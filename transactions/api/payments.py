"""API: payments."""

import datetime as dt
import re
import threading
from collections.abc import Sequence
from typing import Annotated, Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from ninja import Header, Query, Router
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, WithJsonSchema
from pydantic_core import PydanticCustomError

from accounts.exceptions import (
    AccountFrozenError,
    AccountNotFoundError,
    BadAmountError,
    BadCursorError,
    InsufficientFundsError,
)
from accounts.money import WEI_MAX
from tasks.cancelling import cancel_own_payment
from tasks.submission import submit_payment
from transactions.detail import Detail, detail_keys, read_detail, wait_for_hash
from transactions.exceptions import (
    AccountLockedError,
    BadAddressError,
    BadIdempotencyKeyError,
    IdempotencyKeyReusedError,
    NotCancellableError,
    QueueFullError,
    TransactionNotFoundError,
)
from transactions.queries import details_page
from transactions.services.limits import REFUSED_BY_POLICY
from transactions.states import FailureReason, Stage, Status, WaitReason
from txnsite.callers import ApiRequest, SessionAuth, TokenAuth
from txnsite.openapi import header, tells
from txnsite.preferences import read_wait
from txnsite.replies import PageParameters, reply, reply_page, require_known_parameters

router = Router(tags=["transactions"])

_BIGINT_MAX = 2**63 - 1
_WEI = re.compile("0|[1-9][0-9]{0,77}")
_NOT_SAID = ("failure_reason", "failure_detail", "wait_reason", "from_public_address", "block_hash")
# Whoever waits keeps one of the server's threads; past this number nobody does, and all are answered at once.
_waiting = threading.BoundedSemaphore(settings.PREFER_WAITERS_MAX)

Wei = Annotated[str, Field(pattern="^[0-9]{1,78}$", examples=["1250000000000000000"])]
Address = Annotated[str, Field(pattern="^0x[0-9a-fA-F]{40}$", examples=["0x70997970C51812dc3A010C7d01b50e0d17dc79C8"])]
Hash = Annotated[str, Field(pattern="^0x[0-9a-f]{64}$")]


def _read_wei(value: Any) -> int:
    """Return an amount that came as a decimal string or an integer; exact, so no floats (JSON's 1.0, 1e18)."""
    if isinstance(value, str) and _WEI.fullmatch(value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise PydanticCustomError(
            BadAmountError.code, "Wei are whole: a decimal string like “1000”, or an integer without point or exponent."
        )
    if not 0 < value <= WEI_MAX:
        raise PydanticCustomError(BadAmountError.code, "The amount must be from 1 to 2^256-1 wei.")
    return value


def _read_address(value: Any) -> str:
    if not isinstance(value, str) or value != value.strip():
        raise PydanticCustomError(BadAddressError.code, "An address is a string: 0x and 40 hexadecimal digits.")
    return value


WeiIn = Annotated[
    int,
    BeforeValidator(_read_wei),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": "^[1-9][0-9]{0,77}$"},
                {"type": "integer", "minimum": 1, "maximum": WEI_MAX},
            ],
            "description": "Wei, from 1 to 2^256-1: as a decimal string, or as an integer.",
            "examples": ["1250000000000000000"],
        }
    ),
]


AddressIn = Annotated[
    str,
    # Only that it is a string of just that: what an address is, and whose checksum is wrong, `parse_address` says.
    BeforeValidator(_read_address),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^0x[0-9a-fA-F]{40}$",
            "description": "The recipient. A checksum (EIP-55) is checked; all lower or upper case has none.",
            "examples": ["0x70997970C51812dc3A010C7d01b50e0d17dc79C8"],
        }
    ),
]


IdempotencyKey = Annotated[
    str,
    # `accept_transaction` judges it, so that a bad one has a code of its own.
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^[!-~]([ -~]{0,253}[!-~])?$",
            "description": "A name of your own for this payment: 1 to 255 printable ASCII characters.",
            "examples": ["order-17"],
        }
    ),
]


class PaymentIn(BaseModel):
    """A payment to make."""

    model_config = ConfigDict(extra="forbid")

    user_account_id: Annotated[StrictInt, Field(description="One of your accounts.", examples=[1])]
    to_public_address: AddressIn
    transaction_amount_in_wei: WeiIn


class TransactionOut(BaseModel):
    """A payment: amounts in wei as decimal strings, null for what isn't known yet or doesn't apply."""

    id: int
    user_account_id: int
    status: Status
    stage: Stage
    failure_reason: FailureReason | None
    failure_detail: str | None
    wait_reason: Annotated[WaitReason | None, Field(description="What keeps it from moving on.")]
    to_public_address: Address
    from_public_address: Address | None
    transaction_hash: Annotated[Hash | None, Field(description="Of the attempt that counts; known once it is signed.")]
    transaction_amount_in_wei: Wei
    transaction_fee_total_in_wei: Annotated[Wei, Field(description="What the payment costs you.")]
    transaction_fee_blockchain_in_wei: Annotated[Wei | None, Field(description="The part that the network took.")]
    nonce: int | None
    block_number: int | None
    block_hash: Hash | None
    confirmations: int
    confirmations_required: int
    accepted_at: dt.datetime
    approved_at: Annotated[dt.datetime | None, Field(description="When staff approved it, if it needed approval.")]
    cancel_requested_at: Annotated[dt.datetime | None, Field(description="Since when it is to be cancelled.")]
    signed_at: dt.datetime | None
    broadcast_at: dt.datetime | None
    mined_at: dt.datetime | None
    settled_at: dt.datetime | None


class TransactionPage(BaseModel):
    """Some payments, newest first."""

    results: list[TransactionOut]
    next: Annotated[str | None, Field(description="The address of the next page; null on the last one.")]


class TransactionFilters(PageParameters):
    """Which payments to list."""

    account: Annotated[int | None, Field(description="Only those from this account.")] = None
    status: Annotated[Status | None, Field(description="Only those with this status.")] = None


_HEADERS = {
    "Location": header("Where the payment can be followed.", "/api/v1/transactions/17"),
    "Preference-Applied": header("Given when `Prefer: wait` was honoured.", "wait=5"),
}


@router.post(
    "/transactions",
    operation_id="create_transaction",
    summary="Make a payment",
    description=(
        "Holds amount and fee on the account and answers at once; signing, sending and confirmations follow.\n\n"
        "Send an `Idempotency-Key` of your own for each payment, and repeat the request with it whenever you don't "
        "know what became of it: a key is used once for each account. The same payment under it again answers 200 "
        "with `Idempotency-Replayed: true` and what was answered first; another payment under it is refused.\n\n"
        "`Prefer: wait=5` (RFC 7240) waits up to that many seconds, at most 10, for the transaction's hash, and "
        "answers with the payment as it is then, also when it is replayed. Where too many wait already, it is not "
        "honoured.\n\n"
        "The account's policy may limit the amount, the sum of 24 hours and the recipients; what it doesn't allow is "
        "refused. Above an amount it may want a second person's approval: such a payment is answered with the stage "
        "`REVIEW`, its money held; it goes on to `ACCEPTED` once it is approved, or is over as `refused`."
    ),
    response={201: TransactionOut, 200: TransactionOut},
    openapi_extra=tells(
        AccountNotFoundError,
        AccountFrozenError,
        AccountLockedError,
        QueueFullError,
        InsufficientFundsError,
        BadAddressError,
        BadAmountError,
        BadIdempotencyKeyError,
        IdempotencyKeyReusedError,
        *REFUSED_BY_POLICY,
        changing=True,
        body=True,
        _201={"description": "Accepted.", "headers": _HEADERS},
        _200={
            "description": "Accepted before, under the same key.",
            "headers": {
                **_HEADERS,
                "Idempotency-Replayed": header("This is the answer to an earlier request.", "true"),
            },
        },
    ),
)
def create_transaction(
    request: ApiRequest,
    payment: PaymentIn,
    idempotency_key: Annotated[IdempotencyKey | None, Header(alias="Idempotency-Key")] = None,
    prefer: Annotated[str | None, Header(alias="Prefer", description="RFC 7240: `wait=5` waits for the hash.")] = None,
) -> HttpResponse:
    acceptance = submit_payment(
        user_id=request.auth.user_id,
        user_account_id=_known_to_the_database(payment.user_account_id),
        to_public_address=payment.to_public_address,
        amount_in_wei=payment.transaction_amount_in_wei,
        idempotency_key=idempotency_key,
    )
    headers = {"Location": f"/api/v1/transactions/{acceptance.detail['id']}"}
    if acceptance.replayed:
        headers["Idempotency-Replayed"] = "true"
    detail = acceptance.detail
    wait_seconds = read_wait(prefer, longest=settings.PREFER_WAIT_SECONDS_MAX)
    if wait_seconds is not None and _waiting.acquire(blocking=False):
        try:
            detail = wait_for_hash(detail["id"], wait_seconds) or detail
        finally:
            _waiting.release()
        headers["Preference-Applied"] = f"wait={wait_seconds}"
    return reply(_show(detail), status=200 if acceptance.replayed else 201, headers=headers)


def _keys_to_read_ahead(request: HttpRequest) -> Sequence[str]:
    match = request.resolver_match
    return () if match is None else detail_keys(match.kwargs["transaction_id"])


@router.get(
    "/transactions/{int:transaction_id}",
    # One round trip to the cache tells who asks and what is asked for.
    auth=[TokenAuth(_keys_to_read_ahead), SessionAuth()],
    operation_id="get_transaction",
    summary="One payment",
    response=TransactionOut,
    openapi_extra=tells(TransactionNotFoundError),
)
def get_transaction(request: ApiRequest, transaction_id: int) -> HttpResponse:
    cached = getattr(request, "read_ahead", None)
    detail = read_detail(transaction_id, cached) if 0 < transaction_id <= _BIGINT_MAX else None
    # Another's payment and none at all are the same answer: nobody learns which.
    if detail is None or detail["owner_id"] != request.auth.user_id:
        raise TransactionNotFoundError
    return reply(_show(detail))


@router.get(
    "/transactions",
    operation_id="list_transactions",
    summary="Your payments",
    response=TransactionPage,
    openapi_extra=tells(AccountNotFoundError, BadCursorError),
)
def list_transactions(request: ApiRequest, filters: Query[TransactionFilters]) -> HttpResponse:
    require_known_parameters(request, TransactionFilters.model_fields)
    status = None if filters.status is None else filters.status.value
    page = details_page(
        user_id=request.auth.user_id,
        account_id=filters.account,
        status=status,
        cursor=filters.cursor,
        limit=filters.limit,
    )
    return reply_page(request, page, _show, limit=filters.limit, account=filters.account, status=status)


@router.post(
    "/transactions/{int:transaction_id}/cancel",
    operation_id="cancel_transaction",
    summary="Cancel a payment",
    description=(
        "Before it is signed, a payment is over at once: `FAILED`, `cancelled`, and the money is available again.\n\n"
        "Once it is sent, the network is asked to take a transaction that pays nobody in its place. Whichever of the "
        "two a block takes decides; until that is final the payment stays `PENDING`, with `cancel_requested_at`, and "
        "the money stays held. A payment that is in a block already can't be cancelled. Asking again changes nothing."
        "\n\nIn one case a payment that isn't signed stays `PENDING` with `cancel_requested_at` as well: while a "
        "transaction that the desk doesn't know yet may have paid it. It is over as soon as that is known not to be so."
    ),
    response=TransactionOut,
    openapi_extra=tells(TransactionNotFoundError, NotCancellableError, changing=True),
)
def cancel_transaction(request: ApiRequest, transaction_id: int) -> HttpResponse:
    if not 0 < transaction_id <= _BIGINT_MAX:
        raise TransactionNotFoundError
    cancel_own_payment(user_id=request.auth.user_id, transaction_id=transaction_id)
    detail = read_detail(transaction_id)
    assert detail is not None, "payments are never deleted"
    return reply(_show(detail))


def _known_to_the_database(account_id: int) -> int:
    """Return the id if an account can have it at all.

    :raises AccountNotFoundError: when it is beyond what the database counts to.
    """
    if not 0 < account_id <= _BIGINT_MAX:
        raise AccountNotFoundError
    return account_id


def _show(detail: Detail) -> dict[str, Any]:
    """Return a detail as the API tells it: null where there is nothing to say."""
    shown: dict[str, Any] = dict(detail)
    del shown["owner_id"]
    for name in _NOT_SAID:
        if shown[name] == "":
            shown[name] = None
    return shown
