"""Policies: what accounts may pay; set on a page that asks why, by a service that records old and new."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from accounts.admin import cells
from accounts.admin.asking import ask
from accounts.admin.base import ReadOnlyAdmin, as_number, staff_user
from accounts.exceptions import AccountsError
from accounts.models import Account, AccountKind, AuditEvent, User
from transactions.admin.forms import PolicyForm
from transactions.exceptions import TransactionsError
from transactions.models import AccountPolicy, AllowedRecipient
from transactions.services.policies import set_policy


def may_set_policies(request: HttpRequest) -> bool:
    return staff_user(request).has_perm("transactions.set_accountpolicy")


def users_account(account_id: int) -> Account:
    """Return a user's account, or answer that there is none."""
    account = Account.objects.select_related("owner").filter(pk=account_id, kind=AccountKind.USER).first()
    if account is None:
        raise Http404
    return account


@admin.register(AccountPolicy)
class PolicyAdmin(ReadOnlyAdmin):
    list_display = (
        "account_link",
        "owner_link",
        "amount_max",
        "daily_amount_max",
        "approval_above",
        "listed",
        "changed",
    )
    list_display_links = None
    list_filter = ("is_allow_list_only",)
    search_fields = ("account__name",)
    search_help_text = "Account number, account name, or the owner's user name."
    ordering = ("-pk",)
    change_form_template = "admin/transactions/accountpolicy/change_form.html"
    fields = (
        "account_page",
        "owner_link",
        "amount_max",
        "daily_amount_max",
        "approval_above",
        "is_allow_list_only",
        "changed_at",
        "pages",
    )
    readonly_fields = fields

    def find(self, term: str) -> Q:
        owners = User.objects.filter(username__icontains=term)
        named = Q(account__name__icontains=term) | Q(account__owner__in=owners)
        number = as_number(term)
        return named | Q(pk=number) if number is not None else named

    def get_queryset(self, request: HttpRequest) -> QuerySet[AccountPolicy]:
        listed = (
            AllowedRecipient.objects.filter(account=OuterRef("pk"))
            .order_by()
            .values("account")
            .annotate(rows=Count("pk"))
            .values("rows")
        )
        rows: QuerySet[AccountPolicy] = super().get_queryset(request)
        return rows.select_related("account__owner").annotate(recipients=Coalesce(Subquery(listed), 0))

    def get_urls(self) -> list[URLPattern]:
        page = path(
            "<int:account_id>/set/", self.admin_site.admin_view(self.set_page), name="transactions_accountpolicy_set"
        )
        return [page, *super().get_urls()]

    def set_page(self, request: HttpRequest, account_id: int) -> HttpResponse:
        """Ask what an account may pay from now on, and why, and set it."""
        if not may_set_policies(request):
            raise PermissionDenied
        account = users_account(account_id)
        policy = AccountPolicy.objects.filter(pk=account_id).first()
        form = PolicyForm.of(policy, request.POST or None)
        if request.method == "POST" and form.is_valid() and self._set(request, account, form):
            return HttpResponseRedirect(reverse("admin:transactions_accountpolicy_change", args=[account_id]))
        return ask(
            self,
            request,
            form,
            title=f"Set the policy of {account}",
            verb="Set the policy",
            back=reverse("admin:accounts_account_change", args=[account.pk]),
            template="admin/transactions/accountpolicy/set.html",
            account=account,
        )

    def _set(self, request: HttpRequest, account: Account, form: PolicyForm) -> bool:
        """Set the policy; on a refusal say why in the form."""
        try:
            policy = set_policy(
                actor=staff_user(request),
                account_id=account.pk,
                terms=form.terms(),
                reason=form.cleaned_data["reason"],
                seen_at=form.cleaned_data["seen_at"],
                now=timezone.now(),
            )
        except (AccountsError, TransactionsError) as error:
            form.add_error(None, str(error))
            return False
        rules = ", ".join(policy.rules) or "no limits"
        self.message_user(request, f"The policy of {account} is now: {rules}.", messages.SUCCESS)
        return True

    def offers(self, request: HttpRequest) -> dict[str, bool]:
        return {"may_set_policies": may_set_policies(request)}

    @admin.display(description="account", ordering="pk")
    def account_link(self, policy: AccountPolicy) -> Any:
        return cells.link_to(AccountPolicy, policy.pk, policy.account)

    @admin.display(description="account")
    def account_page(self, policy: AccountPolicy) -> Any:
        return cells.link_to(Account, policy.pk, policy.account)

    @admin.display(description="owner")
    def owner_link(self, policy: AccountPolicy) -> Any:
        return cells.link_to(User, policy.account.owner_id, policy.account.owner)

    @admin.display(description="largest amount", ordering="amount_max_in_wei")
    def amount_max(self, policy: AccountPolicy) -> Any:
        return cells.ether(policy.amount_max_in_wei)

    @admin.display(description="largest amount in 24 hours", ordering="daily_amount_max_in_wei")
    def daily_amount_max(self, policy: AccountPolicy) -> Any:
        return cells.ether(policy.daily_amount_max_in_wei)

    @admin.display(description="approval above", ordering="approval_above_in_wei")
    def approval_above(self, policy: AccountPolicy) -> Any:
        return cells.ether(policy.approval_above_in_wei)

    @admin.display(description="allow-list", ordering="is_allow_list_only")
    def listed(self, policy: Any) -> str:
        return f"only: {policy.recipients}" if policy.is_allow_list_only else cells.EMPTY

    @admin.display(description="changed", ordering="changed_at")
    def changed(self, policy: AccountPolicy) -> Any:
        return cells.age(policy.changed_at)

    @admin.display(description="see also")
    def pages(self, policy: Any) -> Any:
        return cells.links(
            (f"Allow-list ({policy.recipients})", cells.list_url(AllowedRecipient, account__id__exact=policy.pk)),
            ("Audit trail", cells.list_url(AuditEvent, target_type="accounts.account", target_id=policy.pk)),
        )
