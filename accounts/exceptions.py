"""What can go wrong with accounts, ledger, tokens and keys. `code` is stable and goes out to API clients."""


class AccountsError(Exception):
    """Something is wrong with an account."""

    code = "account_error"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip().splitlines()[0])


class AccountNotFoundError(AccountsError):
    """There is no such account."""

    code = "account_not_found"


class AccountFrozenError(AccountsError):
    """This account is frozen. Payments from it are not possible until staff unfreeze it."""

    code = "account_frozen"


class InsufficientFundsError(AccountsError):
    """The available balance does not cover this amount."""

    code = "insufficient_funds"


class UnbalancedJournalError(AccountsError):
    """The entries of a journal must sum to zero and none may be zero."""

    code = "unbalanced_journal"


class AlreadyPostedError(AccountsError):
    """This was already posted to the ledger; nothing was posted a second time."""

    code = "already_posted"


class HoldNotHeldError(AccountsError):
    """A hold can be settled or released once, and this one is no longer held."""

    code = "hold_not_held"


class BadAmountError(AccountsError):
    """This is not an amount."""

    code = "bad_amount"


class ReasonRequiredError(AccountsError):
    """Say why: a reason is needed."""

    code = "reason_required"


class TokenNotFoundError(AccountsError):
    """There is no such token."""

    code = "token_not_found"


class AlertNotFoundError(AccountsError):
    """There is no such alert."""

    code = "alert_not_found"


class LockHeldError(AccountsError):
    """Others keep this locked; try again shortly."""

    code = "lock_held"


class BadCursorError(AccountsError):
    """This cursor is not one that was handed out for this list."""

    code = "bad_cursor"


class AccountAlreadyFrozenError(AccountsError):
    """This account is frozen already."""

    code = "account_already_frozen"


class AccountNotFrozenError(AccountsError):
    """This account is not frozen."""

    code = "account_not_frozen"


class BadAccountNameError(AccountsError):
    """An account needs a name of 1 to 100 characters."""

    code = "bad_account_name"


class BadTokenNameError(AccountsError):
    """Give the token a name of 1 to 100 characters."""

    code = "bad_token_name"
