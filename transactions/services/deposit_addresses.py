"""Deposit addresses: one for each account that asks for one.

It is derived from the seed by the account's id (BIP-44), so whoever has the seed can find it without the database.
"""

from django.db import transaction as db_transaction

from accounts.exceptions import AccountNotFoundError, AccountsError
from accounts.keys import deposit_address
from accounts.models import Account, AccountKind
from transactions.models import Wallet
from transactions.states import WalletRole


def deposit_address_of(account_id: int) -> Wallet:
    """Return the deposit address of a user's account, made with its ledger account if it has none.

    :raises AccountNotFoundError: when there is no such user's account.
    :raises DepositSeedNotFoundError: when there is no deposit seed.
    :raises AccountsError: when its extended public key can't be used.
    """
    existing = Wallet.objects.filter(credits_id=account_id).first()
    if existing is not None:
        return existing
    with db_transaction.atomic():
        # Two at once would both make one.
        account = Account.objects.select_for_update(no_key=True).filter(pk=account_id, kind=AccountKind.USER).first()
        if account is None:
            raise AccountNotFoundError
        existing = Wallet.objects.filter(credits=account).first()
        if existing is not None:
            return existing
        address = deposit_address(account_id)
        asset = Account.objects.create(kind=AccountKind.DEPOSIT_ADDRESS, name=f"Deposit address {address}")
        return Wallet.objects.create(role=WalletRole.DEPOSIT, address=address, account=asset, credits=account)


def deposits_are_set_up() -> bool:
    """Say whether addresses can be made: there is a deposit seed, and this process can read its public key."""
    try:
        deposit_address(0)
    except AccountsError:
        return False
    return True
