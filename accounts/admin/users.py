"""Users and groups. Whoever isn't a superuser can't make one, nor give away permissions."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth import admin as auth_admin
from django.contrib.auth.models import Group
from django.db import transaction as db_transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse

from accounts.admin.base import AuditedAdmin, as_number, staff_user
from accounts.models import User
from accounts.services.users import cut_tokens

POWERS = ("is_staff", "is_superuser", "groups", "user_permissions")

# Registered by Django itself, without an audit trail.
admin.site.unregister(Group)


def is_superuser(request: HttpRequest) -> bool:
    return request.user.is_active and request.user.is_superuser


@admin.register(User)
class UserAdmin(AuditedAdmin, auth_admin.UserAdmin[User]):
    """People and programs. They are deactivated, never deleted: the ledger and the audit trail name them."""

    list_display = ("username", "full_name", "email", "is_active", "is_staff", "group_names", "last_login")
    list_filter = ("is_active", "is_staff", "is_superuser", "groups")
    search_fields = ("username", "email")
    search_help_text = "User name, e-mail address or name, or a user's number."
    ordering = ("username",)
    actions = None

    def find(self, term: str) -> Q:
        number = as_number(term)
        named = Q(username__icontains=term) | Q(email__icontains=term)
        named |= Q(first_name__icontains=term) | Q(last_name__icontains=term)
        return named | Q(pk=number) if number is not None else named

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return super().get_queryset(request).prefetch_related("groups")

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        if obj is None or self.has_change_permission(request, obj):
            return fieldsets
        # Whoever only looks has no business with the password, not even with the start of its hash.
        return [
            (heading, {**options, "fields": tuple(name for name in options["fields"] if name != "password")})
            for heading, options in fieldsets
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        fixed = ("last_login", "date_joined")
        return fixed if is_superuser(request) else (*fixed, *POWERS)

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """A superuser, or another member of staff, is changed by superusers only: else their password could be set."""
        if obj is not None and (obj.is_superuser or obj.is_staff) and not is_superuser(request):
            return False
        return super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if change and "is_active" in form.changed_data and not obj.is_active:
            self._cut_tokens(request, obj, "The user was deactivated.")

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        """Let a password be set; with it go the tokens of whoever may have known the old one."""
        with db_transaction.atomic():
            before = User.objects.filter(pk=id).values_list("password", flat=True).first() if id.isdigit() else None
            response = super().user_change_password(request, id, form_url)
            user = User.objects.filter(pk=id).first() if before is not None else None
            if user is not None and user.password != before:
                self.record(request, user, "changed", {"password": "changed"})
                self._cut_tokens(request, user, "The user's password was changed.")
        return response

    def _cut_tokens(self, request: HttpRequest, user: User, why: str) -> None:
        count = cut_tokens(actor=staff_user(request), user=user, reason=why)
        if count:
            messages.warning(request, f"{why} {count} API token{'s' if count > 1 else ''} of theirs ended with it.")

    @admin.display(description="name")
    def full_name(self, user: User) -> str:
        return user.get_full_name()

    @admin.display(description="groups")
    def group_names(self, user: User) -> str:
        return ", ".join(group.name for group in user.groups.all())


@admin.register(Group)
class GroupAdmin(AuditedAdmin, auth_admin.GroupAdmin):
    """Groups and what they may. Only superusers change them: whoever could, could give themselves everything."""

    search_fields = ("name",)
    list_display = ("name",)
    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return is_superuser(request)

    def has_change_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return is_superuser(request)

    def has_delete_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return is_superuser(request)
