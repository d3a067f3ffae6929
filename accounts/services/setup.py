"""The groups that come ready, and the permissions of ours that are no model's add, change, delete or view.

A permission is given to a group once and remembered in the audit trail: one that an operator takes away again stays
away, one that a later release brings is added, and what operators gave themselves is left alone. A group that was
deleted or renamed is made anew, without members.
"""

from dataclasses import dataclass

from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db import transaction as db_transaction

from accounts.ledger import SYSTEM_ACCOUNT_NAMES, system_account
from accounts.locks import lock_until_commit
from accounts.models import AuditEvent
from accounts.services.audit import record_audit

GRANTED = "group.permissions_granted"

DESK_PERMISSIONS = {
    "accounts.freeze_account": "Can freeze and unfreeze accounts",
    "accounts.adjust_account": "Can credit and debit accounts",
    "accounts.revoke_apitoken": "Can revoke API tokens",
    "accounts.check_ledger": "Can have the ledger checked",
    "accounts.acknowledge_alert": "Can acknowledge alerts",
    "transactions.reconcile_transaction": "Can have payments reconciled",
    "transactions.cancel_transaction": "Can cancel anybody's payments",
    "transactions.operate_wallet": "Can pause, drain, resume and sweep wallets",
    "transactions.set_accountpolicy": "Can set policies and allow-lists of accounts",
    "transactions.approve_transaction": "Can approve and refuse payments",
}
"""Our own permissions by `app.codename`; the codename ends in the model they are listed under."""

APPROVING = ("transactions.approve_transaction",)
"""What operators don't have: whoever sets policies and credits accounts should not be who lets payments pass."""

_MODEL_OF = {"check_ledger": "journal"}

VIEWED = (
    "accounts.user",
    "accounts.account",
    "accounts.journal",
    "accounts.entry",
    "accounts.hold",
    "accounts.apitoken",
    "accounts.auditevent",
    "accounts.alert",
    "transactions.wallet",
    "transactions.transaction",
    "transactions.attempt",
    "transactions.deposit",
    "transactions.approval",
    "transactions.accountpolicy",
    "transactions.allowedrecipient",
    "transactions.reservesreport",
    "tasks.taskrun",
    "django_celery_beat.periodictask",
    "django_celery_beat.crontabschedule",
    "django_celery_beat.intervalschedule",
    "django_celery_beat.clockedschedule",
)
AUDITED = (
    "accounts.user",
    "accounts.account",
    "accounts.apitoken",
    "accounts.alert",
    "auth.group",
    "transactions.transaction",
    "transactions.wallet",
    "tasks.taskrun",
    "django_celery_beat.periodictask",
    "django_celery_beat.crontabschedule",
    "django_celery_beat.intervalschedule",
    "django_celery_beat.clockedschedule",
)
"""What the audit trail tells of, by `app.model`."""
SCHEDULED = tuple(model for model in VIEWED if model.startswith("django_celery_beat."))


def _of(verb: str, models: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(model.replace(".", f".{verb}_") for model in models)


GROUPS = {
    "viewers": _of("view", VIEWED),
    "operators": (*_of("view", VIEWED), *(name for name in DESK_PERMISSIONS if name not in APPROVING)),
    "approvers": (*_of("view", VIEWED), *APPROVING),
    "schedulers": tuple(
        permission for verb in ("view", "add", "change", "delete") for permission in _of(verb, SCHEDULED)
    ),
}


@dataclass(frozen=True, slots=True)
class Granted:
    """What a set-up gave to a group."""

    group: str
    permissions: tuple[str, ...]


@db_transaction.atomic
def set_up_groups() -> list[Granted]:
    """Create the groups that are absent and give each what it was never given before; return what was new.

    Run it as often as you like, after each migration at least.
    """
    lock_until_commit("groups")
    _create_permissions()
    new = []
    for name, permissions in GROUPS.items():
        group, _ = Group.objects.get_or_create(name=name)
        given = _given_before(group)
        missing = tuple(permission for permission in permissions if permission not in given)
        if missing:
            group.permissions.add(*(_permission(permission) for permission in missing))
            record_audit(actor=None, action=GRANTED, target=group, details={"permissions": list(missing)})
            new.append(Granted(name, missing))
    return new


def create_system_accounts() -> None:
    """Create the desk's own accounts that are absent."""
    for kind in SYSTEM_ACCOUNT_NAMES:
        system_account(kind)


def _create_permissions() -> None:
    for label, name in DESK_PERMISSIONS.items():
        app, codename = label.split(".")
        model = _MODEL_OF.get(codename, codename.rpartition("_")[2])
        content_type = ContentType.objects.get_by_natural_key(app, model)
        Permission.objects.get_or_create(content_type=content_type, codename=codename, defaults={"name": name})


def _given_before(group: Group) -> set[str]:
    events = AuditEvent.objects.filter(
        action=GRANTED, target_type=group._meta.label_lower, target_id=str(group.pk)
    ).values_list("details", flat=True)
    return {permission for details in events for permission in details.get("permissions", ())}


def _permission(label: str) -> Permission:
    app, codename = label.split(".")
    return Permission.objects.get(content_type__app_label=app, codename=codename)
