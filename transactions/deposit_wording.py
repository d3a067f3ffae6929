"""A deposit's state in plain words."""

from dataclasses import dataclass
from typing import Literal

from django.conf import settings

from accounts.money import format_ether
from transactions.queries import CountedDeposit, DepositsOnTheWay
from transactions.states import DepositStatus

PERCENT_CONFIRMED = 95
"""What the bar shows once all confirmations are there: the booking is still to come."""


@dataclass(frozen=True, slots=True)
class DepositStory:
    """What a list tells of one deposit."""

    tone: Literal["busy", "good", "bad"]
    badge: str
    words: str
    percent: int | None


def tell_deposit(counted: CountedDeposit) -> DepositStory:
    """Return the story of a deposit; its bar only while it is on its way."""
    match DepositStatus(counted.row.status):
        case DepositStatus.CREDITED:
            return DepositStory("good", "Credited", "", None)
        case DepositStatus.GONE:
            taken = "It was taken back from the account. " if counted.row.credits else ""
            words = f"The network has dropped its block. {taken}If it comes again, it is shown and credited by itself."
            return DepositStory("bad", "Undone by the network", words, None)
        case DepositStatus.WAITING:
            percent = PERCENT_CONFIRMED * _capped(counted.confirmations) // settings.CONFIRMATIONS
            return DepositStory("busy", "On its way", _waiting(counted.confirmations), percent)


def tell_on_the_way(on_the_way: DepositsOnTheWay) -> str:
    """Return one sentence on all deposits that are on their way to an account, or nothing where there are none."""
    amount, waiting = f"{format_ether(on_the_way.amount_in_wei)} ETH", _waiting(on_the_way.confirmations)
    match on_the_way.count:
        case 0:
            return ""
        case 1:
            return f"{amount} on its way: {waiting}."
        case count:
            return f"{amount} on their way in {count:,} deposits; the newest: {waiting}."


def tell_when_credited() -> str:
    """Return how long a deposit takes."""
    if settings.CHAIN_FINALITY == "depth":
        return f"After {settings.CONFIRMATIONS} confirmation{'' if settings.CONFIRMATIONS == 1 else 's'} by the network"
    return "Once the network declares it final, about a quarter of an hour on Ethereum"


def _waiting(confirmations: int) -> str:
    if confirmations < settings.CONFIRMATIONS:
        return f"{confirmations} of {settings.CONFIRMATIONS} confirmations"
    return "confirmed, being credited" if settings.CHAIN_FINALITY == "depth" else "confirmed, waiting for finality"


def _capped(confirmations: int) -> int:
    return min(confirmations, settings.CONFIRMATIONS)
