"""Alerts: what is wrong now first; staff acknowledge, and only what finds it right again resolves."""

import re
from typing import Any

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.text import Truncator

from accounts.admin import cells
from accounts.admin.base import ReadOnlyAdmin, as_number, staff_user
from accounts.models import Alert, AlertKind
from accounts.services.alerts import acknowledge_alert
from transactions.models import Deposit, ReservesReport, Transaction, Wallet
from transactions.services.watch import NO_WALLET

AT_ONCE_MAX = 100
SHORT_LENGTH = 160
"""How much of a message a list shows; its page shows all of it."""


def _place(alert: Alert) -> tuple[str, str] | None:
    """Return where staff see what an alert is about: what its subject names, or else what all of its kind concern."""
    subject = alert.subject
    if subject.endswith(NO_WALLET):
        return None
    if named := re.search(r"\b0x[0-9a-f]{64}\b", subject):
        return "The deposit", cells.list_url(Deposit, q=named[0])
    if subject.startswith("deposits"):
        return "Deposits", cells.list_url(Deposit)
    if named := re.search(r"#(\d+)", subject):
        return f"Payment #{named[1]}", reverse("admin:transactions_transaction_change", args=[named[1]])
    if named := re.search(r"\b0x[0-9a-fA-F]{40}\b", subject):
        return "The wallet", cells.list_url(Wallet, q=named[0])
    match AlertKind(alert.kind):
        case AlertKind.BOOKS_DIFFER:
            return _newest_report()
        case AlertKind.PAYMENT_STUCK:
            return "Payments under way", cells.list_url(Transaction, status__exact="PENDING")
        case AlertKind.QUEUE_FULL:
            return "Payments that wait", cells.list_url(Transaction, stage__exact="ACCEPTED")
        case AlertKind.INTAKE_LATE:
            return "Deposits", cells.list_url(Deposit)
    return None


def _newest_report() -> tuple[str, str]:
    newest = ReservesReport.objects.order_by("-pk").values_list("pk", flat=True).first()
    if newest is None:
        return "Reserves reports", cells.list_url(ReservesReport)
    return f"Newest reserves report (#{newest})", reverse("admin:transactions_reservesreport_change", args=[newest])


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("open", "Open"), ("unacknowledged", "Open, not acknowledged"), ("resolved", "Resolved")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Alert]) -> QuerySet[Alert]:
        match self.value():
            case "open":
                return queryset.filter(resolved_at=None)
            case "unacknowledged":
                return queryset.filter(resolved_at=None, acknowledged_at=None)
            case "resolved":
                return queryset.exclude(resolved_at=None)
        return queryset


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    list_display = (
        "id", "kind", "subject", "short_message", "state", "opened", "last_seen", "times_seen", "acknowledged_by",
    )  # fmt: skip
    list_display_links = ("id", "kind")
    list_filter = ("kind", StateFilter, "opened_at")
    list_select_related = ("acknowledged_by",)
    search_fields = ("subject",)
    search_help_text = "What it is about: an address, a payment's number; or the alert's own number."
    ordering = ("-resolved_at", "-id")
    actions = ("acknowledge",)
    fields = (
        "kind",
        "subject",
        "message",
        "place",
        "state",
        "opened_at",
        "last_seen_at",
        "times_seen",
        "mailed_at",
        "acknowledged_at",
        "acknowledged_by",
        "resolved_at",
    )
    readonly_fields = fields

    def find(self, term: str) -> Q:
        number = as_number(term)
        about = Q(subject__icontains=term)
        return about | Q(pk=number) if number is not None else about

    # Looked up by Django by this name.
    def has_acknowledge_permission(self, request: HttpRequest) -> bool:
        return staff_user(request).has_perm("accounts.acknowledge_alert")

    @admin.action(description="Acknowledge", permissions=["acknowledge"])
    def acknowledge(self, request: HttpRequest, queryset: QuerySet[Alert]) -> None:
        ids = list(queryset.order_by("pk").values_list("pk", flat=True)[: AT_ONCE_MAX + 1])
        if len(ids) > AT_ONCE_MAX:
            self.message_user(request, f"Choose at most {AT_ONCE_MAX} alerts at once.", messages.ERROR)
            return
        actor, now = staff_user(request), timezone.now()
        count = sum(acknowledge_alert(actor=actor, alert_id=alert_id, now=now) for alert_id in ids)
        self.message_user(request, f"Acknowledged: {count} of {len(ids)} chosen.", messages.SUCCESS)

    @admin.display(description="message")
    def short_message(self, alert: Alert) -> str:
        return Truncator(alert.message).chars(SHORT_LENGTH)

    @admin.display(description="see also")
    def place(self, alert: Alert) -> Any:
        place = _place(alert)
        return cells.EMPTY if place is None else cells.links(place)

    @admin.display(description="state")
    def state(self, alert: Alert) -> Any:
        if not alert.is_open:
            return cells.pill("resolved", "good")
        return cells.pill("acknowledged", "plain") if alert.is_acknowledged else cells.pill("open", "bad")

    @admin.display(description="opened", ordering="opened_at")
    def opened(self, alert: Alert) -> Any:
        return cells.age(alert.opened_at)

    @admin.display(description="last seen", ordering="last_seen_at")
    def last_seen(self, alert: Alert) -> Any:
        return cells.age(alert.last_seen_at)
