"""Credits and debits by staff: balanced journals against external funding, each with a reason."""

from dataclasses import dataclass

from django.db import transaction as db_transaction
from django.utils import timezone

from accounts.exceptions import AccountNotFoundError, AlreadyPostedError, BadAmountError
from accounts.ledger import JournalDraft, post, system_account
from accounts.models import Account, AccountKind, Journal, JournalKind, User
from accounts.money import WEI_MAX
from accounts.services.audit import clean_reason, record_audit


@dataclass(frozen=True, slots=True)
class Adjustment:
    """The journal of a credit or debit, and whether the same request had posted it before."""

    journal_id: int
    replayed: bool


def credit_account(*, actor: User, account_id: int, amount_in_wei: int, reason: str, request_id: str) -> Adjustment:
    """Add wei to a user's account; a frozen account can be credited too.

    :param request_id: the one-time id of the form or call: sent again, it posts nothing a second time.
    :raises ReasonRequiredError: when no reason is given.
    :raises BadAmountError: when the amount is not within 1 and 2^256-1 wei, or the balance would not be.
    :raises AccountNotFoundError: when there is no such user's account.
    :raises AlreadyPostedError: when the request id was used for another adjustment.
    """
    _require_amount(amount_in_wei)
    return _adjust(actor, account_id, amount_in_wei, reason, request_id)


def debit_account(*, actor: User, account_id: int, amount_in_wei: int, reason: str, request_id: str) -> Adjustment:
    """Take wei off a user's account; never more than is available, so never what payments under way have reserved.

    :param request_id: the one-time id of the form or call: sent again, it posts nothing a second time.
    :raises ReasonRequiredError: when no reason is given.
    :raises BadAmountError: when the amount is not within 1 and 2^256-1 wei.
    :raises AccountNotFoundError: when there is no such user's account.
    :raises InsufficientFundsError: when less is available.
    :raises AlreadyPostedError: when the request id was used for another adjustment.
    """
    _require_amount(amount_in_wei)
    return _adjust(actor, account_id, -amount_in_wei, reason, request_id)


def _require_amount(amount_in_wei: int) -> None:
    if not 0 < amount_in_wei <= WEI_MAX:
        raise BadAmountError("The amount must be from 1 to 2^256-1 wei.")


def _adjust(actor: User, account_id: int, change_in_wei: int, reason: str, request_id: str) -> Adjustment:
    """Post a change against external funding, with its audit event, or find that it was posted before."""
    reason = clean_reason(reason)
    account = Account.objects.filter(pk=account_id, kind=AccountKind.USER).first()
    if account is None:
        raise AccountNotFoundError
    funding_id = system_account(AccountKind.EXTERNAL_FUNDING).pk
    draft = JournalDraft(
        kind=JournalKind.ADJUSTMENT,
        source=request_id,
        entries=[(account_id, change_in_wei), (funding_id, -change_in_wei)],
        description=reason,
        created_by_id=actor.pk,
    )
    try:
        with db_transaction.atomic():
            post(now=timezone.now(), journals=[draft])
            journal = _journal(request_id)
            record_audit(
                actor=actor,
                action="account.credited" if change_in_wei > 0 else "account.debited",
                target=account,
                reason=reason,
                details={"amount_in_wei": str(abs(change_in_wei)), "journal": journal.pk},
            )
    except AlreadyPostedError:
        journal = _journal(request_id)
        if not journal.entries.filter(account_id=account_id, amount_in_wei=change_in_wei).exists():
            raise
        return Adjustment(journal.pk, replayed=True)
    return Adjustment(journal.pk, replayed=False)


def _journal(request_id: str) -> Journal:
    return Journal.objects.get(kind=JournalKind.ADJUSTMENT, source=request_id)
