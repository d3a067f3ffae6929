"""A restored database: before anything is started on it, let no wallet pay, and take nothing for clear.

It knows neither what the chain has done since the backup nor what people have called off, refused or frozen.
"""

import datetime as dt

from django.db import transaction as db_transaction

from transactions.models import Wallet
from transactions.services.wallets import pause_wallet
from transactions.states import WalletRole

REASON = (
    "The database was restored from a backup. Once nothing is being checked any more, and what people have cancelled, "
    "refused, frozen and paused since then is done again: resume."
)


@db_transaction.atomic
def hold_wallets(now: dt.datetime) -> list[Wallet]:
    """Pause each hot wallet that isn't, and let the desk compare all with the chain first; return those paused now.

    Until that is done, whatever the backup has may have been paid already: nothing of it is given back. Once more, it
    holds them once more.
    """
    hot = Wallet.objects.select_for_update(no_key=True).filter(role=WalletRole.HOT).order_by("pk")
    wallets = list(hot)
    Wallet.objects.filter(pk__in=[wallet.pk for wallet in wallets]).update(unknown_since=now)
    paying = [wallet for wallet in wallets if wallet.paused_at is None]
    for wallet in paying:
        pause_wallet(wallet, REASON, now)
    return paying
