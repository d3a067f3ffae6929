"""Send saved bytes to the chain and note what came of it. Sending the same bytes twice is sending them once."""

import logging
from collections.abc import Sequence

from django.conf import settings
from django.db import connection
from django.db import transaction as db_transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from transactions.chain.client import Chain
from transactions.chain.types import SendOutcome, SendResult
from transactions.detail import announce_change
from transactions.models import Attempt, Transaction, Wallet
from transactions.services.attempts import newest_attempts, note_sends
from transactions.services.moves import move_transactions
from transactions.states import Stage, WaitReason
from txnsite.faults import fault_point

logger = logging.getLogger(__name__)

_WAIT_BY_OUTCOME = {
    SendOutcome.INSUFFICIENT_FUNDS: WaitReason.WALLET_FUNDS,
    SendOutcome.UNDERPRICED: WaitReason.NETWORK_FEE,
    SendOutcome.NONCE_TOO_LOW: WaitReason.NONCE,
    SendOutcome.UNKNOWN: WaitReason.NODE,
}


def resend_signed(wallet: Wallet, chain: Chain) -> tuple[int, int]:
    """Send the saved bytes of signed payments that no node is known to have; return (taken, still unsent).

    One whose nonce another transaction has used waits for staff, and is no reason for others to wait.
    """
    taken = unsent = 0
    after_nonce = -1
    while True:
        signed = Transaction.objects.filter(wallet=wallet, nonce__gt=after_nonce, stage=Stage.SIGNED).order_by("nonce")
        rows = list(signed.only("nonce")[: settings.CHAIN_RPC_BATCH_SIZE])
        if not rows:
            return taken, unsent
        after_nonce = rows[-1].nonce or 0
        outcomes = [result.outcome for result in _send(newest_attempts([row.pk for row in rows]), chain)]
        taken += outcomes.count(SendOutcome.ACCEPTED)
        unsent += sum(outcome not in (SendOutcome.ACCEPTED, SendOutcome.NONCE_TOO_LOW) for outcome in outcomes)


def resend(transaction_ids: Sequence[int], chain: Chain) -> int:
    """Send the newest saved bytes of these transactions once more, in nonce order; return how many a node has."""
    return send_attempts(newest_attempts(transaction_ids), chain)


def resend_dropped(wallet: Wallet, nonces: range, head_number: int, chain: Chain) -> int:
    """Send what the node has lost once more, at most once a block; return how many it has now.

    :param nonces: of what had been sent before the node was asked, those from the first one on that it doesn't know.
    """
    sent_in_this_block = Attempt.objects.filter(transaction=OuterRef("pk"), sent_block__gte=head_number)
    lost = Transaction.objects.filter(
        ~Exists(sent_in_this_block),
        wallet=wallet,
        nonce__gte=nonces.start,
        nonce__lt=nonces.stop,
        stage=Stage.BROADCAST,
    )
    ids = list(lost.order_by("nonce").values_list("pk", flat=True)[: settings.CHAIN_RPC_BATCH_SIZE])
    if not ids:
        return 0
    logger.warning("The node has lost transactions of %s from nonce %s on; sent again.", wallet, nonces.start)
    return resend(ids, chain)


def send_attempts(attempts: Sequence[Attempt], chain: Chain) -> int:
    """Send saved bytes, note the answers, and return how many a node has taken."""
    return sum(result.outcome == SendOutcome.ACCEPTED for result in _send(attempts, chain))


def _send(attempts: Sequence[Attempt], chain: Chain) -> list[SendResult]:
    if not attempts:
        return []
    fault_point("broadcast.before_send")
    results = chain.send_raw([bytes(attempt.raw_transaction) for attempt in attempts], [a.hash for a in attempts])
    fault_point("broadcast.after_send")
    now = timezone.now()
    answers = list(zip(attempts, results, strict=True))
    taken = [attempt for attempt, result in answers if result.outcome == SendOutcome.ACCEPTED]
    with db_transaction.atomic():
        note_sends([(attempt.pk, result.error) for attempt, result in answers], now)
        ids = sorted(attempt.transaction_id for attempt in taken)
        move_transactions(
            ids,
            old=[Stage.SIGNED],
            new=Stage.BROADCAST,
            constants={"broadcast_at": now, "wait_reason": WaitReason.NOTHING.value},
        )
        set_wait_reason(
            {
                attempt.transaction_id: _WAIT_BY_OUTCOME[result.outcome]
                for attempt, result in answers
                if result.outcome != SendOutcome.ACCEPTED
            }
        )
    for attempt, result in answers:
        if result.outcome not in (SendOutcome.ACCEPTED, SendOutcome.UNKNOWN):
            logger.warning("Attempt %s was not taken (%s): %s", attempt.hash, result.outcome, result.error)
    return results


def set_wait_reason(
    reasons: dict[int, WaitReason], *, stages: Sequence[Stage] = (Stage.ACCEPTED, Stage.SIGNED)
) -> None:
    """Tell what payments wait for, and flag those that wait for staff; rows that already say so are not written.

    :param stages: leave those alone that have come further, or not as far.
    """
    if not reasons:
        return
    ids = sorted(reasons)
    with db_transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "UPDATE transactions_transaction AS row SET wait_reason = data.reason, "
            "needs_attention = needs_attention OR data.reason = 'nonce' "
            "FROM (SELECT t.id, d.reason FROM unnest(%s::bigint[], %s::text[]) AS d(id, reason) "
            "JOIN transactions_transaction t ON t.id = d.id "
            "WHERE t.stage::text = ANY(%s) AND t.wait_reason <> d.reason "
            "ORDER BY t.id FOR NO KEY UPDATE OF t) AS data "
            "WHERE row.id = data.id RETURNING row.id, row.wait_reason",
            [ids, [reasons[row_id].value for row_id in ids], [stage.value for stage in stages]],
        )
        changed = dict(cursor.fetchall())
        announce_change(changed)
    for row_id, reason in changed.items():
        if reason == WaitReason.NONCE:
            logger.error("Payment #%s can't be sent: another transaction of its wallet has used its nonce.", row_id)
