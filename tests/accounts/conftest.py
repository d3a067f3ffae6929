"""What the tests of accounts and ledger share."""

import pytest

from accounts.models import Account, AccountKind
from tests.desk import ETHER, credit, make_account, make_user


@pytest.fixture
def wallet_account(db: None) -> Account:
    """The ledger's side of a hot wallet that was funded with 10 ether from outside."""
    hot_wallet = Account.objects.create(kind=AccountKind.HOT_WALLET, name="Hot wallet")
    credit(hot_wallet, -10 * ETHER)
    return hot_wallet


@pytest.fixture
def alice(db: None) -> Account:
    """A user's account of 5 ether."""
    return make_account(make_user("alice"), balance_in_wei=5 * ETHER)
