"""What can go wrong with signing keys. No message ever holds a key or a passphrase."""

from accounts.exceptions import AccountsError


class KeyNotFoundError(AccountsError):
    """There is no keystore file for this address."""

    code = "key_not_found"


class KeyPassphraseError(AccountsError):
    """The passphrase does not open this keystore file."""

    code = "key_passphrase"


class KeyFileError(AccountsError):
    """This keystore file can't be used."""

    code = "key_file"


class UnsignableTransferError(AccountsError):
    """This transfer can't be signed: one of its fields is out of range."""

    code = "unsignable_transfer"
