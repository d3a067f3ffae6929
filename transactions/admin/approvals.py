"""Approvals: payments that wait for a second person, the longest waiting first, and the page to decide on one."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html

from accounts.admin import cells
from accounts.admin.asking import ask
from accounts.admin.base import ReadOnlyAdmin, as_number, staff_user
from accounts.exceptions import AccountsError, ReasonRequiredError
from accounts.models import Account, User
from accounts.money import format_ether
from tasks.approving import approve_and_send
from transactions.admin.forms import DecisionForm
from transactions.exceptions import AlreadyDecidedError, TransactionsError
from transactions.models import Approval, Transaction
from transactions.queries import allowed_note, times_paid
from transactions.services.approvals import refuse_payment
from transactions.services.limits import REFUSED_BY_POLICY, limits_of
from transactions.states import Verdict

_TONES = {Verdict.APPROVED: "good", Verdict.REFUSED: "bad"}


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(verdict.value or "open", verdict.label.capitalize()) for verdict in Verdict]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Approval]) -> QuerySet[Approval]:
        match self.value():
            case None:
                return queryset
            case "open":
                return queryset.filter(decided_at=None)
            case verdict:
                return queryset.filter(verdict=verdict)


@admin.register(Approval)
class ApprovalAdmin(ReadOnlyAdmin):
    list_display = (
        "number",
        "state",
        "ether",
        "recipient",
        "account_link",
        "owner_link",
        "why",
        "waiting",
        "decided_by",
    )
    list_filter = (StateFilter, "requested_at")
    search_fields = ("transaction__to_public_address",)
    search_help_text = "Payment or account number, the owner's user name, or the recipient's address."
    ordering = ("-decided_at", "pk")
    change_form_template = "admin/transactions/approval/change_form.html"
    fields = (
        "state",
        "payment_link",
        "amount",
        "recipient_in_full",
        "account_link",
        "owner_link",
        "why",
        "requested_at",
        "decided_at",
        "decided_by",
        "reason",
    )
    readonly_fields = fields

    def find(self, term: str) -> Q:
        number = as_number(term)
        if number is not None:
            return Q(pk=number) | Q(transaction__user_account=number)
        if term.lower().startswith("0x"):
            return Q(transaction__to_public_address__iexact=term)
        return Q(transaction__user_account__owner__in=User.objects.filter(username__icontains=term))

    def get_list_display(self, request: HttpRequest) -> Any:
        """Lead those who may decide from the list to the page."""
        names = super().get_list_display(request)
        if not self.has_approve_permission(request):
            return names
        return ["state_or_decide" if name == "state" else name for name in names]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Approval]:
        rows: QuerySet[Approval] = super().get_queryset(request)
        return rows.select_related("transaction__user_account__owner", "decided_by")

    def has_approve_permission(self, request: HttpRequest) -> bool:
        return staff_user(request).has_perm("transactions.approve_transaction")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.decide_page)
        return [path("<int:transaction_id>/decide/", view, name="transactions_approval_decide"), *super().get_urls()]

    def decide_page(self, request: HttpRequest, transaction_id: int) -> HttpResponse:
        """Show what is to be paid and what speaks for and against it; approve or refuse it."""
        if not self.has_approve_permission(request):
            raise PermissionDenied
        approval = self.get_queryset(request).filter(pk=transaction_id).first()
        if approval is None:
            raise Http404
        page = reverse("admin:transactions_approval_change", args=[transaction_id])
        if not approval.is_open and request.method != "POST":
            return HttpResponseRedirect(page)
        form = DecisionForm(request.POST or None)
        if request.method == "POST" and form.is_valid() and self._decide(request, approval, form):
            return HttpResponseRedirect(reverse("admin:transactions_approval_changelist"))
        return ask(
            self,
            request,
            form,
            title=f"Approve or refuse payment #{transaction_id}",
            verb="Approve",
            back=reverse("admin:transactions_approval_changelist"),
            template="admin/transactions/approval/decide.html",
            **_facts(approval, staff_user(request)),
        )

    def _decide(self, request: HttpRequest, approval: Approval, form: DecisionForm) -> bool:
        """Give the verdict that was pressed; say whether there is nothing left to decide."""
        actor, reason = staff_user(request), form.cleaned_data["reason"]
        amount = f"{format_ether(approval.transaction.transaction_amount_in_wei)} ETH"
        try:
            if "approve" in request.POST:
                row = approve_and_send(actor=actor, transaction_id=approval.pk, reason=reason)
                becomes = "was called off and is not sent" if row.cancel_requested_at else "goes out"
                said = f"Approved: payment #{approval.pk} of {amount} {becomes}."
            elif "refuse" in request.POST:
                refuse_payment(actor=actor, transaction_id=approval.pk, reason=reason, now=timezone.now())
                said = f"Refused: payment #{approval.pk} of {amount}. The money is available again."
            else:
                return False
        except AlreadyDecidedError as error:
            self.message_user(request, f"{error} Nothing was changed.", messages.WARNING)
            return True
        except ReasonRequiredError as error:
            form.add_error("reason", str(error))
            return False
        except (AccountsError, TransactionsError) as error:
            form.add_error(None, str(error))
            return False
        self.message_user(request, said, messages.SUCCESS)
        return True

    def offers(self, request: HttpRequest) -> dict[str, bool]:
        return {"may_approve": self.has_approve_permission(request)}

    @admin.display(description="payment", ordering="pk")
    def number(self, approval: Approval) -> str:
        return f"#{approval.pk}"

    @admin.display(description="state")
    def state(self, approval: Approval) -> Any:
        return cells.pill(approval.verdict or "open", _TONES.get(Verdict(approval.verdict), "plain"))

    @admin.display(description="state")
    def state_or_decide(self, approval: Approval) -> Any:
        if not approval.is_open:
            return self.state(approval)
        url = reverse("admin:transactions_approval_decide", args=[approval.pk])
        return format_html('<a href="{}">Decide…</a>', url)

    @admin.display(description="payment")
    def payment_link(self, approval: Approval) -> Any:
        return cells.link_to(Transaction, approval.pk, approval.transaction)

    @admin.display(description="amount")
    def ether(self, approval: Approval) -> Any:
        return cells.ether(approval.transaction.transaction_amount_in_wei)

    @admin.display(description="amount")
    def amount(self, approval: Approval) -> Any:
        return cells.amount(approval.transaction.transaction_amount_in_wei)

    @admin.display(description="to")
    def recipient(self, approval: Approval) -> Any:
        return cells.short_hexadecimal(approval.transaction.to_public_address)

    @admin.display(description="to")
    def recipient_in_full(self, approval: Approval) -> Any:
        return cells.hexadecimal(approval.transaction.to_public_address)

    @admin.display(description="account")
    def account_link(self, approval: Approval) -> Any:
        account = approval.transaction.user_account
        return cells.link_to(Account, account.pk, account)

    @admin.display(description="asked for by")
    def owner_link(self, approval: Approval) -> Any:
        account = approval.transaction.user_account
        return cells.link_to(User, account.owner_id, account.owner)

    @admin.display(description="why", ordering="above_in_wei")
    def why(self, approval: Approval) -> str:
        return f"above {format_ether(approval.above_in_wei)} ETH"

    @admin.display(description="since", ordering="requested_at")
    def waiting(self, approval: Approval) -> Any:
        return cells.age(approval.requested_at)


def _facts(approval: Approval, person: User) -> dict[str, Any]:
    """Return what whoever decides should know."""
    payment = approval.transaction
    account = payment.user_account
    obstacle = ""
    try:
        limits_of(account.pk, payment.to_public_address).check_terms(payment.transaction_amount_in_wei)
    except REFUSED_BY_POLICY as error:
        obstacle = str(error)
    return {
        "approval": approval,
        "payment": payment,
        "account": account,
        "is_own": account.owner_id == person.pk,
        "obstacle": obstacle,
        "times_paid": times_paid(account_id=account.pk, to_public_address=payment.to_public_address),
        "allowed_note": allowed_note(account_id=account.pk, to_public_address=payment.to_public_address),
    }
