"""The audit trail: who did what to which row, when and why."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.db import models

from accounts.exceptions import ReasonRequiredError
from accounts.models import AuditEvent, User

REASON_LENGTH_MAX = 500


def record_audit(
    *,
    actor: User | None,
    action: str,
    target: models.Model,
    reason: str = "",
    details: Mapping[str, Any] | None = None,
) -> AuditEvent:
    """Record an action, in the database transaction that takes it, so that there is never one without the other.

    :param actor: who did it; nobody when the desk's own set-up did.
    :param action: in the past tense, like `account.frozen`.
    :param details: what JSON can hold, amounts as decimal strings of wei; never a secret.
    """
    return AuditEvent.objects.create(**_columns(actor, action, target, reason, details))


def record_audit_of_each(
    *,
    actor: User | None,
    action: str,
    targets: Iterable[models.Model],
    reason: str = "",
    details: Mapping[str, Any] | None = None,
) -> None:
    """Record one action on several rows, in one statement."""
    AuditEvent.objects.bulk_create(
        [AuditEvent(**_columns(actor, action, target, reason, details)) for target in targets], batch_size=1_000
    )


def clean_reason(text: str, *, is_required: bool = True) -> str:
    """Return a reason fit to be kept.

    :raises ReasonRequiredError: when it is longer than 500 characters, or blank though it is required.
    """
    reason = " ".join(text.split())
    if is_required and not reason:
        raise ReasonRequiredError
    if len(reason) > REASON_LENGTH_MAX:
        raise ReasonRequiredError(f"A reason has at most {REASON_LENGTH_MAX} characters, and this one {len(reason)}.")
    return reason


def _columns(
    actor: User | None, action: str, target: models.Model, reason: str, details: Mapping[str, Any] | None
) -> dict[str, Any]:
    return {
        "actor": actor,
        "action": action,
        "target_type": target._meta.label_lower,
        "target_id": str(target.pk),
        "reason": reason,
        "details": dict(details or {}),
    }
