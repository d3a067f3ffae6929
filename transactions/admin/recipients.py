"""Allow-lists: whom accounts may pay; recipients are put on a list and taken off it with a reason."""

from collections import defaultdict
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.http import urlencode

from accounts.admin import cells
from accounts.admin.asking import ask
from accounts.admin.base import ReadOnlyAdmin, as_number, staff_user
from accounts.admin.forms import ReasonForm
from accounts.exceptions import AccountsError
from accounts.models import Account, User
from transactions.admin.forms import RecipientsForm
from transactions.admin.policies import may_set_policies, users_account
from transactions.exceptions import TransactionsError
from transactions.models import AllowedRecipient
from transactions.services.policies import allow_recipients, disallow_recipients

AT_ONCE_MAX = 100
ADDRESS_LENGTH = 42


@admin.register(AllowedRecipient)
class AllowedRecipientAdmin(ReadOnlyAdmin):
    list_display = ("address_in_full", "note", "account_link", "allowed")
    list_select_related = ("account",)
    search_fields = ("note",)
    search_help_text = "Account number, the owner's user name, an address, or a word of the note."
    ordering = ("-pk",)
    actions = ("disallow",)
    fields = ("address_in_full", "note", "account_link", "allowed_at")
    readonly_fields = fields

    def find(self, term: str) -> Q:
        if term.lower().startswith("0x") and len(term) == ADDRESS_LENGTH:
            return Q(address__iexact=term)
        owners = User.objects.filter(username__icontains=term)
        named = Q(note__icontains=term) | Q(account__owner__in=owners)
        number = as_number(term)
        return named | Q(account=number) if number is not None else named

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        return lookup == "account__id__exact" or super().lookup_allowed(lookup, value, request)  # type: ignore[arg-type]

    # Looked up by Django by this name.
    def has_disallow_permission(self, request: HttpRequest) -> bool:
        return may_set_policies(request)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("<int:account_id>/allow/", view(self.allow_page), name="transactions_allowedrecipient_allow"),
            path("disallow/", view(self.disallow_page), name="transactions_allowedrecipient_disallow"),
            *super().get_urls(),
        ]

    def allow_page(self, request: HttpRequest, account_id: int) -> HttpResponse:
        """Ask whom an account may pay, and why, and put them on its list."""
        if not may_set_policies(request):
            raise PermissionDenied
        account = users_account(account_id)
        form = RecipientsForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                rows = allow_recipients(
                    actor=staff_user(request),
                    account_id=account.pk,
                    notes_by_address=form.cleaned_data["recipients"],
                    reason=form.cleaned_data["reason"],
                    now=timezone.now(),
                )
            except (AccountsError, TransactionsError) as error:
                form.add_error(None, str(error))
            else:
                self.message_user(request, f"Allowed for {account}: {len(rows)}.", messages.SUCCESS)
                return HttpResponseRedirect(cells.list_url(AllowedRecipient, account__id__exact=account.pk))
        back = reverse("admin:accounts_account_change", args=[account.pk])
        context: dict[str, Any] = {
            "title": f"Allow recipients of {account}",
            "verb": "Allow",
            "back": back,
            "account": account,
        }
        return ask(self, request, form, template="admin/transactions/allowedrecipient/allow.html", **context)

    @admin.action(description="Disallow…", permissions=["disallow"])
    def disallow(self, request: HttpRequest, queryset: QuerySet[AllowedRecipient]) -> HttpResponse | None:
        ids = list(queryset.order_by("pk").values_list("pk", flat=True)[: AT_ONCE_MAX + 1])
        if len(ids) > AT_ONCE_MAX:
            self.message_user(request, f"Choose at most {AT_ONCE_MAX} recipients at once.", messages.ERROR)
            return None
        query = urlencode({"id": ids}, doseq=True)
        return HttpResponseRedirect(f"{reverse('admin:transactions_allowedrecipient_disallow')}?{query}")

    def disallow_page(self, request: HttpRequest) -> HttpResponse:
        """Ask why the recipients in the address (`?id=1&id=2`) are to be taken off their lists, and do it."""
        if not may_set_policies(request):
            raise PermissionDenied
        numbers = [n for text in request.GET.getlist("id")[:AT_ONCE_MAX] if (n := as_number(text)) is not None]
        rows = list(AllowedRecipient.objects.select_related("account").filter(pk__in=numbers))
        back = HttpResponseRedirect(reverse("admin:transactions_allowedrecipient_changelist"))
        if not rows:
            self.message_user(request, "Choose at least one recipient that is on a list.", messages.ERROR)
            return back
        form = ReasonForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            self._disallow(request, rows, form.cleaned_data["reason"])
            return back
        title = f"Disallow {rows[0].address}" if len(rows) == 1 else f"Disallow {len(rows)} recipients"
        context: dict[str, Any] = {"title": title, "verb": "Disallow", "back": back.url, "rows": rows}
        return ask(self, request, form, template="admin/transactions/allowedrecipient/disallow.html", **context)

    def _disallow(self, request: HttpRequest, rows: list[AllowedRecipient], reason: str) -> None:
        by_account: defaultdict[Account, list[str]] = defaultdict(list)
        for row in rows:
            by_account[row.account].append(row.address)
        actor = staff_user(request)
        for account, addresses in by_account.items():
            try:
                count = disallow_recipients(actor=actor, account_id=account.pk, addresses=addresses, reason=reason)
            except (AccountsError, TransactionsError) as error:
                self.message_user(request, f"{account}: {error}", messages.ERROR)
            else:
                self.message_user(request, f"Disallowed for {account}: {count}.", messages.SUCCESS)

    @admin.display(description="address", ordering="address")
    def address_in_full(self, row: AllowedRecipient) -> Any:
        return cells.hexadecimal(row.address)

    @admin.display(description="account", ordering="account")
    def account_link(self, row: AllowedRecipient) -> Any:
        return cells.link_to(Account, row.account_id, row.account)

    @admin.display(description="since", ordering="allowed_at")
    def allowed(self, row: AllowedRecipient) -> Any:
        return cells.age(row.allowed_at)
