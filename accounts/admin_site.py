"""The admin as the desk's operations site: its name, and what a changed password means here too."""

from typing import Any, cast

from django.conf import settings
from django.contrib.admin import AdminSite
from django.contrib.admin.forms import AdminPasswordChangeForm
from django.contrib.auth.views import PasswordChangeView
from django.db import transaction as db_transaction
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import reverse

from accounts.models import User
from accounts.queries import unacknowledged_alerts_count
from accounts.services.audit import record_audit
from accounts.services.users import cut_tokens


class DeskPasswordChangeForm(AdminPasswordChangeForm):
    """A member of staff changes their own password; what spoke for them with the old one falls silent."""

    @db_transaction.atomic
    def save(self, commit: bool = True) -> User:
        user: User = super().save(commit)
        record_audit(actor=user, action="user.changed", target=user, details={"password": "changed"})
        cut_tokens(actor=user, user=user, reason="The user changed their password.")
        return user


class DeskAdminSite(AdminSite):
    site_header = "txnsite"
    site_title = "txnsite"
    index_title = "Operations"
    empty_value_display = "–"
    # The tables need the width; the way back is in the breadcrumbs.
    enable_nav_sidebar = False

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        return {**super().each_context(request), "flower_url": getattr(settings, "FLOWER_URL", "")}

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """Show what staff can do here, and above it that something is wrong."""
        may_see = isinstance(request.user, User) and request.user.has_perm("accounts.view_alert")
        alerts = {"alerts_count": unacknowledged_alerts_count() if may_see else 0}
        return super().index(request, {**alerts, **(extra_context or {})})

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """Let staff change their own password, with our form."""
        view = PasswordChangeView.as_view(
            form_class=DeskPasswordChangeForm,
            success_url=reverse("admin:password_change_done", current_app=self.name),
            extra_context={**self.each_context(request), **(extra_context or {})},
            template_name="registration/password_change_form.html",
        )
        request.current_app = self.name
        return cast(TemplateResponse, view(request))
