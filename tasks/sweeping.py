"""A sweep that staff ask for."""

from collections.abc import Collection

from django.conf import settings
from django.utils import timezone

from accounts.money import format_ether
from transactions.services.sweep import sweep_deposits

SWEEP = "Sweep deposits"


def sweep_now(wallet_ids: Collection[int] | None) -> str:
    """Order sweeps of these deposit addresses, or of all, until none is left that can be swept; say what was done.

    :raises ChainError: when no node answers; what was ordered before goes on.
    """
    ordered = 0
    while some := sweep_deposits(timezone.now(), wallet_ids=wallet_ids):
        ordered += len(some)
    if ordered:
        return f"{ordered:,} sweep{'' if ordered == 1 else 's'} ordered; they go out like payments."
    least = format_ether(settings.SWEEP_MIN_IN_WEI)
    return f"Nothing to sweep: none holds {least} ETH beside the fee, or its sweep is under way."
