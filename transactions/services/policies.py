"""Set what may be paid from an account. Each change says why, and the account's audit trail tells old and new.

Whether the actor may set policies at all is the caller's to check; nobody sets those of their own accounts.
"""

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any

from django.db import transaction as db_transaction

from accounts.exceptions import AccountNotFoundError, BadAmountError
from accounts.models import Account, AccountKind, User
from accounts.money import WEI_MAX
from accounts.services.audit import clean_reason, record_audit
from transactions.addresses import parse_address
from transactions.exceptions import OwnAccountError, PolicyChangedError
from transactions.models import AccountPolicy, AllowedRecipient


@dataclass(frozen=True, slots=True)
class Terms:
    """What a policy says; an amount that is None is without a limit."""

    amount_max_in_wei: int | None = None
    daily_amount_max_in_wei: int | None = None
    approval_above_in_wei: int | None = None
    is_allow_list_only: bool = False


@db_transaction.atomic
def set_policy(
    *, actor: User, account_id: int, terms: Terms, reason: str, seen_at: dt.datetime | None, now: dt.datetime
) -> AccountPolicy:
    """Set an account's policy and return it. Payments accepted before are not judged again.

    :param seen_at: when the policy that the actor has seen was changed last; None where there was none.
    :raises ReasonRequiredError: when no reason is given.
    :raises BadAmountError: when a limit is not from 1 to 2^256-1 wei; approval may start at 0.
    :raises AccountNotFoundError: when there is no such user's account.
    :raises OwnAccountError: when it is the actor's own.
    :raises PolicyChangedError: when somebody has changed it since the actor saw it.
    """
    reason = clean_reason(reason)
    _check_amounts(terms)
    account = _lock_account(actor, account_id)
    policy = AccountPolicy.objects.filter(pk=account_id).first()
    if (None if policy is None else policy.changed_at) != seen_at:
        raise PolicyChangedError
    before = Terms() if policy is None else terms_of(policy)
    if policy is not None and before == terms:
        return policy
    policy = policy or AccountPolicy(account=account)
    for field in fields(terms):
        setattr(policy, field.name, getattr(terms, field.name))
    policy.changed_at = now
    policy.save()
    record_audit(
        actor=actor, action="account.policy_set", target=account, reason=reason, details=_changes(before, terms)
    )
    return policy


@db_transaction.atomic
def allow_recipients(
    *, actor: User, account_id: int, notes_by_address: Mapping[str, str], reason: str, now: dt.datetime
) -> list[AllowedRecipient]:
    """Put addresses on an account's allow-list and return their rows; one that is on it gets the new note.

    :raises ReasonRequiredError: when no reason is given.
    :raises BadAddressError: when one of them is no address.
    :raises AccountNotFoundError: when there is no such user's account.
    :raises OwnAccountError: when it is the actor's own.
    """
    reason = clean_reason(reason)
    notes = {parse_address(address).address: note for address, note in notes_by_address.items()}
    account = _lock_account(actor, account_id)
    before = dict(AllowedRecipient.objects.filter(account=account, address__in=notes).values_list("address", "note"))
    rows = AllowedRecipient.objects.bulk_create(
        [
            AllowedRecipient(account=account, address=address, note=note, allowed_at=now)
            for address, note in notes.items()
        ],
        update_conflicts=True,
        unique_fields=["account", "address"],
        update_fields=["note"],
    )
    changes = {address: [before.get(address), note] for address, note in notes.items() if before.get(address) != note}
    if changes:
        record_audit(actor=actor, action="account.recipients_allowed", target=account, reason=reason, details=changes)
    return rows


@db_transaction.atomic
def disallow_recipients(*, actor: User, account_id: int, addresses: Collection[str], reason: str) -> int:
    """Take addresses off an account's allow-list, and return how many were on it.

    :raises ReasonRequiredError: when no reason is given.
    :raises AccountNotFoundError: when there is no such user's account.
    :raises OwnAccountError: when it is the actor's own.
    """
    reason = clean_reason(reason)
    account = _lock_account(actor, account_id)
    rows = AllowedRecipient.objects.filter(account=account, address__in=addresses)
    changes = {address: [note, None] for address, note in rows.values_list("address", "note")}
    if changes:
        rows.delete()
        record_audit(
            actor=actor, action="account.recipients_disallowed", target=account, reason=reason, details=changes
        )
    return len(changes)


def terms_of(policy: AccountPolicy) -> Terms:
    """Return what a policy says."""
    return Terms(**{field.name: getattr(policy, field.name) for field in fields(Terms)})


def _lock_account(actor: User, account_id: int) -> Account:
    """Lock a user's account, and with it all that is changed here, until the commit."""
    account = Account.objects.select_for_update(no_key=True).filter(pk=account_id, kind=AccountKind.USER).first()
    if account is None:
        raise AccountNotFoundError
    if account.owner_id == actor.pk:
        raise OwnAccountError("This account is your own: somebody else has to set its policy.")
    return account


def _check_amounts(terms: Terms) -> None:
    for name, least in (("amount_max_in_wei", 1), ("daily_amount_max_in_wei", 1), ("approval_above_in_wei", 0)):
        amount: int | None = getattr(terms, name)
        if amount is not None and not least <= amount <= WEI_MAX:
            raise BadAmountError(f"This limit must be from {least} to 2^256-1 wei.")


def _changes(old: Terms, new: Terms) -> dict[str, Any]:
    """Return what differs as `{name: [old, new]}`, amounts as decimal strings."""
    pairs = {field.name: [getattr(old, field.name), getattr(new, field.name)] for field in fields(Terms)}
    return {
        name: [value if value is None or isinstance(value, bool) else str(value) for value in pair]
        for name, pair in pairs.items()
        if pair[0] != pair[1]
    }
