"""Send saved bytes to the chain and note what came of it. Sending the same bytes twice is sending them once."""

import datetime as dt
import logging
from collections.abc import Iterable, Sequence

from django.conf import settings
from django.db import connection
from django.db import transaction as db_transaction
from django.utils import timezone

from transactions.chain.client import Chain
from transactions.chain.types import SendOutcome, SendResult
from transactions.detail import announce_change
from transactions.models import Attempt, Wallet
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
        attempts = list(
            Attempt.objects.filter(
                wallet=wallet, nonce__gt=after_nonce, transaction__stage__in=[Stage.SIGNED]
            ).order_by("nonce", "id")[: settings.CHAIN_RPC_BATCH_SIZE]
        )
        if not attempts:
            return taken, unsent
        after_nonce = attempts[-1].nonce
        newest = {attempt.nonce: attempt for attempt in attempts}
        outcomes = [result.outcome for result in _send(list(newest.values()), chain)]
        taken += outcomes.count(SendOutcome.ACCEPTED)
        unsent += sum(outcome not in (SendOutcome.ACCEPTED, SendOutcome.NONCE_TOO_LOW) for outcome in outcomes)


def resend(transaction_ids: Sequence[int], chain: Chain) -> int:
    """Send the newest saved bytes of these transactions once more, in nonce order; return how many a node has."""
    newest: dict[int, Attempt] = {}
    for attempt in Attempt.objects.filter(transaction_id__in=transaction_ids).order_by("wallet_id", "nonce", "id"):
        newest[attempt.transaction_id] = attempt
    return send_attempts(list(newest.values()), chain)


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
        _note_sends([(attempt.pk, result.error) for attempt, result in answers], now)
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


def set_wait_reason(reasons: dict[int, WaitReason]) -> None:
    """Tell what payments wait for, and flag those that wait for staff; rows that already say so are not written."""
    if not reasons:
        return
    ids = sorted(reasons)
    with db_transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "UPDATE transactions_transaction AS row SET wait_reason = data.reason, "
            "needs_attention = needs_attention OR data.reason = 'nonce' "
            "FROM (SELECT t.id, d.reason FROM unnest(%s::bigint[], %s::text[]) AS d(id, reason) "
            "JOIN transactions_transaction t ON t.id = d.id "
            "WHERE t.stage IN ('ACCEPTED', 'SIGNED') AND t.wait_reason <> d.reason "
            "ORDER BY t.id FOR NO KEY UPDATE OF t) AS data "
            "WHERE row.id = data.id RETURNING row.id, row.wait_reason",
            [ids, [reasons[row_id].value for row_id in ids]],
        )
        changed = dict(cursor.fetchall())
        announce_change(changed)
    for row_id, reason in changed.items():
        if reason == WaitReason.NONCE:
            logger.error("Payment #%s can't be sent: another transaction of its wallet has used its nonce.", row_id)


def _note_sends(answers: Iterable[tuple[int, str]], now: dt.datetime) -> None:
    ids, errors = zip(*answers, strict=True)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE transactions_attempt AS attempt SET sends = sends + 1, sent_at = coalesce(sent_at, %s), "
            "last_error = answer.error FROM unnest(%s::bigint[], %s::text[]) AS answer(id, error) "
            "WHERE attempt.id = answer.id",
            [now, list(ids), [error[:500] for error in errors]],
        )
