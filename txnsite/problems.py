"""The one map from what can go wrong to what a client is told: HTTP status, stable code, problem JSON (RFC 9457).

A test demands that every error of `accounts`, `transactions` and `tasks` is in it.
"""

import json
import logging
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import IntegrityError, InterfaceError, OperationalError
from django.http import Http404, HttpResponse, UnreadablePostError

from accounts import exceptions as accounts
from accounts.keys import exceptions as keys
from tasks import exceptions as tasks
from transactions import exceptions as transactions
from transactions.chain import exceptions as chain
from txnsite import exceptions as site

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "/api/v1/problems/"


@dataclass(frozen=True, slots=True)
class Kind:
    """How one class of errors is told.

    :param title: the same words each time, a summary for people.
    :param field: the field or header of a request that this is about, if it is about one.
    """

    status: int
    title: str
    field: str = ""


KINDS: dict[type[Exception], Kind] = {
    # The request itself
    site.BadRequestError: Kind(400, "Bad request"),
    site.MalformedJsonError: Kind(400, "Malformed JSON"),
    site.UnauthorizedError: Kind(401, "Authentication needed"),
    site.BadTokenError: Kind(401, "API token not valid"),
    site.CsrfFailedError: Kind(403, "CSRF check failed"),
    site.ForbiddenError: Kind(403, "Not allowed"),
    site.NotFoundError: Kind(404, "Not found"),
    site.MethodNotAllowedError: Kind(405, "Method not allowed"),
    site.BodyTooLargeError: Kind(413, "Body too large"),
    site.UnsupportedMediaTypeError: Kind(415, "Not application/json"),
    site.InvalidRequestError: Kind(422, "Fields not valid"),
    site.DuplicateFieldError: Kind(422, "Field written twice"),
    site.InternalError: Kind(500, "Something went wrong here"),
    site.DatabaseUnavailableError: Kind(503, "Database not available"),
    # Accounts
    accounts.AccountNotFoundError: Kind(404, "No such account"),
    accounts.AccountFrozenError: Kind(422, "Account frozen", "user_account_id"),
    accounts.InsufficientFundsError: Kind(422, "Insufficient funds", "transaction_amount_in_wei"),
    accounts.BadAmountError: Kind(422, "Not an amount", "transaction_amount_in_wei"),
    accounts.BadCursorError: Kind(422, "Cursor not valid", "cursor"),
    accounts.TokenNotFoundError: Kind(404, "No such token"),
    accounts.LockHeldError: Kind(409, "Locked"),
    accounts.AlertNotFoundError: Kind(404, "No such alert"),
    accounts.ReasonRequiredError: Kind(422, "Reason needed", "reason"),
    accounts.BadAccountNameError: Kind(422, "Name not valid", "name"),
    accounts.BadTokenNameError: Kind(422, "Name not valid", "name"),
    accounts.AccountAlreadyFrozenError: Kind(409, "Account already frozen"),
    accounts.AccountNotFrozenError: Kind(409, "Account not frozen"),
    accounts.AlreadyPostedError: Kind(409, "Already posted"),
    accounts.HoldNotHeldError: Kind(409, "Hold already resolved"),
    accounts.UnbalancedJournalError: Kind(500, "Journal not balanced"),
    keys.KeyNotFoundError: Kind(503, "Key not ready"),
    keys.KeyPassphraseError: Kind(503, "Key not ready"),
    keys.KeyFileError: Kind(503, "Key not ready"),
    keys.KeyEnvironmentError: Kind(503, "Key not ready"),
    keys.SignerUnavailableError: Kind(503, "Key not ready"),
    keys.DepositSeedNotFoundError: Kind(409, "No deposits taken yet"),
    keys.DepositSeedExistsError: Kind(409, "Deposit seed exists"),
    keys.BadMnemonicError: Kind(422, "Mnemonic not valid"),
    keys.BadExtendedKeyError: Kind(500, "Extended key not valid"),
    keys.UnderivableKeyError: Kind(500, "Key can't be derived"),
    keys.BadSignatureError: Kind(422, "Signature not valid", "signature"),
    keys.UnsignableTransferError: Kind(500, "Transfer can't be signed"),
    # Transactions
    transactions.TransactionNotFoundError: Kind(404, "No such transaction"),
    transactions.BadAddressError: Kind(422, "Not an address", "to_public_address"),
    transactions.BadIdempotencyKeyError: Kind(422, "Idempotency key not valid", "Idempotency-Key"),
    transactions.IdempotencyKeyReusedError: Kind(422, "Idempotency key reused", "Idempotency-Key"),
    transactions.AccountLockedError: Kind(409, "Account locked"),
    transactions.ForbiddenMoveError: Kind(409, "Transaction can't move that way"),
    transactions.NotCancellableError: Kind(409, "Too late to cancel"),
    transactions.MayBePaidError: Kind(409, "May have been paid already"),
    transactions.WalletStateError: Kind(409, "Wallet's state doesn't allow that"),
    transactions.MoreThanFoundError: Kind(409, "Less than that beyond the books"),
    transactions.MoreThanMissingError: Kind(409, "Less than that missing"),
    transactions.NonceNotUnknownError: Kind(409, "Nothing to identify"),
    transactions.NotDisplacedError: Kind(409, "Not displaced for good"),
    transactions.NotTheSamePaymentError: Kind(422, "Not the same payment"),
    transactions.QueueFullError: Kind(429, "Too many payments wait"),
    transactions.AmountAbovePolicyError: Kind(422, "More than the policy allows", "transaction_amount_in_wei"),
    transactions.DailyAmountExceededError: Kind(422, "More than the policy allows a day", "transaction_amount_in_wei"),
    transactions.RecipientNotAllowedError: Kind(422, "Recipient not on the allow-list", "to_public_address"),
    transactions.PolicyChangedError: Kind(409, "Policy changed meanwhile"),
    transactions.OwnAccountError: Kind(403, "Somebody else has to decide"),
    transactions.ApprovalNotFoundError: Kind(404, "No such approval"),
    transactions.AlreadyDecidedError: Kind(409, "Already decided"),
    transactions.DepositAddressNotFoundError: Kind(404, "No deposit address yet"),
    transactions.WalletNotReadyError: Kind(503, "No wallet ready"),
    transactions.BlockNotComparableError: Kind(409, "Block not comparable"),
    transactions.ChainMismatchError: Kind(503, "Node on another chain"),
    chain.ChainUnavailableError: Kind(503, "Node not available"),
    chain.ChainBusyError: Kind(503, "Node not available"),
    chain.WrongChainError: Kind(503, "Node on another chain"),
    chain.ChainReplyError: Kind(503, "Node not understood"),
    chain.ChainForkError: Kind(503, "Node on another chain"),
    chain.NotOfferedError: Kind(503, "Node not understood"),
    # Background work
    tasks.TaskRunNotFoundError: Kind(404, "No such task run"),
    tasks.NothingChosenError: Kind(422, "Nothing chosen"),
    tasks.NotPermittedAnyMoreError: Kind(403, "Not permitted any more"),
    tasks.BrokerUnavailableError: Kind(503, "Broker not available"),
}

# What the database itself refused, by the name of the constraint: told like the error that it stands for.
CONSTRAINTS: dict[str, type[Exception]] = {
    "accounts_account_available_not_negative": accounts.InsufficientFundsError,
    "accounts_account_available_within_current": accounts.HoldNotHeldError,
    "accounts_account_current_within_uint256": accounts.BadAmountError,
    "accounts_entry_amount_within_uint256": accounts.BadAmountError,
    "accounts_hold_amount_within_uint256": accounts.BadAmountError,
    "accounts_hold_placed_once": accounts.AlreadyPostedError,
    "accounts_journal_posted_once": accounts.AlreadyPostedError,
    "transactions_transaction_amount_within_uint256": accounts.BadAmountError,
    "transactions_transaction_idempotency_key_used_once": transactions.IdempotencyKeyReusedError,
}


def problem(error: Exception, *, is_logged: bool = False) -> HttpResponse:
    """Return the answer to a request that ended in `error`; what nobody expected is logged and told as 500."""
    known = _known(error)
    kind = KINDS[type(known)]
    if kind.status >= 500 and not is_logged:
        _log(error, kind)
    body = json.dumps(_document(known, kind), ensure_ascii=False).encode()
    headers = {"Cache-Control": "no-store", "Content-Length": str(len(body))}
    response = HttpResponse(body, status=kind.status, content_type=MEDIA_TYPE, headers=headers)
    retry_after = getattr(known, "retry_after_seconds", None)
    if retry_after is not None:
        response["Retry-After"] = str(retry_after)
    if kind.status == 401:
        # RFC 6750, section 3: a token that was refused is named as such, one that is missing isn't.
        is_bad_token = isinstance(known, site.BadTokenError)
        response["WWW-Authenticate"] = 'Bearer realm="txnsite"' + (', error="invalid_token"' if is_bad_token else "")
    return response


def _log(error: Exception, kind: Kind) -> None:
    if kind.status == 503:
        logger.warning("A request ended in %s: %s", type(error).__name__, str(error).partition("\n")[0])
    else:
        logger.error("A request ended in %s.", type(error).__name__, exc_info=error)


def code_of(error_class: type[Exception]) -> str:
    """Return the stable code of a class of errors."""
    return str(getattr(error_class, "code", site.InternalError.code))


def describe_kind(error_class: type[Exception]) -> dict[str, Any]:
    """Return the problem document of a class of errors as it is told when there is nothing more to say."""
    return _document(error_class(), KINDS[error_class])


def _document(error: Exception, kind: Kind) -> dict[str, Any]:
    code = code_of(type(error))
    errors = [{"field": item.field, "code": item.code, "detail": item.detail} for item in getattr(error, "errors", ())]
    # Five hundreds are about us: their own words may tell what no client should read.
    own_words = kind.status < 500 or isinstance(error, site.RequestError)
    detail = str(error) if own_words else site.InternalError.__doc__ or ""
    if kind.field and not errors:
        errors = [{"field": kind.field, "code": code, "detail": detail}]
    document = {
        "type": TYPE_PREFIX + code,
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "code": code,
    }
    return {**document, "errors": errors} if errors else document


def _known(error: Exception) -> Exception:
    """Return the error that stands in the map for this one."""
    match error:
        case _ if type(error) in KINDS:
            return error
        case Http404():
            return site.NotFoundError()
        case PermissionDenied():
            return site.ForbiddenError()
        case RequestDataTooBig():
            return site.BodyTooLargeError()
        case SuspiciousOperation() | UnreadablePostError():
            return site.BadRequestError()
        case IntegrityError():
            diagnosis = getattr(error.__cause__, "diag", None)
            refused = CONSTRAINTS.get(getattr(diagnosis, "constraint_name", None) or "")
            return site.InternalError() if refused is None else refused()
        # Connections lost or refused, and work cut short by a time limit or a deadlock: to be tried again.
        case OperationalError() | InterfaceError():
            return site.DatabaseUnavailableError()
        case _:
            return site.InternalError()
