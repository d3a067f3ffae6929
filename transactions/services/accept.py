"""Accept a payment: one short database transaction that holds the funds, and no word to any node."""

import datetime as dt
import hashlib
import json
import re
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction as db_transaction

from accounts.exceptions import AccountNotFoundError, BadAmountError
from accounts.ledger import place_hold
from accounts.models import Account, AccountKind
from accounts.money import WEI_MAX
from transactions.addresses import parse_address
from transactions.detail import Detail, announce_change, describe
from transactions.exceptions import BadIdempotencyKeyError, IdempotencyKeyReusedError, QueueFullError
from transactions.models import Approval, Transaction
from transactions.services.limits import Limits, paid_in_a_day, read_limits
from transactions.services.watchdog import first_check_at
from transactions.states import Stage, Status
from txnsite.database.prepared import fetch_prepared

HOLD_KIND = "payment"
_KEY = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?")


class _OtherStageError(Exception):
    """The account's policy wants the payment to be in another stage than it was inserted in."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.wanted = stage


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The payment as it was accepted, and whether that happened before, under the same idempotency key."""

    detail: Detail
    replayed: bool


def accept_transaction(
    *,
    user_id: int,
    user_account_id: int,
    to_public_address: str,
    amount_in_wei: int,
    idempotency_key: str | None,
    now: dt.datetime,
) -> Acceptance:
    """Accept a payment of `amount_in_wei` plus the fixed fee from a user's own account.

    One of more than the account's policy lets go unseen waits for approval, its funds held.

    Under an idempotency key that was used on this account for the same payment, nothing happens again and the first
    answer is returned.

    :raises BadAddressError: when the recipient is no address.
    :raises BadAmountError: when the amount is not within 1 and 2^256-1 wei.
    :raises BadIdempotencyKeyError: when the key is not 1 to 255 printable ASCII characters.
    :raises QueueFullError: when too many payments wait to be sent.
    :raises IdempotencyKeyReusedError: when the key was used on this account for another payment.
    :raises AccountNotFoundError: when the user has no such account.
    :raises AccountFrozenError: when the account is frozen.
    :raises InsufficientFundsError: when the available balance does not cover amount and fee.
    :raises RecipientNotAllowedError: when the account's policy allows only other recipients.
    :raises AmountAbovePolicyError: when the account's policy allows less at once.
    :raises DailyAmountExceededError: when the account's policy allows less within 24 hours.
    """
    address = parse_address(to_public_address).address
    if not 0 < amount_in_wei <= WEI_MAX:
        raise BadAmountError("The amount must be from 1 to 2^256-1 wei.")
    if idempotency_key is not None and not _KEY.fullmatch(idempotency_key):
        raise BadIdempotencyKeyError()
    columns = {
        "user_account_id": user_account_id,
        "to_public_address": address,
        "transaction_amount_in_wei": amount_in_wei,
        "transaction_fee_total_in_wei": settings.PAYMENT_FEE_IN_WEI,
        "idempotency_key": idempotency_key,
        "payload_hash": hash_payload(address, amount_in_wei),
        "accepted_at": now,
    }
    # Few accounts have a policy and few payments need approval: it is read by the insert itself, so that all others
    # don't wait for it. Where it turns out to want another stage, the insert is undone and made anew.
    stage = Stage.ACCEPTED
    while True:
        try:
            return _accept(Transaction(stage=stage, **columns), user_id)
        except _OtherStageError as error:
            stage = error.wanted


def hash_payload(to_public_address: str, amount_in_wei: int) -> str:
    """Return the SHA-256 by which a second request under the same key is recognised as the same payment."""
    payload = json.dumps({"to": to_public_address, "amount": str(amount_in_wei)}, sort_keys=True)
    return hashlib.sha256(payload.encode()).hexdigest()


@db_transaction.atomic
def _accept(row: Transaction, user_id: int) -> Acceptance:
    """Insert a payment in its stage, hold its funds, and judge it by the account's policy.

    :raises _OtherStageError: when the policy wants it to be in the other stage.
    """
    limits = _insert(row, user_id)
    if limits is None:
        return _replay(row, user_id)
    limits.check_terms(row.transaction_amount_in_wei)
    stage = Stage.REVIEW if limits.needs_approval(row.transaction_amount_in_wei) else Stage.ACCEPTED
    if row.stage != stage:
        raise _OtherStageError(stage)
    place_hold(
        account_id=row.user_account_id,
        amount_in_wei=row.total_in_wei,
        kind=HOLD_KIND,
        source=str(row.pk),
        now=row.accepted_at,
    )
    _judge_held(row, limits)
    # No time for a cache that is down: nobody but one who guessed the id can have asked for it before.
    announce_change([row.pk], insist=False)
    return Acceptance(describe(row, user_id), replayed=False)


def _insert(row: Transaction, user_id: int) -> Limits | None:
    """Insert the row and return what the account's policy allows.

    Nothing is inserted, or returned, if the account isn't the user's own, the key isn't new or the queue is full.

    Waits for a request under the same key that has not committed yet, so that two at once are one payment.
    """
    inserted = fetch_prepared(
        """
        INSERT INTO transactions_transaction (
            user_account_id, status, stage, failure_reason, failure_detail, wait_reason,
            to_public_address, from_public_address, transaction_amount_in_wei, transaction_fee_total_in_wei,
            idempotency_key, payload_hash, block_hash, accepted_at, next_check_at, checks_done, needs_attention)
        SELECT id, %s::text, %s::text, '', '', '', %s::text, '', %s::numeric, %s::numeric,
               %s::text, %s::text, '', %s::timestamptz, %s::timestamptz, 0, FALSE
        FROM accounts_account WHERE id = %s::bigint AND owner_id = %s::bigint AND kind = 'user'
          AND NOT EXISTS (SELECT FROM transactions_queue WHERE full_since IS NOT NULL)
        ON CONFLICT (user_account_id, idempotency_key) DO NOTHING
        RETURNING id, (SELECT to_jsonb(policy) FROM transactions_accountpolicy AS policy
                       WHERE policy.account_id = user_account_id)::text
        """,
        [
            str(row.status),
            str(row.stage),
            row.to_public_address,
            str(row.transaction_amount_in_wei),
            str(row.transaction_fee_total_in_wei),
            row.idempotency_key,
            row.payload_hash,
            row.accepted_at,
            None if row.is_in_review else first_check_at(row.accepted_at),
            row.user_account_id,
            user_id,
        ],
    )
    if not inserted:
        return None
    [(row.pk, policy)] = inserted
    return read_limits(None if policy is None else json.loads(policy), row.to_public_address)


def _judge_held(row: Transaction, limits: Limits) -> None:
    """Judge a payment by those before it, and ask for approval where it needs one.

    Its hold has locked the account until the commit: of two at once, the second counts the first.
    """
    account_id, amount_in_wei, now = row.user_account_id, row.transaction_amount_in_wei, row.accepted_at
    if limits.daily_amount_max_in_wei is not None:
        limits.check_day(amount_in_wei, paid_in_wei=paid_in_a_day(account_id, now) - amount_in_wei)
    if row.is_in_review:
        assert limits.approval_above_in_wei is not None, "nothing else puts a payment into review"
        Approval.objects.create(transaction=row, requested_at=now, above_in_wei=limits.approval_above_in_wei)


def _replay(row: Transaction, user_id: int) -> Acceptance:
    """Return the first answer to a request that was accepted before, as it was given then, or say why there is none."""
    owned = Account.objects.filter(pk=row.user_account_id, owner_id=user_id, kind=AccountKind.USER).exists()
    if not owned:
        raise AccountNotFoundError()
    first = Transaction.objects.filter(
        user_account_id=row.user_account_id, idempotency_key=row.idempotency_key, idempotency_key__isnull=False
    ).first()
    if first is None:
        raise QueueFullError
    if first.payload_hash != row.payload_hash:
        raise IdempotencyKeyReusedError()
    was_reviewed = Approval.objects.filter(pk=first.pk).exists()
    answered = Transaction(
        pk=first.pk,
        user_account_id=first.user_account_id,
        status=Status.PENDING,
        stage=Stage.REVIEW if was_reviewed else Stage.ACCEPTED,
        to_public_address=first.to_public_address,
        transaction_amount_in_wei=first.transaction_amount_in_wei,
        transaction_fee_total_in_wei=first.transaction_fee_total_in_wei,
        accepted_at=first.accepted_at,
    )
    return Acceptance(describe(answered, user_id), replayed=True)
