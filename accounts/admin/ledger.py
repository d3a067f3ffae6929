"""Journals, entries and holds: read-only, since the ledger is append-only; and the button that checks it."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import OuterRef, Q, QuerySet, Subquery, Sum
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse

from accounts.admin import cells
from accounts.admin.base import ReadOnlyAdmin, as_number, staff_user
from accounts.models import Account, Entry, Hold, HoldStatus, Journal, JournalKind
from accounts.money import WeiField
from tasks.exceptions import TasksError
from tasks.staff import start_ledger_check


class EntryInline(admin.TabularInline[Entry, Journal]):
    """The entries of a journal: few, and zero together."""

    model = Entry
    fields = ("account_link", "amount", "balance_after")
    readonly_fields = fields
    can_delete = False
    extra = 0
    ordering = ("id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Entry]:
        return super().get_queryset(request).select_related("account")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="account")
    def account_link(self, entry: Entry) -> Any:
        return cells.link_to(Account, entry.account_id, entry.account)

    @admin.display(description="amount")
    def amount(self, entry: Entry) -> Any:
        return cells.amount(entry.amount_in_wei)

    @admin.display(description="balance after")
    def balance_after(self, entry: Entry) -> Any:
        return cells.amount(entry.balance_after_in_wei)


@admin.register(Journal)
class JournalAdmin(ReadOnlyAdmin):
    list_display = ("id", "kind", "source", "moved", "description", "created_by", "created_at")
    list_display_links = ("id", "source")
    list_filter = ("kind", "created_at")
    list_select_related = ("created_by",)
    search_fields = ("source",)
    search_help_text = "Journal number, or its source: a payment's number or a request's id."
    ordering = ("-id",)
    fields = ("kind", "source", "description", "created_by", "created_at")
    inlines = (EntryInline,)

    def find(self, term: str) -> Q:
        # With the kinds spelled out the search is served by the unique index on (kind, source).
        by_source = Q(kind__in=JournalKind.values, source=term.removeprefix("#"))
        number = as_number(term)
        return by_source | Q(pk=number) if number is not None else by_source

    def get_queryset(self, request: HttpRequest) -> QuerySet[Journal]:
        moved = (
            Entry.objects.filter(journal=OuterRef("pk"), amount_in_wei__gt=0)
            .order_by()
            .values("journal")
            .annotate(moved=Sum("amount_in_wei"))
            .values("moved")
        )
        rows: QuerySet[Journal] = super().get_queryset(request)
        return rows.annotate(moved_in_wei=Subquery(moved, output_field=WeiField()))

    def get_urls(self) -> list[URLPattern]:
        check = path("check/", self.admin_site.admin_view(self.check_page), name="accounts_journal_check")
        return [check, *super().get_urls()]

    def check_page(self, request: HttpRequest) -> HttpResponse:
        """Have the ledger checked, and lead to its progress."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not staff_user(request).has_perm("accounts.check_ledger"):
            raise PermissionDenied
        try:
            run = start_ledger_check(actor=staff_user(request))
        except TasksError as error:
            self.message_user(request, str(error), messages.ERROR)
            return HttpResponseRedirect(reverse("admin:accounts_journal_changelist"))
        return HttpResponseRedirect(reverse("task-detail", args=[run.pk]))

    @admin.display(description="moved")
    def moved(self, journal: Any) -> Any:
        return cells.amount(journal.moved_in_wei)


@admin.register(Entry)
class EntryAdmin(ReadOnlyAdmin):
    list_display = ("id", "journal_link", "account_link", "amount", "balance_after", "at")
    list_filter = ("journal__kind",)
    list_select_related = ("journal", "account")
    search_fields = ("account",)
    search_help_text = "An account's number."
    ordering = ("-id",)
    fields = ("journal_link", "account_link", "amount", "balance_after", "at")
    readonly_fields = fields

    def find(self, term: str) -> Q:
        number = as_number(term)
        return Q(pk__in=()) if number is None else Q(account_id=number)

    @admin.display(description="journal")
    def journal_link(self, entry: Entry) -> Any:
        return cells.link_to(Journal, entry.journal_id, f"#{entry.journal_id} {entry.journal}")

    @admin.display(description="account")
    def account_link(self, entry: Entry) -> Any:
        return cells.link_to(Account, entry.account_id, entry.account)

    @admin.display(description="amount")
    def amount(self, entry: Entry) -> Any:
        return cells.amount(entry.amount_in_wei)

    @admin.display(description="balance after")
    def balance_after(self, entry: Entry) -> Any:
        return cells.amount(entry.balance_after_in_wei)

    @admin.display(description="posted")
    def at(self, entry: Entry) -> Any:
        return entry.journal.created_at


@admin.register(Hold)
class HoldAdmin(ReadOnlyAdmin):
    list_display = ("id", "account_link", "amount", "status", "kind", "source", "created_at", "resolved_at")
    list_filter = ("status", "kind")
    list_select_related = ("account",)
    search_fields = ("source",)
    search_help_text = "A payment's number, or an account's: of that, what is still held."
    ordering = ("-id",)
    fields = ("account_link", "amount", "status", "kind", "source", "created_at", "resolved_at")
    readonly_fields = fields

    def find(self, term: str) -> Q:
        number = as_number(term)
        by_source = Q(kind="payment", source=term.removeprefix("#"))
        return by_source if number is None else by_source | Q(account_id=number, status=HoldStatus.HELD)

    @admin.display(description="account")
    def account_link(self, hold: Hold) -> Any:
        return cells.link_to(Account, hold.account_id, hold.account)

    @admin.display(description="amount", ordering="amount_in_wei")
    def amount(self, hold: Hold) -> Any:
        return cells.amount(hold.amount_in_wei)
