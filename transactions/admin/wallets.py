"""Hot wallets: what they have and what is in flight; paused, drained, resumed by pages that ask why."""

from typing import Any

from django.contrib import admin
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.html import format_html, format_html_join

from accounts.admin import cells
from accounts.admin.base import ReadOnlyAdmin, staff_user
from accounts.models import Account, AuditEvent
from transactions.admin.wallet_pages import STEPS, change_state, identify
from transactions.models import ReservesReport, Transaction, Wallet
from transactions.queries import last_report_of
from transactions.states import Stage


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("paying", "Paying"), ("paused", "Paused"), ("draining", "Draining"), ("retired", "Retired")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Wallet]) -> QuerySet[Wallet]:
        match self.value():
            case "paying":
                return queryset.filter(paused_at__isnull=True, draining_at__isnull=True)
            case "paused":
                return queryset.filter(paused_at__isnull=False, retired_at__isnull=True)
            case "draining":
                return queryset.filter(draining_at__isnull=False, retired_at__isnull=True)
            case "retired":
                return queryset.filter(retired_at__isnull=False)
        return queryset


@admin.register(Wallet)
class WalletAdmin(ReadOnlyAdmin):
    list_display = ("address", "state", "balance", "next_nonce", "in_flight", "created_at")
    list_filter = (StateFilter,)
    change_form_template = "admin/transactions/wallet/change_form.html"
    list_select_related = ("account", "replaced_by")
    search_fields = ("address",)
    search_help_text = "An address."
    ordering = ("id",)
    fields = (
        "address",
        "account_link",
        "balance",
        "next_nonce",
        "in_flight",
        "state",
        "paused_at",
        "paused_reason",
        "draining_at",
        "replacement",
        "replaces",
        "retired_at",
        "unknown_since",
        "progress_block",
        "last_proved",
        "created_at",
        "pages",
    )
    readonly_fields = fields

    def find(self, term: str) -> Q:
        return Q(address__iexact=term)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Wallet]:
        in_flight = (
            Transaction.objects.filter(wallet=OuterRef("pk"), stage__in=[Stage.SIGNED, Stage.BROADCAST])
            .order_by()
            .values("wallet")
            .annotate(rows=Count("pk"))
            .values("rows")
        )
        rows: QuerySet[Wallet] = super().get_queryset(request)
        return rows.annotate(in_flight_count=Coalesce(Subquery(in_flight), 0))

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return staff_user(request).has_perm("transactions.operate_wallet")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("<int:wallet_id>/identify/", view(self.identify_page), name="transactions_wallet_identify"),
            *(
                path(f"<int:wallet_id>/{step}/", view(self.step_page), {"step": step}, f"transactions_wallet_{step}")
                for step in STEPS
            ),
            *super().get_urls(),
        ]

    def step_page(self, request: HttpRequest, wallet_id: int, step: str) -> HttpResponse:
        return change_state(self, request, wallet_id, step)

    def identify_page(self, request: HttpRequest, wallet_id: int) -> HttpResponse:
        return identify(self, request, wallet_id)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        allowed = {"may_operate": self.has_operate_permission(request)}
        return super().changeform_view(request, object_id, form_url, {**allowed, **(extra_context or {})})

    @admin.display(description="state", ordering="paused_at")
    def state(self, wallet: Wallet) -> Any:
        if wallet.retired_at is not None:
            return cells.pill("retired", "plain")
        if wallet.paused_at is not None:
            return cells.pill("paused", "bad")
        if wallet.unknown_since is not None:
            return cells.pill("being checked", "plain")
        return cells.pill("draining", "plain") if wallet.draining_at is not None else cells.pill("paying", "good")

    @admin.display(description="last proved")
    def last_proved(self, wallet: Wallet) -> Any:
        report = last_report_of(wallet)
        if report is None:
            return cells.EMPTY
        link = cells.link_to(ReservesReport, report.pk, f"at block {report.block_number}")
        pill = cells.pill("differs", "bad") if report.is_about(wallet.address) else cells.pill("adds up", "good")
        return format_html("{} {}", pill, link)

    @admin.display(description="replaced by")
    def replacement(self, wallet: Wallet) -> Any:
        return cells.link_to(Wallet, wallet.replaced_by_id, wallet.replaced_by)

    @admin.display(description="replaces")
    def replaces(self, wallet: Wallet) -> Any:
        replaced = wallet.replaced.order_by("id")
        return format_html_join(", ", "{}", ((cells.link_to(Wallet, one.pk, one),) for one in replaced)) or cells.EMPTY

    @admin.display(description="see also")
    def pages(self, wallet: Wallet) -> Any:
        return cells.links(
            ("Its payments", cells.list_url(Transaction, q=wallet.address)),
            ("Audit trail", cells.list_url(AuditEvent, target_type="transactions.wallet", target_id=wallet.pk)),
        )

    @admin.display(description="ledger account")
    def account_link(self, wallet: Wallet) -> Any:
        return cells.link_to(Account, wallet.account_id, wallet.account)

    @admin.display(description="balance by the ledger")
    def balance(self, wallet: Wallet) -> Any:
        # An asset stands below zero in the ledger: what the desk has, not what it owes.
        return cells.amount(-wallet.account.current_balance_in_wei)

    @admin.display(description="in flight")
    def in_flight(self, wallet: Any) -> int:
        count: int = wallet.in_flight_count
        return count
