"""The groups come ready, once, and what operators change of them stays."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.models import Group, Permission
from django.db import connections

from accounts.models import AuditEvent
from accounts.services import setup
from accounts.services.setup import APPROVING, DESK_PERMISSIONS, GROUPS, set_up_groups
from tests.desk import make_user

pytestmark = pytest.mark.django_db


def permissions_of(group: str) -> set[str]:
    rows = Permission.objects.filter(group__name=group).values_list("content_type__app_label", "codename")
    return {f"{app}.{codename}" for app, codename in rows}


def permission(label: str) -> Permission:
    app, codename = label.split(".")
    return Permission.objects.get(content_type__app_label=app, codename=codename)


def test_each_group_has_what_is_written() -> None:
    set_up_groups()
    for name, permissions in GROUPS.items():
        assert permissions_of(name) == set(permissions), name


def test_viewers_only_look_and_schedulers_only_schedule() -> None:
    set_up_groups()
    assert all(".view_" in label for label in permissions_of("viewers"))
    assert all(label.startswith("django_celery_beat.") for label in permissions_of("schedulers"))
    assert permissions_of("operators") == permissions_of("viewers") | set(DESK_PERMISSIONS) - set(APPROVING)


def test_whoever_approves_sets_no_policy_and_the_other_way_round() -> None:
    set_up_groups()
    assert permissions_of("approvers") == permissions_of("viewers") | {"transactions.approve_transaction"}
    assert "transactions.set_accountpolicy" in permissions_of("operators")
    assert "transactions.approve_transaction" not in permissions_of("operators")


def test_our_own_permissions_work_like_any_other() -> None:
    set_up_groups()
    user = make_user()
    user.groups.add(Group.objects.get(name="operators"))
    user.groups.add(Group.objects.get(name="approvers"))
    assert all(user.has_perm(label) for label in DESK_PERMISSIONS)
    assert not user.has_perm("accounts.add_apitoken")


def test_a_second_set_up_changes_nothing() -> None:
    set_up_groups()
    events = AuditEvent.objects.count()
    assert set_up_groups() == []
    assert AuditEvent.objects.count() == events


def test_what_operators_took_away_or_gave_stays() -> None:
    set_up_groups()
    group = Group.objects.get(name="operators")
    group.permissions.remove(permission("accounts.adjust_account"))
    group.permissions.add(permission("accounts.add_apitoken"))
    assert set_up_groups() == []
    expected = set(GROUPS["operators"]) - {"accounts.adjust_account"} | {"accounts.add_apitoken"}
    assert permissions_of("operators") == expected


def test_a_later_release_adds_its_permission_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    set_up_groups()
    Group.objects.get(name="viewers").permissions.remove(permission("accounts.view_entry"))
    monkeypatch.setitem(setup.GROUPS, "viewers", (*GROUPS["viewers"], "transactions.view_block"))
    (granted,) = set_up_groups()
    assert (granted.group, granted.permissions) == ("viewers", ("transactions.view_block",))
    assert "transactions.view_block" in permissions_of("viewers")
    assert "accounts.view_entry" not in permissions_of("viewers")


def test_a_deleted_group_is_made_anew_with_everything() -> None:
    set_up_groups()
    Group.objects.get(name="schedulers").delete()
    (granted,) = set_up_groups()
    assert granted.group == "schedulers"
    assert permissions_of("schedulers") == set(GROUPS["schedulers"])


@pytest.mark.django_db(transaction=True)
def test_set_ups_at_once_are_one() -> None:
    def run(_: int) -> int:
        try:
            return len(set_up_groups())
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as threads:
        granted = list(threads.map(run, range(6)))
    assert sorted(granted) == [0, 0, 0, 0, 0, len(GROUPS)]
    assert AuditEvent.objects.filter(action="group.permissions_granted").count() == len(GROUPS)
    for name, permissions in GROUPS.items():
        assert permissions_of(name) == set(permissions)
