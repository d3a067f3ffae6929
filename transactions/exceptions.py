"""What can go wrong with transactions. `code` is stable and goes out to API clients."""


class TransactionsError(Exception):
    """Something is wrong with a transaction."""

    code = "transaction_error"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip().splitlines()[0])


class ForbiddenMoveError(TransactionsError):
    """A transaction can't move that way."""

    code = "forbidden_move"


class TransactionNotFoundError(TransactionsError):
    """There is no such transaction."""

    code = "transaction_not_found"


class BadAddressError(TransactionsError):
    """This is not an Ethereum address."""

    code = "bad_address"


class BadIdempotencyKeyError(TransactionsError):
    """An Idempotency-Key has 1 to 255 printable ASCII characters."""

    code = "bad_idempotency_key"


class IdempotencyKeyReusedError(TransactionsError):
    """This Idempotency-Key was already used on this account for another payment."""

    code = "idempotency_key_reused"


class AccountLockedError(TransactionsError):
    """Another payment from this account is being accepted right now. Try again in a moment."""

    code = "account_locked"

    retry_after_seconds = 1


class NotCancellableError(TransactionsError):
    """This payment can't be cancelled any more: the network has taken it, or it is over."""

    code = "not_cancellable"


class MayBePaidError(TransactionsError):
    """A transaction that nobody can tell yet may have paid it: tell that one first, on its wallet's page."""

    code = "may_be_paid"


class WalletStateError(TransactionsError):
    """This wallet's state doesn't allow that."""

    code = "wallet_state"


class MoreThanFoundError(TransactionsError):
    """There is less at this address beyond the books."""

    code = "more_than_found"


class MoreThanMissingError(TransactionsError):
    """Less is missing at this address."""

    code = "more_than_missing"


class NonceNotUnknownError(TransactionsError):
    """No node knows a transaction that used this wallet's next nonce."""

    code = "nonce_not_unknown"


class NotDisplacedError(TransactionsError):
    """Nothing unknown has used this transaction's nonce for good."""

    code = "not_displaced"


class NotTheSamePaymentError(TransactionsError):
    """This payment doesn't wait to be sent, or is to pay something else than the transaction did."""

    code = "not_the_same_payment"


class QueueFullError(TransactionsError):
    """Too many payments wait to be sent. Try again in a moment."""

    code = "queue_full"

    retry_after_seconds = 5


class AmountAbovePolicyError(TransactionsError):
    """This is more than may be paid from this account at once."""

    code = "amount_above_policy"


class DailyAmountExceededError(TransactionsError):
    """This is more than may still be paid from this account within 24 hours."""

    code = "daily_amount_exceeded"


class RecipientNotAllowedError(TransactionsError):
    """This account pays only the recipients on its allow-list, and this address is not on it."""

    code = "recipient_not_allowed"


class PolicyChangedError(TransactionsError):
    """Somebody has changed this policy meanwhile. Look at it again."""

    code = "policy_changed"


class OwnAccountError(TransactionsError):
    """This is about your own account: somebody else has to decide."""

    code = "own_account"


class ApprovalNotFoundError(TransactionsError):
    """There is no such payment that needs approval."""

    code = "approval_not_found"


class AlreadyDecidedError(TransactionsError):
    """This was decided before."""

    code = "already_decided"


class DepositAddressNotFoundError(TransactionsError):
    """This account has no deposit address yet."""

    code = "deposit_address_not_found"


class WalletNotReadyError(TransactionsError):
    """No hot wallet can send now."""

    code = "wallet_not_ready"


class BlockNotComparableError(TransactionsError):
    """The desk doesn't know all of this block."""

    code = "block_not_comparable"


class ChainMismatchError(TransactionsError):
    """The node follows another chain than the database does."""

    code = "chain_mismatch"
