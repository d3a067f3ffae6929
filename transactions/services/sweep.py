"""Sweep: move what came to deposit addresses to a hot wallet, as transactions of the desk's own.

A sweep is a row like a payment, bound to the wallet that it leaves: it is signed, sent, replaced, followed and settled
in the same way. What moves between two wallets of the desk stays the desk's; only the network's fee is gone.
"""

import datetime as dt
import logging
from collections.abc import Collection

from django.conf import settings
from django.db import transaction as db_transaction
from django.db.models import Exists, F, OuterRef

from accounts.ledger import system_account
from accounts.models import AccountKind
from transactions.chain.client import Chain, get_chain
from transactions.models import Transaction, Wallet
from transactions.services.nonces import note_strangers
from transactions.services.pricing import reserve_for_move
from transactions.services.wallets import sending_wallets
from transactions.states import Kind, Stage, Status, WalletRole
from txnsite.faults import fault_point

logger = logging.getLogger(__name__)

AT_ONCE = 100


def sweep_deposits(
    now: dt.datetime, *, wallet_ids: Collection[int] | None = None, chain: Chain | None = None
) -> list[int]:
    """Order a sweep of each deposit address that holds enough and has none under way; return their ids.

    They go to the hot wallet that holds least. Deposits that are not final yet stay where they are.

    :param wallet_ids: of these only; at most a hundred are ordered at once in any case.
    :raises ChainError: when no node answers.
    """
    chain = chain or get_chain()
    hot = sending_wallets()
    wallets = _sweepable(wallet_ids)
    if not hot or not wallets:
        return []
    terms = chain.terms([], [wallet.address for wallet in [*hot, *wallets]])
    target = min(hot, key=lambda wallet: terms.balances[wallet.address])
    fee_max = reserve_for_move(terms.quote)
    ordered = []
    for wallet in wallets:
        # Who else had the key, or a database since replaced by an older one, may have swept it already.
        note_strangers(wallet, terms.nonces[wallet.address], now)
        # The ledger counts what is final, the chain what is there: never move more than either.
        held = min(-wallet.account.current_balance_in_wei, terms.balances[wallet.address])
        if held - fee_max >= settings.SWEEP_MIN_IN_WEI:
            row_id = order_move(wallet, target, held - fee_max, fee_max, now)
            ordered += [] if row_id is None else [row_id]
    if ordered:
        logger.info("Sweeping %d deposit addresses to %s.", len(ordered), target)
    return ordered


def _sweepable(wallet_ids: Collection[int] | None) -> list[Wallet]:
    under_way = Transaction.objects.filter(wallet=OuterRef("pk"), status=Status.PENDING).exclude(kind=Kind.PAYMENT)
    rows = (
        Wallet.objects.filter(role=WalletRole.DEPOSIT, paused_at__isnull=True)
        .filter(~Exists(under_way), account__current_balance_in_wei__lt=-settings.SWEEP_MIN_IN_WEI)
        .select_related("account")
        .order_by(F("account__current_balance_in_wei"))
    )
    return list((rows if wallet_ids is None else rows.filter(pk__in=wallet_ids))[:AT_ONCE])


def order_move(wallet: Wallet, target: Wallet, amount_in_wei: int, fee_max_in_wei: int, now: dt.datetime) -> int | None:
    """Let the desk move ether from one of its wallets to another; return the id of the transaction that will.

    Nothing is ordered, and nothing returned, while anything else of the wallet is under way, or when the target's key
    is being rotated.

    :param fee_max_in_wei: the most that the network may take, beside the amount.
    """
    with db_transaction.atomic():
        both = Wallet.objects.select_for_update(no_key=True).filter(pk__in=[wallet.pk, target.pk]).order_by("pk")
        if any(each.pk == target.pk and each.replaced_by_id is not None for each in both):
            return None
        if Transaction.objects.filter(wallet=wallet, status=Status.PENDING).exists():
            return None
        row = Transaction.objects.create(
            kind=Kind.SWEEP,
            stage=Stage.ACCEPTED,
            user_account=system_account(AccountKind.NETWORK_FEES),
            wallet=wallet,
            to_public_address=target.address,
            transaction_amount_in_wei=amount_in_wei,
            transaction_fee_total_in_wei=fee_max_in_wei,
            payload_hash="",
            accepted_at=now,
        )
        fault_point("sweep.before_commit")
    fault_point("sweep.ordered")
    return row.pk
