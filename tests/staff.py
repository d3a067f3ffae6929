"""Staff of a desk for the tests: one of each group, signed in at the admin."""

from dataclasses import dataclass

from django.contrib.auth.models import Group
from django.test import Client

from accounts.models import Account, AuditEvent, User
from accounts.services.setup import set_up_groups

PASSWORD = "correct horse battery staple"


@dataclass(frozen=True)
class Staff:
    """A signed-in member of staff."""

    user: User
    client: Client


def make_staff(group: str | None = None, *, is_superuser: bool = False, is_staff: bool = True) -> Staff:
    """Return a signed-in user: of a group (`viewers`, `operators`, `schedulers`), a superuser, or a plain one."""
    set_up_groups()
    name = group or ("superuser" if is_superuser else "staff" if is_staff else "plain")
    user, is_new = User.objects.get_or_create(
        username=name, defaults={"is_staff": is_staff, "is_superuser": is_superuser, "email": f"{name}@desk.test"}
    )
    if is_new:
        user.set_password(PASSWORD)
        user.save()
        if group is not None:
            user.groups.add(Group.objects.get(name=group))
    client = Client()
    client.force_login(user)
    return Staff(user, client)


def events(action: str) -> list[AuditEvent]:
    """Return the audit events of an action, oldest first."""
    return list(AuditEvent.objects.filter(action=action).order_by("at"))


def balances(account: Account) -> tuple[int, int]:
    """Return an account's current and available balance as they are now, in wei."""
    account.refresh_from_db()
    return account.current_balance_in_wei, account.available_balance_in_wei
