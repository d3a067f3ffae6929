"""Load the demo: users, an account of 100 ETH that is paid into once, and a funded hot wallet. Development only."""

import contextlib
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from accounts.exceptions import AlreadyPostedError
from accounts.keys import create_keystore, draw_mnemonic, list_keystores, restore_deposit_xpub, save_deposit_seed
from accounts.keys.exceptions import DepositSeedExistsError
from accounts.ledger import JournalDraft, post, system_account
from accounts.models import Account, AccountKind, JournalKind, User
from transactions.chain.client import get_chain
from transactions.chain.faucet import fund_from_node_account
from transactions.models import Deposit, Wallet
from transactions.services.deposit_addresses import deposit_address_of, deposits_are_set_up
from transactions.services.wallets import register_wallet

ETHER = 10**18
WALLET_FUNDS_IN_WEI = 1_000 * ETHER
DEMO_FUNDS_IN_WEI = 100 * ETHER
DEPOSIT_IN_WEI = 25 * ETHER // 10


class Command(BaseCommand):
    help = (
        "Load demo users, an account of 100 ETH, a deposit to it, and a funded hot wallet (development only; safe to "
        "repeat)."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError("The demo has well-known passwords: it is loaded only where DEBUG is on.")
        _user("admin", is_staff=True, is_superuser=True)
        demo = _user("demo")
        account, _ = Account.objects.get_or_create(owner=demo, kind=AccountKind.USER, defaults={"name": "Demo"})
        _post(JournalKind.ADJUSTMENT, "demo", account.pk, DEMO_FUNDS_IN_WEI, "Demo funds")
        wallet = _wallet()
        address = _deposit_address(account)
        self.stdout.write(f"Demo loaded: {account} with 100 ETH, paid from {wallet.address}, paid into at {address}.")


def _user(name: str, **flags: bool) -> User:
    user, created = User.objects.get_or_create(username=name, defaults=flags)
    if created:
        user.set_password(name)
        user.save(update_fields=["password"])
    return user


def _wallet() -> Wallet:
    addresses = list_keystores(settings.KEYSTORE_DIR)
    address = addresses[0] if addresses else create_keystore(settings.KEYSTORE_DIR, settings.KEYSTORE_PASSPHRASE)
    wallet = register_wallet(address)
    chain = get_chain()
    if chain.balances([address], block_number=None)[address] == 0:
        fund_from_node_account(settings.CHAIN_RPC_URLS[0], address, WALLET_FUNDS_IN_WEI)
    return wallet


def _deposit_address(account: Account) -> str:
    """Return the account's deposit address, to which the node's own account has paid once."""
    if not deposits_are_set_up():
        try:
            save_deposit_seed(settings.KEYSTORE_DIR, settings.KEYSTORE_PASSPHRASE, draw_mnemonic())
        except DepositSeedExistsError:
            # A run before was killed in the middle.
            restore_deposit_xpub(settings.KEYSTORE_DIR, settings.KEYSTORE_PASSPHRASE)
    wallet = deposit_address_of(account.pk)
    # What was paid lies there until it is swept, and by then it is known.
    is_empty = get_chain().balances([wallet.address], block_number=None)[wallet.address] == 0
    if is_empty and not Deposit.objects.filter(wallet=wallet).exists():
        fund_from_node_account(settings.CHAIN_RPC_URLS[0], wallet.address, DEPOSIT_IN_WEI)
    return wallet.address


def _post(kind: JournalKind, source: str, account_id: int, amount_in_wei: int, description: str) -> None:
    funding = system_account(AccountKind.EXTERNAL_FUNDING).pk
    draft = JournalDraft(kind, source, [(account_id, amount_in_wei), (funding, -amount_in_wei)], description)
    with contextlib.suppress(AlreadyPostedError):
        post(now=timezone.now(), journals=[draft])
