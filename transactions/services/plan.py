"""Plan a batch: which wallet pays what, at which price; what is refused, and what has to wait for what."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from django.conf import settings
from django.db import connection

from accounts.keys import UnsignedTransfer
from transactions.chain.client import Chain
from transactions.chain.types import BroadcastTerms, EstimateOutcome
from transactions.models import Transaction, Wallet
from transactions.services.pricing import PLAIN_GAS, price_transfer
from transactions.states import WaitReason

GAS_MARGIN_PERCENT = 20
"""What is added for a recipient with code, which may need more by the time the payment is mined."""


@dataclass(slots=True)
class Purse:
    """What a wallet can still give away.

    `funds_in_wei` is what it holds on the chain, `under_way_in_wei` the most that payments under way can still take
    from it, and `room` how many more may be under way.
    """

    wallet: Wallet
    under_way_in_wei: int
    room: int
    funds_in_wei: int = 0

    @property
    def left_in_wei(self) -> int:
        return self.funds_in_wei - self.under_way_in_wei


@dataclass(slots=True)
class Plan:
    """What to do with a batch of accepted payments."""

    send: dict[Wallet, list[tuple[Transaction, UnsignedTransfer]]] = field(default_factory=dict)
    reject: dict[int, str] = field(default_factory=dict)
    wait: dict[int, WaitReason] = field(default_factory=dict)


def open_purses(wallets: Iterable[Wallet], chain: Chain) -> list[Purse]:
    """Return what each wallet can still give away, in id order.

    The chain is asked last: what is mined in between is then counted twice, and never left out.

    :raises ChainError: when the node doesn't answer.
    """
    by_id = {wallet.pk: wallet for wallet in wallets}
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT wallet_id, count(*), sum(transaction_amount_in_wei + transaction_fee_total_in_wei)
            FROM transactions_transaction
            WHERE stage IN ('SIGNED', 'BROADCAST') AND wallet_id = ANY(%s) GROUP BY wallet_id
            """,
            [list(by_id)],
        )
        under_way = {wallet_id: (count, int(wei)) for wallet_id, count, wei in cursor.fetchall()}
    purses = []
    for wallet_id, wallet in sorted(by_id.items()):
        count, wei = under_way.get(wallet_id, (0, 0))
        purses.append(Purse(wallet, wei, settings.WALLET_IN_FLIGHT_MAX - count))
    if len(purses) > 1:
        # With one wallet there is no choice, and the terms will tell.
        balances = chain.balances([purse.wallet.address for purse in purses], block_number=None)
        for purse in purses:
            purse.funds_in_wei = balances[purse.wallet.address]
    return purses


def share_out(batch: Sequence[Transaction], purses: Sequence[Purse]) -> dict[int, Wallet]:
    """Choose a wallet for each payment, by the payment's id: always the hot one with most left and room for one more.

    A sweep leaves the wallet that it is bound to. What no wallet has room for is absent.
    """
    bound = {purse.wallet.pk: purse.wallet for purse in purses}
    hot = [purse for purse in purses if purse.wallet.takes_payments]
    left = {purse.wallet: purse.left_in_wei for purse in hot}
    room = {purse.wallet: purse.room for purse in hot}
    chosen: dict[int, Wallet] = {}
    for row in batch:
        if row.wallet_id is not None:
            if row.wallet_id in bound:
                chosen[row.pk] = bound[row.wallet_id]
            continue
        open_ones = [wallet for wallet in left if room[wallet] > 0]
        if not open_ones:
            continue
        wallet = max(open_ones, key=lambda wallet: left[wallet])
        chosen[row.pk] = wallet
        left[wallet] -= row.total_in_wei
        room[wallet] -= 1
    return chosen


def plan_batch(
    batch: Sequence[Transaction], wallets: dict[int, Wallet], purses: Iterable[Purse], terms: BroadcastTerms
) -> Plan:
    """Decide for each payment: send, reject or wait. Each wallet's nonces follow the batch's order without a gap.

    :param batch: payments in the order of `terms.estimates`.
    :param wallets: which is to pay, by the payment's id.
    """
    plan = Plan()
    budgets = {purse.wallet: terms.balances[purse.wallet.address] - purse.under_way_in_wei for purse in purses}
    nonces = {purse.wallet: purse.wallet.next_nonce for purse in purses}
    for row, estimate in zip(batch, terms.estimates, strict=True):
        wallet = wallets[row.pk]
        if estimate.outcome == EstimateOutcome.REVERTED:
            plan.reject[row.pk] = estimate.error
            continue
        if estimate.outcome != EstimateOutcome.OK or estimate.gas is None:
            # An unclear answer, which may just be our own wallet's lack of funds, is never a "no".
            short = row.total_in_wei > budgets[wallet]
            plan.wait[row.pk] = WaitReason.WALLET_FUNDS if short else WaitReason.RECIPIENT
            continue
        if estimate.gas > settings.GAS_LIMIT_MAX:
            plan.reject[row.pk] = (
                "The recipient needs more gas than a transaction may have "
                f"({estimate.gas:,} of {settings.GAS_LIMIT_MAX:,})."
            )
            continue
        gas_limit = _gas_limit(estimate.gas)
        price = price_transfer(terms.quote, gas_limit=gas_limit, fee_paid_in_wei=row.transaction_fee_total_in_wei)
        if price is None:
            plan.wait[row.pk] = WaitReason.NETWORK_FEE
            continue
        cost = row.transaction_amount_in_wei + gas_limit * price.max_fee_per_gas_in_wei
        if cost > budgets[wallet]:
            plan.wait[row.pk] = WaitReason.WALLET_FUNDS
            continue
        budgets[wallet] -= cost
        transfer = UnsignedTransfer(
            chain_id=settings.CHAIN_ID,
            nonce=nonces[wallet],
            to_address=row.to_public_address,
            value_in_wei=row.transaction_amount_in_wei,
            gas_limit=gas_limit,
            max_fee_per_gas_in_wei=price.max_fee_per_gas_in_wei,
            max_priority_fee_per_gas_in_wei=price.max_priority_fee_per_gas_in_wei,
        )
        nonces[wallet] += 1
        plan.send.setdefault(wallet, []).append((row, transfer))
    return plan


def _gas_limit(estimated_gas: int) -> int:
    """Return the limit to sign: a plain transfer needs exactly what it needs, code may need more later.

    No node takes a transaction with more gas than the protocol lets one have (EIP-7825); those behind it would wait.
    """
    if estimated_gas == PLAIN_GAS:
        return estimated_gas
    return min(estimated_gas * (100 + GAS_MARGIN_PERCENT) // 100, settings.GAS_LIMIT_MAX)
