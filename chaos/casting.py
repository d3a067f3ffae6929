"""Put the cast into the desk's database and keystore; for `chaos.prepare`, where Django is set up."""

from collections.abc import Iterable

from django.conf import settings
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from accounts.keys import create_keystore, draw_mnemonic, save_deposit_seed
from accounts.ledger import JournalDraft, post, system_account
from accounts.models import Account, AccountKind, JournalKind, User
from accounts.services.tokens import create_token
from chaos.cast import (
    ACCOUNTS_EACH,
    CLIENTS,
    POOR_AMOUNT_IN_WEI,
    POOR_PAYMENTS,
    RICH_FUNDS_IN_WEI,
    SWEEP_EVERY_SECONDS,
    WALLET_FUNDS_IN_WEI,
    WALLETS,
    Cast,
    Payer,
)
from transactions.services.deposit_addresses import deposit_address_of
from transactions.services.wallets import register_wallet


def make_cast() -> Cast:
    """Create users, tokens, accounts and wallets, the ledger's side of their funds included."""
    funds: dict[int, int] = {}
    payers = [_payer(f"client-{number}", ACCOUNTS_EACH, RICH_FUNDS_IN_WEI, funds) for number in range(1, CLIENTS + 1)]
    # Short of one more payment by a wei.
    poor_funds = (POOR_PAYMENTS + 1) * (POOR_AMOUNT_IN_WEI + settings.PAYMENT_FEE_IN_WEI) - 1
    poor = _payer("poor", 1, poor_funds, funds)
    probe = _payer("probe", 1, RICH_FUNDS_IN_WEI, funds)
    _sweep_often()
    return Cast(payers, poor, probe, [_wallet() for _ in range(WALLETS)], funds, _deposit_addresses(payers))


def _payer(name: str, accounts: int, funds_in_wei: int, funds: dict[int, int]) -> Payer:
    user = User.objects.create(username=name)
    ids = [Account.objects.create(owner=user, name=f"Account {number}").pk for number in range(1, accounts + 1)]
    for account_id in ids:
        _post(JournalKind.ADJUSTMENT, account_id, funds_in_wei)
        funds[account_id] = funds_in_wei
    return Payer(name, create_token(user=user, name="chaos").text, ids)


def _wallet() -> str:
    address = create_keystore(settings.KEYSTORE_DIR, settings.KEYSTORE_PASSPHRASE)
    _post(JournalKind.WALLET_FUNDING, register_wallet(address).account_id, -WALLET_FUNDS_IN_WEI)
    return address


def _deposit_addresses(payers: Iterable[Payer]) -> dict[int, str]:
    save_deposit_seed(settings.KEYSTORE_DIR, settings.KEYSTORE_PASSPHRASE, draw_mnemonic())
    ids = [account_id for payer in payers for account_id in payer.account_ids]
    return {account_id: deposit_address_of(account_id).address for account_id in ids}


def _sweep_often() -> None:
    """Order sweeps every few seconds, as nobody would who pays for the gas."""
    terms = {"every": SWEEP_EVERY_SECONDS, "period": IntervalSchedule.SECONDS}
    schedule = PeriodicTask.objects.get(name="Sweep deposits")
    schedule.interval, _ = IntervalSchedule.objects.get_or_create(**terms)
    schedule.expire_seconds = SWEEP_EVERY_SECONDS
    schedule.save()


def _post(kind: JournalKind, account_id: int, amount_in_wei: int) -> None:
    funding = system_account(AccountKind.EXTERNAL_FUNDING).pk
    entries = [(account_id, amount_in_wei), (funding, -amount_in_wei)]
    post(now=timezone.now(), journals=[JournalDraft(kind, f"chaos-{account_id}", entries)])
