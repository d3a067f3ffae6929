"""Accept a payment: one short database transaction that holds the funds, and no word to any node."""

import datetime as dt
import hashlib
import json
import re
from dataclasses import dataclass

from django.conf import settings
from django.db import connection
from django.db import transaction as db_transaction

from accounts.exceptions import AccountNotFoundError, BadAmountError
from accounts.ledger import place_hold
from accounts.models import Account, AccountKind
from accounts.money import WEI_MAX
from transactions.addresses import parse_address
from transactions.detail import Detail, announce_change, describe
from transactions.exceptions import BadIdempotencyKeyError, IdempotencyKeyReusedError
from transactions.models import Approval, Transaction
from transactions.services.limits import Limits, paid_in_a_day
from transactions.services.watchdog import first_check_at
from transactions.states import Stage, Status

HOLD_KIND = "payment"
_KEY = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?")
_INSERT = """
WITH payer AS (
    SELECT account.id, policy.amount_max_in_wei, policy.daily_amount_max_in_wei, policy.approval_above_in_wei,
           coalesce(%(amount)s > policy.approval_above_in_wei, FALSE) AS needs_approval,
           NOT coalesce(policy.is_allow_list_only, FALSE) OR EXISTS (
               SELECT FROM transactions_allowedrecipient AS allowed
               WHERE allowed.account_id = account.id AND allowed.address = %(to)s
           ) AS is_recipient_allowed
    FROM accounts_account AS account
    LEFT JOIN transactions_accountpolicy AS policy ON policy.account_id = account.id
    WHERE account.id = %(account)s AND account.owner_id = %(user)s AND account.kind = 'user'
), inserted AS (
    INSERT INTO transactions_transaction (
        user_account_id, status, stage, failure_reason, failure_detail, wait_reason,
        to_public_address, from_public_address, transaction_amount_in_wei, transaction_fee_total_in_wei,
        idempotency_key, payload_hash, block_hash, accepted_at, next_check_at, checks_done, needs_attention)
    SELECT id, %(status)s, CASE WHEN needs_approval THEN 'REVIEW' ELSE 'ACCEPTED' END, '', '', '',
           %(to)s, '', %(amount)s, %(fee)s,
           %(key)s, %(payload_hash)s, '', %(now)s, CASE WHEN NOT needs_approval THEN %(first_check)s END, 0, FALSE
    FROM payer
    ON CONFLICT (user_account_id, idempotency_key) DO NOTHING
    RETURNING id, stage
)
SELECT inserted.id, inserted.stage, payer.amount_max_in_wei, payer.daily_amount_max_in_wei,
       payer.approval_above_in_wei, payer.is_recipient_allowed
FROM inserted CROSS JOIN payer
"""


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
    fee = settings.PAYMENT_FEE_IN_WEI
    row = Transaction(
        user_account_id=user_account_id,
        status=Status.PENDING,
        to_public_address=address,
        transaction_amount_in_wei=amount_in_wei,
        transaction_fee_total_in_wei=fee,
        idempotency_key=idempotency_key,
        payload_hash=hash_payload(address, amount_in_wei),
        accepted_at=now,
    )
    with db_transaction.atomic():
        limits = _insert(row, user_id)
        if limits is None:
            return _replay(row, user_id)
        limits.check_terms(amount_in_wei)
        place_hold(
            account_id=user_account_id, amount_in_wei=amount_in_wei + fee, kind=HOLD_KIND, source=str(row.pk), now=now
        )
        if limits.daily_amount_max_in_wei is not None:
            # The hold has locked the account until the commit: whoever pays from it at once is counted, or waits.
            limits.check_day(amount_in_wei, paid_in_wei=paid_in_a_day(user_account_id, now) - amount_in_wei)
        if row.is_in_review:
            assert limits.approval_above_in_wei is not None, "nothing else puts a payment into review"
            Approval.objects.create(transaction=row, requested_at=now, above_in_wei=limits.approval_above_in_wei)
        # No time for a cache that is down: nobody but one who guessed the id can have asked for it before.
        announce_change([row.pk], insist=False)
    return Acceptance(describe(row, user_id), replayed=False)


def hash_payload(to_public_address: str, amount_in_wei: int) -> str:
    """Return the SHA-256 by which a second request under the same key is recognised as the same payment."""
    payload = json.dumps({"to": to_public_address, "amount": str(amount_in_wei)}, sort_keys=True)
    return hashlib.sha256(payload.encode()).hexdigest()


def _insert(row: Transaction, user_id: int) -> Limits | None:
    """Insert the row if the account is the user's own and the key is new; return the limits of the account's policy.

    The same statement reads the policy: most accounts have none, and theirs should not wait for it. Waits for a request
    under the same key that has not committed yet, so that two at once are one payment.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _INSERT,
            {
                "account": row.user_account_id,
                "user": user_id,
                "status": row.status,
                "to": row.to_public_address,
                "amount": row.transaction_amount_in_wei,
                "fee": row.transaction_fee_total_in_wei,
                "key": row.idempotency_key,
                "payload_hash": row.payload_hash,
                "now": row.accepted_at,
                "first_check": first_check_at(row.accepted_at),
            },
        )
        inserted = cursor.fetchone()
    if inserted is None:
        return None
    row.pk, row.stage, *amounts, is_recipient_allowed = inserted
    amount_max, daily_amount_max, approval_above = (None if amount is None else int(amount) for amount in amounts)
    return Limits(amount_max, daily_amount_max, approval_above, is_recipient_allowed)


def _replay(row: Transaction, user_id: int) -> Acceptance:
    """Return the first answer to a request that was accepted before, as it was given then."""
    owned = Account.objects.filter(pk=row.user_account_id, owner_id=user_id, kind=AccountKind.USER).exists()
    if not owned:
        raise AccountNotFoundError()
    first = Transaction.objects.get(user_account_id=row.user_account_id, idempotency_key=row.idempotency_key)
    if first.payload_hash != row.payload_hash:
        raise IdempotencyKeyReusedError()
    row.pk = first.pk
    row.stage = Stage.REVIEW if Approval.objects.filter(pk=first.pk).exists() else Stage.ACCEPTED
    row.accepted_at = first.accepted_at
    row.transaction_fee_total_in_wei = first.transaction_fee_total_in_wei
    return Acceptance(describe(row, user_id), replayed=True)
