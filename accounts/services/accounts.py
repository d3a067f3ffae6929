"""Open, freeze and unfreeze accounts."""

from django.db import transaction as db_transaction
from django.utils import timezone

from accounts.exceptions import (
    AccountAlreadyFrozenError,
    AccountNotFoundError,
    AccountNotFrozenError,
    BadAccountNameError,
)
from accounts.models import Account, AccountKind, User
from accounts.services.audit import clean_reason, record_audit

NAME_LENGTH_MAX = 100


@db_transaction.atomic
def open_account(*, owner: User, name: str, actor: User | None = None) -> Account:
    """Open an empty account for a user.

    :raises BadAccountNameError: when the name is blank or longer than 100 characters.
    """
    name = name.strip()
    if not 0 < len(name) <= NAME_LENGTH_MAX:
        raise BadAccountNameError
    account = Account.objects.create(owner=owner, name=name)
    record_audit(
        actor=actor, action="account.opened", target=account, details={"owner": owner.get_username(), "name": name}
    )
    return account


@db_transaction.atomic
def freeze_account(*, actor: User, account_id: int, reason: str) -> Account:
    """Stop new payments from an account. Those under way go on, and credits still arrive.

    :raises ReasonRequiredError: when no reason is given.
    :raises AccountNotFoundError: when there is no such user's account.
    :raises AccountAlreadyFrozenError: when it is frozen already; its first reason stays.
    """
    reason = clean_reason(reason)
    account = _lock_account(account_id)
    if account.is_frozen:
        raise AccountAlreadyFrozenError(f"Account #{account.pk} is frozen already: {account.frozen_reason}")
    account.frozen_at = timezone.now()
    account.frozen_reason = reason
    account.save(update_fields=["frozen_at", "frozen_reason"])
    record_audit(actor=actor, action="account.frozen", target=account, reason=reason)
    return account


@db_transaction.atomic
def unfreeze_account(*, actor: User, account_id: int, reason: str) -> Account:
    """Let payments from a frozen account be made again.

    :raises ReasonRequiredError: when no reason is given.
    :raises AccountNotFoundError: when there is no such user's account.
    :raises AccountNotFrozenError: when it is not frozen.
    """
    reason = clean_reason(reason)
    account = _lock_account(account_id)
    if not account.is_frozen:
        raise AccountNotFrozenError(f"Account #{account.pk} is not frozen.")
    frozen_at, frozen_reason = account.frozen_at, account.frozen_reason
    account.frozen_at = None
    account.frozen_reason = ""
    account.save(update_fields=["frozen_at", "frozen_reason"])
    record_audit(
        actor=actor,
        action="account.unfrozen",
        target=account,
        reason=reason,
        details={"frozen_at": frozen_at.isoformat() if frozen_at else "", "frozen_reason": frozen_reason},
    )
    return account


def _lock_account(account_id: int) -> Account:
    account = Account.objects.select_for_update(no_key=True).filter(pk=account_id, kind=AccountKind.USER).first()
    if account is None:
        raise AccountNotFoundError
    return account
