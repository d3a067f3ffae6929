"""Payments: read-only but for what staff have done about them, by services."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse

from accounts.admin import cells
from accounts.admin.base import ReadOnlyAdmin, as_number, staff_user
from accounts.models import Account, AuditEvent, Entry, Hold, User
from tasks.exceptions import TasksError
from tasks.staff import RECONCILED_AT_ONCE_MAX, start_reconciliation
from transactions.addresses import parse_address
from transactions.admin.attempts import AttemptInline
from transactions.admin.payment_pages import cancel, give_up
from transactions.exceptions import BadAddressError
from transactions.models import Attempt, Transaction, Wallet
from transactions.states import Status

HASH_LENGTH = 66
ADDRESS_LENGTH = 42
OWNED_MAX = 1_000
"""Of how many accounts a search for owners shows payments; a term that means more of them means nobody."""


@admin.register(Transaction)
class TransactionAdmin(ReadOnlyAdmin):
    list_display = (
        "number", "kind", "stage", "status_pill", "ether", "account_link", "recipient", "short_hash", "accepted",
        "attention",
    )  # fmt: skip
    list_display_links = ("number",)
    list_filter = ("kind", "status", "stage", "needs_attention", "failure_reason", "wait_reason", "accepted_at")
    search_fields = ("transaction_hash",)
    search_help_text = "Payment or account number, owner's user name, address, or the hash of any attempt."
    ordering = ("-id",)
    change_form_template = "admin/transactions/transaction/change_form.html"
    actions = ("reconcile",)
    inlines = (AttemptInline,)
    fieldsets = (
        (None, {"fields": ("kind", "status_pill", "stage", "attention", "failure", "wait_reason", "pages")}),
        ("Payment", {"fields": ("account_link", "owner_link", "recipient_in_full", "amount", "fee_total", "fee_real")}),
        ("On the chain", {"fields": ("sender", "hash_in_full", "wallet_link", "nonce", "block_number", "block_hash")}),
        (
            "Times",
            {
                "fields": (
                    "accepted_at",
                    "approved_at",
                    "cancel_requested_at",
                    "signed_at",
                    "broadcast_at",
                    "mined_at",
                    "settled_at",
                )
            },
        ),
        ("Watchdog", {"fields": ("next_check_at", "checks_done", "idempotency_key"), "classes": ("collapse",)}),
    )

    def find(self, term: str) -> Q:
        """Find by what the term looks like, each so that an index serves it.

        What the term leads to in other tables is looked up first: an OR with a subquery would read every payment.
        """
        number = as_number(term)
        if number is not None:
            return Q(pk=number) | Q(user_account_id=number)
        if term.lower().startswith("0x") and len(term) == HASH_LENGTH:
            # Every hash a payment ever had is that of an attempt.
            return Q(pk__in=list(Attempt.objects.filter(hash=term.lower()).values_list("transaction_id", flat=True)))
        if term.lower().startswith("0x") and len(term) == ADDRESS_LENGTH:
            try:
                # Without its checksum: whoever searches may have it in any case.
                address = parse_address(term.lower()).address
            except BadAddressError:
                return Q(pk__in=())
            wallets = list(Wallet.objects.filter(address=address).values_list("pk", flat=True))
            return Q(to_public_address=address) | Q(wallet__in=wallets)
        owners = User.objects.filter(username__icontains=term)
        accounts = Account.objects.filter(owner__in=owners).order_by("pk").values_list("pk", flat=True)
        return Q(user_account__in=list(accounts[:OWNED_MAX]))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Transaction]:
        return super().get_queryset(request).select_related("wallet", "user_account__owner")

    def has_reconcile_permission(self, request: HttpRequest) -> bool:
        return staff_user(request).has_perm("transactions.reconcile_transaction")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        reconcile = view(self.reconcile_page)
        return [
            path("<int:transaction_id>/reconcile/", reconcile, name="transactions_transaction_reconcile"),
            path("<int:transaction_id>/cancel/", view(self.cancel_page), name="transactions_transaction_cancel"),
            path("<int:transaction_id>/give-up/", view(self.give_up_page), name="transactions_transaction_give_up"),
            *super().get_urls(),
        ]

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return staff_user(request).has_perm("transactions.cancel_transaction")

    def cancel_page(self, request: HttpRequest, transaction_id: int) -> HttpResponse:
        return cancel(self, request, transaction_id)

    def has_give_up_permission(self, request: HttpRequest) -> bool:
        """Say whether somebody may give up a transaction and its nonce, which ends a payment and concerns a wallet."""
        return self.has_cancel_permission(request) and staff_user(request).has_perm("transactions.operate_wallet")

    def give_up_page(self, request: HttpRequest, transaction_id: int) -> HttpResponse:
        return give_up(self, request, transaction_id)

    @admin.action(description="Reconcile now", permissions=["reconcile"])
    def reconcile(self, request: HttpRequest, queryset: QuerySet[Transaction]) -> HttpResponse | None:
        ids = list(queryset.order_by("pk").values_list("pk", flat=True)[: RECONCILED_AT_ONCE_MAX + 1])
        return self._reconcile(request, ids)

    def reconcile_page(self, request: HttpRequest, transaction_id: int) -> HttpResponse:
        """Have one payment reconciled: the button on its page."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_reconcile_permission(request):
            raise PermissionDenied
        page = HttpResponseRedirect(reverse("admin:transactions_transaction_change", args=[transaction_id]))
        return self._reconcile(request, [transaction_id]) or page

    def _reconcile(self, request: HttpRequest, ids: list[int]) -> HttpResponse | None:
        try:
            run = start_reconciliation(actor=staff_user(request), transaction_ids=ids)
        except TasksError as error:
            self.message_user(request, str(error), messages.ERROR)
            return None
        return HttpResponseRedirect(reverse("task-detail", args=[run.pk]))

    def offers(self, request: HttpRequest) -> dict[str, bool]:
        return {
            "may_reconcile": self.has_reconcile_permission(request),
            "may_cancel": self.has_cancel_permission(request),
            "may_give_up": self.has_give_up_permission(request),
        }

    @admin.display(description="#", ordering="id")
    def number(self, row: Transaction) -> int:
        return row.pk

    @admin.display(description="status", ordering="status")
    def status_pill(self, row: Transaction) -> Any:
        tone = {Status.SUCCESSFUL: "good", Status.FAILED: "bad"}.get(Status(row.status), "plain")
        return cells.pill(row.get_status_display(), tone)

    @admin.display(description="amount")
    def amount(self, row: Transaction) -> Any:
        return cells.amount(row.transaction_amount_in_wei)

    @admin.display(description="amount", ordering="transaction_amount_in_wei")
    def ether(self, row: Transaction) -> Any:
        return cells.ether(row.transaction_amount_in_wei)

    @admin.display(description="fee, total")
    def fee_total(self, row: Transaction) -> Any:
        return cells.amount(row.transaction_fee_total_in_wei)

    @admin.display(description="fee, of it the network's")
    def fee_real(self, row: Transaction) -> Any:
        return cells.amount(row.transaction_fee_blockchain_in_wei)

    @admin.display(description="account")
    def account_link(self, row: Transaction) -> Any:
        return cells.link_to(Account, row.user_account_id, row.user_account)

    @admin.display(description="owner")
    def owner_link(self, row: Transaction) -> Any:
        return cells.link_to(User, row.user_account.owner_id, row.user_account.owner)

    @admin.display(description="to")
    def recipient(self, row: Transaction) -> Any:
        return cells.short_hexadecimal(row.to_public_address)

    @admin.display(description="to")
    def recipient_in_full(self, row: Transaction) -> Any:
        return cells.hexadecimal(row.to_public_address)

    @admin.display(description="from")
    def sender(self, row: Transaction) -> Any:
        return cells.hexadecimal(row.from_public_address)

    @admin.display(description="hash")
    def short_hash(self, row: Transaction) -> Any:
        return cells.short_hexadecimal(row.transaction_hash)

    @admin.display(description="hash")
    def hash_in_full(self, row: Transaction) -> Any:
        return cells.hexadecimal(row.transaction_hash)

    @admin.display(description="wallet")
    def wallet_link(self, row: Transaction) -> Any:
        return cells.link_to(Wallet, row.wallet_id, row.wallet)

    @admin.display(description="age", ordering="id")
    def accepted(self, row: Transaction) -> Any:
        return cells.age(row.accepted_at)

    @admin.display(description="attention", ordering="needs_attention")
    def attention(self, row: Transaction) -> Any:
        return cells.pill("needs attention", "bad") if row.needs_attention else cells.EMPTY

    @admin.display(description="failure")
    def failure(self, row: Transaction) -> str:
        return ": ".join(part for part in (row.get_failure_reason_display(), row.failure_detail) if part) or cells.EMPTY

    @admin.display(description="see also")
    def pages(self, row: Transaction) -> Any:
        return cells.links(
            ("Account's entries", cells.list_url(Entry, account__id__exact=row.user_account_id)),
            ("Hold", cells.list_url(Hold, q=f"%23{row.pk}")),
            ("Audit trail", cells.list_url(AuditEvent, target_type="transactions.transaction", target_id=row.pk)),
        )
