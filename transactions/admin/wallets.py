"""Wallets: what they have and what is in flight; paused, drained, resumed and swept by pages that ask why."""

from collections.abc import Iterator
from typing import Any

from django.contrib import admin, messages
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode

from accounts.admin import cells
from accounts.admin.base import ReadOnlyAdmin, as_number, staff_user
from accounts.models import Account, AuditEvent, User
from transactions.addresses import parse_address
from transactions.admin import found_pages
from transactions.admin.wallet_pages import STEPS, SWEPT_AT_ONCE_MAX, change_state, identify, pass_over, sweep
from transactions.exceptions import BadAddressError
from transactions.models import Deposit, ReservesReport, Transaction, Wallet
from transactions.queries import last_proof_of, last_report_of
from transactions.states import Stage, WalletRole


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


class RoleFilter(admin.SimpleListFilter):
    """Hot wallets, unless others are asked for: there are few of them, and of deposit addresses very many."""

    title = "role"
    parameter_name = "role"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("deposit", "Deposit addresses"), ("all", "All")]

    def choices(self, changelist: Any) -> Iterator[Any]:
        unchosen, *others = super().choices(changelist)
        yield {**unchosen, "display": "Hot wallets"}
        yield from others

    def queryset(self, request: HttpRequest, queryset: QuerySet[Wallet]) -> QuerySet[Wallet]:
        match self.value():
            case "all":
                return queryset
            case "deposit":
                return queryset.filter(role=WalletRole.DEPOSIT)
        # Whoever searches means any wallet.
        return queryset if request.GET.get("q") else queryset.filter(role=WalletRole.HOT)


@admin.register(Wallet)
class WalletAdmin(ReadOnlyAdmin):
    list_display = ("address", "state", "ether", "purpose", "next_nonce", "in_flight")
    list_filter = (RoleFilter, StateFilter)
    change_form_template = "admin/transactions/wallet/change_form.html"
    change_list_template = "admin/transactions/wallet/change_list.html"
    list_select_related = ("account", "replaced_by", "credits")
    search_fields = ("address",)
    search_help_text = "An address; of deposit addresses also the account's number or its owner's user name."
    actions = ("sweep",)
    ordering = ("id",)
    fields = (
        "address",
        "purpose",
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
        "opened_at_block",
        "last_proved",
        "created_at",
        "pages",
    )
    readonly_fields = fields

    def find(self, term: str) -> Q:
        """Find by what the term looks like, each so that an index serves it."""
        number = as_number(term)
        if number is not None:
            return Q(credits=number)
        if term.lower().startswith("0x"):
            try:
                # Without its checksum: whoever searches may have it in any case.
                return Q(address=parse_address(term.lower()).address)
            except BadAddressError:
                return Q(pk__in=())
        return Q(credits__in=Account.objects.filter(owner__in=User.objects.filter(username__icontains=term)))

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

    def has_book_permission(self, request: HttpRequest) -> bool:
        """Say whether somebody may book ether that was found, which credits an account, or that is missing."""
        return self.has_operate_permission(request) and staff_user(request).has_perm("accounts.adjust_account")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("sweep/", view(self.sweep_page), name="transactions_wallet_sweep"),
            *(
                path(
                    f"<int:wallet_id>/{sign.name}/",
                    view(self.book_page),
                    {"sign": sign},
                    f"transactions_wallet_{sign.name}",
                )
                for sign in (found_pages.FOUND, found_pages.MISSING)
            ),
            path("<int:wallet_id>/identify/", view(self.identify_page), name="transactions_wallet_identify"),
            path("<int:wallet_id>/pass-over/", view(self.pass_over_page), name="transactions_wallet_pass_over"),
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

    def pass_over_page(self, request: HttpRequest, wallet_id: int) -> HttpResponse:
        return pass_over(self, request, wallet_id)

    def book_page(self, request: HttpRequest, wallet_id: int, sign: found_pages.Sign) -> HttpResponse:
        return found_pages.book(self, request, wallet_id, sign)

    def sweep_page(self, request: HttpRequest) -> HttpResponse:
        return sweep(self, request)

    @admin.action(description="Sweep… (deposit addresses)", permissions=["operate"])
    def sweep(self, request: HttpRequest, queryset: QuerySet[Wallet]) -> HttpResponse | None:
        """Lead to the page that asks why."""
        rows = queryset.filter(role=WalletRole.DEPOSIT).order_by("pk").values_list("pk", flat=True)
        ids = list(rows[: SWEPT_AT_ONCE_MAX + 1])
        if not 0 < len(ids) <= SWEPT_AT_ONCE_MAX:
            self.message_user(request, f"Choose 1 to {SWEPT_AT_ONCE_MAX} deposit addresses.", messages.ERROR)
            return None
        query = urlencode({"id": ids}, doseq=True)
        return HttpResponseRedirect(f"{reverse('admin:transactions_wallet_sweep')}?{query}")

    def offers(self, request: HttpRequest) -> dict[str, bool]:
        return {
            "may_operate": self.has_operate_permission(request),
            "may_book": self.has_book_permission(request),
        }

    @admin.display(description="state", ordering="paused_at")
    def state(self, wallet: Wallet) -> Any:
        checked = "" if wallet.unknown_since is None else ", being checked"
        if wallet.retired_at is not None:
            return cells.pill(f"retired{checked}", "plain")
        if wallet.paused_at is not None:
            return cells.pill(f"paused{checked}", "bad")
        if checked:
            return cells.pill("being checked", "plain")
        if wallet.draining_at is not None:
            return cells.pill("draining", "plain")
        return cells.pill("paying" if wallet.role == WalletRole.HOT else "taking deposits", "good")

    @admin.display(description="for", ordering="credits")
    def purpose(self, wallet: Wallet) -> Any:
        if wallet.credits_id is None:
            return "payments"
        return format_html("deposits to {}", cells.link_to(Account, wallet.credits_id, wallet.credits))

    @admin.display(description="last proved")
    def last_proved(self, wallet: Wallet) -> Any:
        report = last_report_of(wallet)
        if report is None:
            return cells.EMPTY
        if not report.is_about(wallet.address):
            return format_html("{} {}", cells.pill("adds up", "good"), _tell_run(report))
        proof = last_proof_of(wallet)
        proved = "It never added up so far." if proof is None else format_html("Last added up {}.", _tell_run(proof))
        return format_html("{} {}. {}", cells.pill("differs", "bad"), _tell_run(report), proved)

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
            ("Its transactions", cells.list_url(Transaction, q=wallet.address)),
            ("Deposits to it", cells.list_url(Deposit, wallet__id__exact=wallet.pk)),
            ("Audit trail", cells.list_url(AuditEvent, target_type="transactions.wallet", target_id=wallet.pk)),
        )

    @admin.display(description="ledger account")
    def account_link(self, wallet: Wallet) -> Any:
        return cells.link_to(Account, wallet.account_id, wallet.account)

    @admin.display(description="balance by the ledger")
    def balance(self, wallet: Wallet) -> Any:
        # An asset stands below zero in the ledger: what the desk has, not what it owes.
        return cells.amount(-wallet.account.current_balance_in_wei)

    @admin.display(description="balance", ordering="-account__current_balance_in_wei")
    def ether(self, wallet: Wallet) -> Any:
        return cells.ether(-wallet.account.current_balance_in_wei)

    @admin.display(description="in flight")
    def in_flight(self, wallet: Any) -> int:
        count: int = wallet.in_flight_count
        return count


def _tell_run(report: ReservesReport) -> Any:
    link = cells.link_to(ReservesReport, report.pk, f"at block {report.block_number}")
    return format_html("{} on {} UTC", link, f"{report.made_at:%Y-%m-%d at %H:%M}")
