"""Accounts: balances and their owners; frozen, credited and debited through pages that ask why."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.http import urlencode

from accounts.admin import cells
from accounts.admin.account_pages import AT_ONCE_MAX, change_balance, change_frozen
from accounts.admin.base import DeskAdmin, as_number, staff_user
from accounts.admin.forms import AccountForm
from accounts.models import Account, AuditEvent, Entry, Hold, User
from accounts.services.accounts import open_account
from transactions.models import AccountPolicy, Deposit, Wallet


class FrozenFilter(admin.SimpleListFilter):
    title = "frozen"
    parameter_name = "frozen"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Frozen"), ("no", "Not frozen")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Account]) -> QuerySet[Account]:
        if self.value() in ("yes", "no"):
            return queryset.filter(frozen_at__isnull=self.value() == "no")
        return queryset


@admin.register(Account)
class AccountAdmin(DeskAdmin):
    """Balances are the ledger's alone: here people look, open accounts, and call services."""

    form = AccountForm
    list_display = ("number", "name", "owner_link", "kind", "current", "available", "frozen")
    list_display_links = ("number", "name")
    list_filter = ("kind", FrozenFilter, "created_at")
    list_select_related = ("owner",)
    search_fields = ("name",)
    search_help_text = "Account number, account name, or the owner's user name."
    ordering = ("-id",)
    autocomplete_fields = ("owner",)
    actions = ("freeze", "unfreeze", "credit", "debit")
    readonly_fields = (
        "owner_link",
        "kind",
        "current",
        "available",
        "held",
        "frozen",
        "rules",
        "paid_to",
        "created_at",
        "trail",
    )

    def find(self, term: str) -> Q:
        owners = User.objects.filter(username__icontains=term)
        named = Q(name__icontains=term) | Q(owner__in=owners)
        number = as_number(term)
        return named | Q(pk=number) if number is not None else named

    def get_fields(self, request: HttpRequest, obj: Account | None = None) -> Any:
        if obj is None:
            return ("owner", "name")
        return ("name", *self.readonly_fields)

    def has_change_permission(self, request: HttpRequest, obj: Account | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Account | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Account, form: Any, change: bool) -> None:
        """Open the account through its service, which records it."""
        assert obj.owner is not None, "the form demands an owner"
        obj.pk = open_account(owner=obj.owner, name=obj.name, actor=staff_user(request)).pk

    # Permissions of the actions; Django looks them up by these names.
    def has_freeze_permission(self, request: HttpRequest) -> bool:
        return staff_user(request).has_perm("accounts.freeze_account")

    def has_adjust_permission(self, request: HttpRequest) -> bool:
        return staff_user(request).has_perm("accounts.adjust_account")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("freeze/", view(self.freeze_page), name="accounts_account_freeze"),
            path("unfreeze/", view(self.unfreeze_page), name="accounts_account_unfreeze"),
            path("<int:account_id>/credit/", view(self.credit_page), name="accounts_account_credit"),
            path("<int:account_id>/debit/", view(self.debit_page), name="accounts_account_debit"),
            *super().get_urls(),
        ]

    def freeze_page(self, request: HttpRequest) -> HttpResponse:
        return change_frozen(self, request, freeze=True)

    def unfreeze_page(self, request: HttpRequest) -> HttpResponse:
        return change_frozen(self, request, freeze=False)

    def credit_page(self, request: HttpRequest, account_id: int) -> HttpResponse:
        return change_balance(self, request, account_id, credit=True)

    def debit_page(self, request: HttpRequest, account_id: int) -> HttpResponse:
        return change_balance(self, request, account_id, credit=False)

    @admin.action(description="Freeze…", permissions=["freeze"])
    def freeze(self, request: HttpRequest, queryset: QuerySet[Account]) -> HttpResponse | None:
        return self._lead_to("freeze", request, queryset)

    @admin.action(description="Unfreeze…", permissions=["freeze"])
    def unfreeze(self, request: HttpRequest, queryset: QuerySet[Account]) -> HttpResponse | None:
        return self._lead_to("unfreeze", request, queryset)

    @admin.action(description="Credit… (one account)", permissions=["adjust"])
    def credit(self, request: HttpRequest, queryset: QuerySet[Account]) -> HttpResponse | None:
        return self._lead_to_one("credit", request, queryset)

    @admin.action(description="Debit… (one account)", permissions=["adjust"])
    def debit(self, request: HttpRequest, queryset: QuerySet[Account]) -> HttpResponse | None:
        return self._lead_to_one("debit", request, queryset)

    def _lead_to(self, page: str, request: HttpRequest, queryset: QuerySet[Account]) -> HttpResponse | None:
        ids = list(queryset.order_by("pk").values_list("pk", flat=True)[: AT_ONCE_MAX + 1])
        if len(ids) > AT_ONCE_MAX:
            self.message_user(request, f"Choose at most {AT_ONCE_MAX} accounts at once.", messages.ERROR)
            return None
        query = urlencode({"id": ids}, doseq=True)
        return HttpResponseRedirect(f"{reverse(f'admin:accounts_account_{page}')}?{query}")

    def _lead_to_one(self, page: str, request: HttpRequest, queryset: QuerySet[Account]) -> HttpResponse | None:
        ids = list(queryset.values_list("pk", flat=True)[:2])
        if len(ids) != 1:
            self.message_user(request, f"Choose the one account to {page}.", messages.ERROR)
            return None
        return HttpResponseRedirect(reverse(f"admin:accounts_account_{page}", args=ids))

    def offers(self, request: HttpRequest) -> dict[str, bool]:
        return {"may_freeze": self.has_freeze_permission(request), "may_adjust": self.has_adjust_permission(request)}

    @admin.display(description="#", ordering="id")
    def number(self, account: Account) -> int:
        return account.pk

    @admin.display(description="owner", ordering="owner__username")
    def owner_link(self, account: Account) -> Any:
        return cells.link_to(User, account.owner_id, account.owner)

    @admin.display(description="current balance", ordering="current_balance_in_wei")
    def current(self, account: Account) -> Any:
        return cells.amount(account.current_balance_in_wei)

    @admin.display(description="available balance", ordering="available_balance_in_wei")
    def available(self, account: Account) -> Any:
        return cells.amount(account.available_balance_in_wei)

    @admin.display(description="held for payments")
    def held(self, account: Account) -> Any:
        return cells.amount(account.held_balance_in_wei)

    @admin.display(description="frozen", ordering="frozen_at")
    def frozen(self, account: Account) -> Any:
        return cells.frozen(account)

    @admin.display(description="policy")
    def rules(self, account: Account) -> Any:
        policy = AccountPolicy.objects.filter(pk=account.pk).first()
        if policy is None:
            return cells.EMPTY
        return cells.link_to(AccountPolicy, policy.pk, ", ".join(policy.rules) or "no limits")

    @admin.display(description="deposit address")
    def paid_to(self, account: Account) -> Any:
        wallet = Wallet.objects.filter(credits=account).first()
        if wallet is None:
            return cells.EMPTY
        return format_html(
            "{} · {}",
            cells.link_to(Wallet, wallet.pk, wallet.address),
            cells.links(("Deposits", cells.list_url(Deposit, wallet__id__exact=wallet.pk))),
        )

    @admin.display(description="see also")
    def trail(self, account: Account) -> Any:
        return cells.links(
            ("Entries", cells.list_url(Entry, account__id__exact=account.pk)),
            ("Held now", cells.list_url(Hold, account__id__exact=account.pk, status__exact="held")),
            ("Audit trail", cells.list_url(AuditEvent, target_type="accounts.account", target_id=account.pk)),
        )
