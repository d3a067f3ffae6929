"""Users, groups and tokens in the admin: recorded, and no way up for those who aren't superusers."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.contrib.messages import get_messages
from django.urls import reverse

from accounts.models import ApiToken, AuditEvent, User
from accounts.services.tokens import authenticate, create_token
from tests.desk import make_user
from tests.staff import PASSWORD, Staff, events, make_staff

pytestmark = pytest.mark.django_db
NEW_PASSWORD = "another horse, another battery"


@pytest.fixture
def superuser(db: None) -> Staff:
    return make_staff(is_superuser=True)


@pytest.fixture
def manager(db: None) -> Staff:
    """Staff who may change users and groups without being a superuser."""
    staff = make_staff()
    wanted = [f"{verb}_{model}" for verb in ("view", "add", "change", "delete") for model in ("user", "group")]
    staff.user.user_permissions.set(Permission.objects.filter(codename__in=wanted))
    return staff


def fields_of(user: User, **changes: Any) -> dict[str, Any]:
    """Return what the form of a user posts."""
    return {
        "username": user.username,
        "first_name": user.first_name,
        "last_name": user.last_name,
        "email": user.email,
        **{name: "on" for name in ("is_active", "is_staff", "is_superuser") if getattr(user, name)},
        "groups": list(user.groups.values_list("pk", flat=True)),
        **changes,
    }


def save(staff: Staff, user: User, **changes: Any) -> Any:
    fields = {name: value for name, value in fields_of(user, **changes).items() if value is not None}
    return staff.client.post(reverse("admin:accounts_user_change", args=[user.pk]), fields)


def set_password(staff: Staff, user: User) -> Any:
    fields = {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD, "usable_password": "true"}
    return staff.client.post(reverse("admin:auth_user_password_change", args=[user.pk]), fields)


def trail() -> str:
    """Return the whole audit trail as text."""
    return json.dumps(list(AuditEvent.objects.values("action", "reason", "details", "target_id")))


def test_a_change_is_recorded_with_old_and_new(superuser: Staff) -> None:
    user, group = make_user("bob"), Group.objects.get(name="viewers")
    assert save(superuser, user, email="bob@desk.test", is_staff="on", groups=[group.pk]).status_code == 302
    (event,) = events("user.changed")
    assert (event.actor, event.target_type, event.target_id) == (superuser.user, "accounts.user", str(user.pk))
    assert event.details == {"email": ["", "bob@desk.test"], "is_staff": [False, True], "groups": [[], ["viewers"]]}


def test_saving_without_a_change_records_nothing(superuser: Staff) -> None:
    save(superuser, make_user("bob"))
    assert events("user.changed") == []


def test_a_new_user_is_recorded_without_their_password(superuser: Staff) -> None:
    fields = {"username": "bob", "usable_password": "true", "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    superuser.client.post(reverse("admin:accounts_user_add"), fields)
    assert User.objects.get(username="bob").check_password(NEW_PASSWORD)
    (event,) = events("user.added")
    assert event.details["username"] == [None, "bob"]
    assert NEW_PASSWORD not in trail()


def test_deactivation_ends_tokens_at_once(superuser: Staff) -> None:
    user = make_user("bob")
    text = create_token(user=user, name="till").text
    assert authenticate(text) is not None, "it is in the cache now"
    answer = save(superuser, user, is_active=None)
    assert authenticate(text) is None
    assert "1 API token of theirs ended with it." in str(list(get_messages(answer.wsgi_request))[0])
    (revoked,) = events("token.revoked")
    assert (revoked.actor, revoked.reason) == (superuser.user, "The user was deactivated.")
    user.refresh_from_db()
    save(superuser, user, is_active="on")
    assert authenticate(text) is None, "it stays revoked"


def test_other_changes_leave_tokens_alone(superuser: Staff) -> None:
    user = make_user("bob")
    text = create_token(user=user, name="till").text
    save(superuser, user, email="bob@desk.test")
    assert authenticate(text) is not None


def test_a_password_set_by_staff_ends_tokens_and_is_not_recorded_itself(superuser: Staff) -> None:
    user, other = make_user("bob"), make_user("carol")
    texts = [create_token(user=user, name=name).text for name in ("till", "shop")]
    others = create_token(user=other, name="till").text
    assert all(authenticate(text) for text in (*texts, others))
    assert set_password(superuser, user).status_code == 302
    user.refresh_from_db()
    assert user.check_password(NEW_PASSWORD)
    assert [authenticate(text) for text in texts] == [None, None]
    assert authenticate(others) is not None
    (event,) = events("user.changed")
    assert event.details == {"password": "changed"}
    assert len(events("token.revoked")) == 2
    assert NEW_PASSWORD not in trail()
    assert user.password not in trail()


def test_a_password_that_is_refused_ends_no_tokens(superuser: Staff) -> None:
    user = make_user("bob")
    text = create_token(user=user, name="till").text
    fields = {"password1": "short", "password2": "short", "usable_password": "true"}
    superuser.client.post(reverse("admin:auth_user_password_change", args=[user.pk]), fields)
    assert authenticate(text) is not None
    assert events("user.changed") == []


def test_ones_own_new_password_ends_ones_tokens(superuser: Staff) -> None:
    text = create_token(user=superuser.user, name="till").text
    fields = {"old_password": PASSWORD, "new_password1": NEW_PASSWORD, "new_password2": NEW_PASSWORD}
    answer = superuser.client.post(reverse("admin:password_change"), fields)
    assert answer["Location"] == reverse("admin:password_change_done")
    assert authenticate(text) is None
    (event,) = events("user.changed")
    assert (event.actor, event.details) == (superuser.user, {"password": "changed"})
    assert superuser.client.get(reverse("admin:index")).status_code == 200, "still signed in"


@pytest.mark.parametrize("power", ["is_superuser", "is_staff", "groups", "user_permissions"])
def test_nobody_gives_away_powers_but_superusers(manager: Staff, power: str) -> None:
    user = make_user("bob")
    group, permission = Group.objects.get(name="operators"), Permission.objects.order_by("pk")[0]
    value: Any = {"groups": [group.pk], "user_permissions": [permission.pk]}.get(power, "on")
    assert save(manager, user, email="bob@desk.test", **{power: value}).status_code == 302
    user.refresh_from_db()
    assert user.email == "bob@desk.test", "what the manager may change is changed"
    assert (user.is_superuser, user.is_staff, user.groups.count(), user.user_permissions.count()) == (
        False,
        False,
        0,
        0,
    )


def test_staff_and_superusers_are_changed_by_superusers_only(manager: Staff, superuser: Staff) -> None:
    for user in (superuser.user, make_staff("operators").user, manager.user):
        before = User.objects.filter(pk=user.pk).values().get()
        assert save(manager, user, email="mine@evil.test").status_code == 403
        assert set_password(manager, user).status_code == 403
        assert User.objects.filter(pk=user.pk).values().get() == before


def test_groups_are_changed_by_superusers_only(manager: Staff, superuser: Staff) -> None:
    group = Group.objects.get(name="viewers")
    page = reverse("admin:auth_group_change", args=[group.pk])
    everything = {"name": "viewers", "permissions": list(Permission.objects.values_list("pk", flat=True))}
    assert manager.client.post(page, everything).status_code == 403
    assert manager.client.post(reverse("admin:auth_group_add"), everything).status_code == 403
    fewer = Permission.objects.get(codename="view_account")
    assert superuser.client.post(page, {"name": "viewers", "permissions": [fewer.pk]}).status_code == 302
    (event,) = events("group.changed")
    assert event.actor == superuser.user
    old, new = event.details["permissions"]
    assert (len(old), new) == (len(old), [str(fewer)])
    assert len(old) > 10


def test_a_deleted_group_is_recorded(superuser: Staff) -> None:
    group = Group.objects.create(name="auditors")
    superuser.client.post(reverse("admin:auth_group_delete", args=[group.pk]), {"post": "yes"})
    (event,) = events("group.deleted")
    assert (event.target_id, event.details) == (str(group.pk), {"was": "auditors"})


def test_users_are_never_deleted(superuser: Staff) -> None:
    user = make_user("bob")
    page = reverse("admin:accounts_user_delete", args=[user.pk])
    assert superuser.client.post(page, {"post": "yes"}).status_code == 403
    assert User.objects.filter(pk=user.pk).exists()


def test_viewers_see_nothing_of_a_password(superuser: Staff) -> None:
    page = reverse("admin:accounts_user_change", args=[superuser.user.pk])
    assert "pbkdf2" in superuser.client.get(page).content.decode()
    seen = make_staff("viewers").client.get(page).content.decode()
    assert "pbkdf2" not in seen
    assert superuser.user.password[:30] not in seen


# --- Tokens -----------------------------------------------------------------------------------------------------------
def test_a_token_is_shown_once_and_kept_nowhere(superuser: Staff) -> None:
    user = make_user("bob")
    answer = superuser.client.post(reverse("admin:accounts_apitoken_add"), {"user": user.pk, "name": "till"})
    page = answer.content.decode()
    token = ApiToken.objects.get()
    text = page.split('<code class="desk-secret">')[1].split("</code>")[0]
    owner = authenticate(text)
    assert owner is not None
    assert owner.user_id == user.pk
    assert "no-store" in answer["Cache-Control"]
    assert not any(text in str(cookie) for cookie in superuser.client.cookies.values())
    assert text not in trail()
    (event,) = events("token.created")
    assert (event.actor, event.target_id) == (superuser.user, str(token.pk))
    again = superuser.client.get(reverse("admin:accounts_apitoken_change", args=[token.pk])).content.decode()
    assert text not in again
    assert token.token_hash not in again


def test_operators_revoke_tokens_with_a_reason(superuser: Staff) -> None:
    operator = make_staff("operators")
    new = create_token(user=make_user("bob"), name="till")
    assert authenticate(new.text) is not None
    fields = {"action": "revoke", "_selected_action": [new.row.pk], "index": 0}
    page = operator.client.post(reverse("admin:accounts_apitoken_changelist"), fields)["Location"]
    assert page == f"{reverse('admin:accounts_apitoken_revoke')}?id={new.row.pk}"
    assert operator.client.get(page).status_code == 200
    operator.client.post(page, {"reason": ""})
    assert authenticate(new.text) is not None
    operator.client.post(page, {"reason": "Lost laptop"})
    assert authenticate(new.text) is None
    (event,) = events("token.revoked")
    assert (event.actor, event.reason) == (operator.user, "Lost laptop")
    assert operator.client.get(page)["Location"] == reverse("admin:accounts_apitoken_changelist")


def test_operators_make_no_tokens_for_others() -> None:
    operator, user = make_staff("operators"), make_user("bob")
    answer = operator.client.post(reverse("admin:accounts_apitoken_add"), {"user": user.pk, "name": "mine"})
    assert answer.status_code == 403
    assert not ApiToken.objects.exists()


def test_no_token_for_somebody_deactivated(superuser: Staff) -> None:
    user = make_user("bob")
    User.objects.filter(pk=user.pk).update(is_active=False)
    superuser.client.post(reverse("admin:accounts_apitoken_add"), {"user": user.pk, "name": "till"})
    assert not ApiToken.objects.exists()
