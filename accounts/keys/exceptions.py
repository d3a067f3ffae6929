"""What can go wrong with signing keys. No message ever holds a key, a passphrase or a mnemonic."""

from accounts.exceptions import AccountsError


class KeyNotFoundError(AccountsError):
    """There is no key for this address."""

    code = "key_not_found"


class KeyPassphraseError(AccountsError):
    """The passphrase does not open this keystore file."""

    code = "key_passphrase"


class KeyFileError(AccountsError):
    """This keystore file can't be used."""

    code = "key_file"


class KeyEnvironmentError(AccountsError):
    """The private keys in the environment can't be used."""

    code = "key_environment"


class SignerUnavailableError(AccountsError):
    """The service that holds the key does not answer."""

    code = "signer_unavailable"


class UnsignableTransferError(AccountsError):
    """This transfer can't be signed: one of its fields is out of range."""

    code = "unsignable_transfer"


class BadSignatureError(AccountsError):
    """This is no signature."""

    code = "bad_signature"


class DepositSeedNotFoundError(KeyNotFoundError):
    """This desk takes no deposits yet: it has no seed that their addresses are derived from."""

    code = "deposits_not_set_up"


class DepositSeedExistsError(AccountsError):
    """There is a deposit seed already; a second one would lose the addresses of the first."""

    code = "deposit_seed_exists"


class BadMnemonicError(AccountsError):
    """This is not a mnemonic of 24 English words (BIP-39)."""

    code = "bad_mnemonic"


class BadExtendedKeyError(AccountsError):
    """This is not an extended public key (BIP-32)."""

    code = "bad_extended_key"


class UnderivableKeyError(AccountsError):
    """There is no key with this number (BIP-32)."""

    code = "underivable_key"
