"""Replace what no block takes: the same nonce at a higher fee. A cancel is a replacement that pays nobody.

Runs under the broadcaster's lock, which makes it the only one that signs. An attempt is saved before it is sent, all
of a nonce's attempts are watched until one of them is final, and whichever a block holds decides.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db import connection
from django.db import transaction as db_transaction

from accounts.keys import Signer, SignerUnavailableError, UnsignedTransfer, sign_transfers
from transactions.chain.client import Chain
from transactions.chain.types import BlockHeader, BroadcastTerms, FeeQuote
from transactions.detail import announce_change
from transactions.models import Attempt, Block, Transaction, Wallet
from transactions.services.attempts import insert_attempts, signed_attempt
from transactions.services.pricing import PLAIN_GAS, Price, price_replacement, price_transfer
from transactions.services.send import resend, send_attempts, set_wait_reason
from transactions.services.signers import tell_unable
from transactions.states import Kind, Purpose, Stage, WaitReason
from txnsite.faults import fault_point

logger = logging.getLogger(__name__)

PAGES_MAX = 20
"""How many batches of those whose price is too low are looked at with each block: the rest has to be done as well."""

# The newest attempt tells: a cancel that was asked for and isn't signed yet, or nothing of this wallet, and so not this
# one either, mined for so many blocks. What has reached the most that may be paid is only sent again, as seldom.
_STUCK = """
SELECT payment.id FROM transactions_transaction AS payment
JOIN transactions_wallet AS wallet ON wallet.id = payment.wallet_id
CROSS JOIN LATERAL (
    SELECT purpose, signed_block, sent_block FROM transactions_attempt AS attempt
    WHERE attempt.transaction_id = payment.id ORDER BY attempt.id DESC LIMIT 1
) AS newest
WHERE payment.stage IN ('SIGNED', 'BROADCAST') AND wallet.id = ANY(%(wallets)s)
  -- Said once more without the newest attempt, which is not looked for while a wallet's payments are mined.
  AND (payment.cancel_requested_at IS NOT NULL OR wallet.progress_block <= %(head)s - %(blocks)s)
  AND (payment.cancel_requested_at IS NOT NULL AND newest.purpose <> 'cancel'
       OR greatest(newest.signed_block, wallet.progress_block) <= %(head)s - %(blocks)s)
  AND (payment.stage = 'SIGNED' OR payment.wait_reason <> 'network_fee'
       OR newest.sent_block <= %(head)s - %(blocks)s)
  AND (payment.wallet_id, payment.nonce) > (%(after_wallet)s, %(after_nonce)s)
ORDER BY payment.wallet_id, payment.nonce LIMIT %(limit)s
"""

# A wallet of which the newest block holds something is not looked at: what it has sent goes out, or the next block that
# holds nothing of it tells.
_OUTPRICED = """
SELECT payment.id FROM transactions_transaction AS payment
JOIN transactions_wallet AS wallet ON wallet.id = payment.wallet_id
CROSS JOIN LATERAL (
    SELECT max_fee_per_gas_in_wei FROM transactions_attempt AS attempt
    WHERE attempt.transaction_id = payment.id AND attempt.raw_transaction <> '' ORDER BY attempt.id DESC LIMIT 1
) AS newest
WHERE payment.stage IN ('SIGNED', 'BROADCAST') AND payment.wait_reason = '' AND wallet.progress_block < %(head)s
  AND newest.max_fee_per_gas_in_wei < %(base_fee)s AND payment.id > %(after_id)s
ORDER BY payment.id LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class _Stuck:
    """A transaction that no block has taken, and all that was signed for it, the newest last."""

    row: Transaction
    attempts: list[Attempt]

    @property
    def purpose(self) -> Purpose:
        """Return what the next attempt is to do."""
        pays = self.row.kind in (Kind.PAYMENT, Kind.SWEEP)
        cancelled = self.row.cancel_requested_at is not None or not pays
        return Purpose.CANCEL if cancelled else Purpose.PAYMENT

    @property
    def last(self) -> Attempt | None:
        """Return the newest attempt of our own."""
        return next((attempt for attempt in reversed(self.attempts) if attempt.raw_transaction), None)


def has_stuck(wallets: Iterable[Wallet]) -> bool:
    """Say whether something that these wallets have sent is to be replaced."""
    return bool(_stuck_ids(wallets, 1))


def replace_stuck(signers: Mapping[Wallet, Signer], terms: BroadcastTerms, chain: Chain) -> int:
    """Sign and send replacements for what these wallets can't get mined; return how many a node has taken.

    Where the most that may be paid is reached, the last attempt is sent again and waits for a cheaper network. All are
    looked at, batch by batch: what was signed and is refused at that most is found stuck again in each run, however
    many of it there are.
    """
    able = dict(signers)
    taken, after = 0, (0, -1)
    while stuck := _read_stuck(_stuck_ids(able, settings.CHAIN_RPC_BATCH_SIZE, after)):
        taken += _replace(stuck, able, terms, chain)
        last = stuck[-1].row
        after = (last.wallet_id or 0, last.nonce or 0)
    return taken


def _replace(stuck: Sequence[_Stuck], signers: dict[Wallet, Signer], terms: BroadcastTerms, chain: Chain) -> int:
    """Replace a batch; return how many a node has taken.

    :param signers: who turns out not to be able to sign is taken out.
    """
    attempts: list[Attempt] = []
    capped: list[Transaction] = []
    for wallet, signer in list(signers.items()):
        mined = terms.nonces[wallet.address].latest
        planned: list[tuple[_Stuck, UnsignedTransfer]] = []
        for each in stuck:
            if each.row.wallet_id == wallet.pk and each.row.nonce is not None and each.row.nonce >= mined:
                price = _price(each, terms.quote)
                if price is None:
                    capped.append(each.row)
                else:
                    planned.append((each, _transfer(each, wallet, price)))
        try:
            signed = sign_transfers(signer, [transfer for _, transfer in planned])
        except SignerUnavailableError as error:
            tell_unable(wallet, error)
            del signers[wallet]
            continue
        attempts += [
            signed_attempt(each.row, wallet, transfer, result, each.purpose)
            for (each, transfer), result in zip(planned, signed, strict=True)
        ]
    waits = {row.pk: WaitReason.NETWORK_FEE for row in capped}
    set_wait_reason(waits, stages=[Stage.SIGNED, Stage.BROADCAST])
    taken = send_attempts(_save(attempts), chain)
    # What no node has taken yet is sent again with each run.
    return taken + resend([row.pk for row in capped if row.stage == Stage.BROADCAST], chain)


def tell_outpriced(head: BlockHeader) -> None:
    """Say of what was sent at the most that may be paid that it waits for the network's fee, once that is above it.

    What may still be raised is replaced in its time. No node is asked.
    """
    quote = FeeQuote(head.base_fee_per_gas_in_wei, max_priority_fee_per_gas_in_wei=0)
    after_id = 0
    for _ in range(PAGES_MAX):
        found = _outpriced_ids(head, after_id)
        _tell_capped(found, quote)
        if len(found) < settings.CHAIN_RPC_BATCH_SIZE:
            return
        after_id = found[-1]


def _outpriced_ids(head: BlockHeader, after_id: int) -> list[int]:
    """Return the next of those whose newest attempt of ours offers less than the base fee."""
    with connection.cursor() as cursor:
        cursor.execute(
            _OUTPRICED,
            {
                "head": head.number,
                "base_fee": head.base_fee_per_gas_in_wei,
                "after_id": after_id,
                "limit": settings.CHAIN_RPC_BATCH_SIZE,
            },
        )
        return [row[0] for row in cursor.fetchall()]


def _tell_capped(found: Sequence[int], quote: FeeQuote) -> None:
    """Say of those that may not be raised any more that they wait for the network's fee."""
    if not found:
        return
    with db_transaction.atomic():
        # Locked, so that a cancel comes before and is judged by its own price, or after and waits for nothing.
        rows = Transaction.objects.select_for_update(no_key=True).filter(pk__in=found, wait_reason="").order_by("pk")
        stuck = _read_stuck(list(rows.values_list("pk", flat=True)))
        capped = [each.row.pk for each in stuck if _price(each, quote) is None]
        set_wait_reason(dict.fromkeys(capped, WaitReason.NETWORK_FEE), stages=[Stage.SIGNED, Stage.BROADCAST])


def _stuck_ids(wallets: Iterable[Wallet], limit: int, after: tuple[int, int] = (0, -1)) -> list[int]:
    """Return the next of what is stuck, in the order of wallets and nonces.

    :param after: the wallet's id and the nonce of the last one that was looked at.
    """
    after_wallet, after_nonce = after
    with connection.cursor() as cursor:
        cursor.execute(
            _STUCK,
            {
                "wallets": [wallet.pk for wallet in wallets],
                "head": Block.newest_number() or 0,
                "blocks": settings.REPLACE_AFTER_BLOCKS,
                "after_wallet": after_wallet,
                "after_nonce": after_nonce,
                "limit": limit,
            },
        )
        return [row[0] for row in cursor.fetchall()]


def _read_stuck(ids: Sequence[int]) -> list[_Stuck]:
    attempts: dict[int, list[Attempt]] = {row_id: [] for row_id in ids}
    for attempt in Attempt.objects.filter(transaction_id__in=ids).order_by("id"):
        attempts[attempt.transaction_id].append(attempt)
    rows = Transaction.objects.filter(pk__in=ids).order_by("wallet_id", "nonce")
    return [_Stuck(row, attempts[row.pk]) for row in rows]


def _price(stuck: _Stuck, quote: FeeQuote) -> Price | None:
    """Return the next offer: a payment's within what its owner paid for it, a cancel's within what we allow us."""
    pays = stuck.purpose == Purpose.PAYMENT
    fee_max = stuck.row.transaction_fee_total_in_wei if pays else settings.CANCEL_FEE_MAX_IN_WEI
    if stuck.last is None:
        return price_transfer(quote, gas_limit=PLAIN_GAS, fee_paid_in_wei=fee_max)
    gas_limit = stuck.last.gas_limit if pays else PLAIN_GAS
    last = Price(stuck.last.max_fee_per_gas_in_wei, stuck.last.max_priority_fee_per_gas_in_wei)
    return price_replacement(quote, last, gas_limit=gas_limit, fee_max_in_wei=fee_max)


def _transfer(stuck: _Stuck, wallet: Wallet, price: Price) -> UnsignedTransfer:
    pays = stuck.purpose == Purpose.PAYMENT
    assert stuck.row.nonce is not None, "a CHECK guarantees it from SIGNED on"
    return UnsignedTransfer(
        chain_id=settings.CHAIN_ID,
        nonce=stuck.row.nonce,
        to_address=stuck.row.to_public_address if pays else wallet.address,
        value_in_wei=stuck.row.transaction_amount_in_wei if pays else 0,
        gas_limit=stuck.last.gas_limit if pays and stuck.last is not None else PLAIN_GAS,
        max_fee_per_gas_in_wei=price.max_fee_per_gas_in_wei,
        max_priority_fee_per_gas_in_wei=price.max_priority_fee_per_gas_in_wei,
    )


def _save(attempts: list[Attempt]) -> list[Attempt]:
    """Save the attempts of what no block has taken meanwhile, and return those; the newest is the one that counts."""
    if not attempts:
        return []
    by_id = {attempt.transaction_id: attempt for attempt in attempts}
    with db_transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM transactions_transaction WHERE id = ANY(%s) AND stage IN ('SIGNED', 'BROADCAST') "
            "ORDER BY id FOR NO KEY UPDATE",
            [list(by_id)],
        )
        saved = [by_id[row_id] for (row_id,) in cursor.fetchall()]
        if not saved:
            return []
        announce_change(attempt.transaction_id for attempt in saved)
        insert_attempts(saved)
        cursor.execute(
            "UPDATE transactions_transaction AS row SET transaction_hash = data.hash, wait_reason = '' "
            "FROM unnest(%s::bigint[], %s::text[]) AS data(id, hash) WHERE row.id = data.id",
            [[attempt.transaction_id for attempt in saved], [attempt.hash for attempt in saved]],
        )
        fault_point("replace.before_commit")
    fault_point("replace.saved")
    logger.info("Replaced %s transactions at higher fees.", len(saved))
    return sorted(saved, key=lambda attempt: (attempt.wallet_id, attempt.nonce))
