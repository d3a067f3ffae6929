"""Hot wallets: what they have and what is in flight; read-only."""

from typing import Any

from django.contrib import admin
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest

from accounts.admin import cells
from accounts.admin.base import ReadOnlyAdmin
from accounts.models import Account
from transactions.models import Transaction, Wallet
from transactions.states import Stage


@admin.register(Wallet)
class WalletAdmin(ReadOnlyAdmin):
    list_display = ("address", "balance", "next_nonce", "in_flight", "paused_at", "created_at")
    list_select_related = ("account",)
    search_fields = ("address",)
    search_help_text = "An address."
    ordering = ("id",)
    fields = (
        "address",
        "account_link",
        "balance",
        "next_nonce",
        "in_flight",
        "paused_at",
        "paused_reason",
        "created_at",
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
