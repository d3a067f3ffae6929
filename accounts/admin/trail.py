"""The audit trail: who did what to which row, when and why. Append-only, so read-only."""

import json
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest
from django.urls import NoReverseMatch
from django.utils.html import format_html

from accounts.admin import cells
from accounts.admin.base import ReadOnlyAdmin
from accounts.models import AuditEvent, User
from accounts.services.setup import AUDITED


class TargetFilter(admin.SimpleListFilter):
    """What was done something to; from our own list, since asking the table would read all of it."""

    title = "what"
    parameter_name = "target_type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(label, str(apps.get_model(label)._meta.verbose_name)) for label in AUDITED]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(target_type=self.value()) if self.value() else queryset


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin):
    list_display = ("at", "actor", "action", "target", "reason", "short_details")
    list_filter = (TargetFilter, "at")
    list_select_related = ("actor",)
    search_fields = ("action",)
    search_help_text = "An action like account.frozen, who did it, or the number of what it was done to."
    ordering = ("-at", "-id")
    fields = ("at", "actor", "action", "target", "reason", "all_details")
    readonly_fields = fields

    def find(self, term: str) -> Q:
        actors = User.objects.filter(username=term)
        return Q(action__startswith=term.lower()) | Q(target_id=term.removeprefix("#")) | Q(actor__in=actors)

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        return lookup in ("target_type", "target_id") or super().lookup_allowed(lookup, value, request)  # type: ignore[arg-type]

    @admin.display(description="to")
    def target(self, event: AuditEvent) -> Any:
        """Return a link to the row, as long as its kind is one that the admin shows."""
        try:
            model = apps.get_model(event.target_type)
            return cells.link_to(model, event.target_id, f"{model._meta.verbose_name} {event.target_id}")
        except (LookupError, ValueError, NoReverseMatch):
            return f"{event.target_type} {event.target_id}"

    @admin.display(description="details")
    def short_details(self, event: AuditEvent) -> Any:
        text = json.dumps(event.details, ensure_ascii=False) if event.details else cells.EMPTY
        return text if len(text) <= 120 else f"{text[:119]}…"

    @admin.display(description="details")
    def all_details(self, event: AuditEvent) -> Any:
        return format_html(
            '<pre class="desk-json">{}</pre>', json.dumps(event.details, indent=2, ensure_ascii=False, sort_keys=True)
        )
