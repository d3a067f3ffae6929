"""Attempts: every transaction signed, shown on the page of its payment."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from accounts.admin import cells
from transactions.models import Attempt, Transaction


class AttemptInline(admin.StackedInline[Attempt, Transaction]):
    """Every transaction signed for this payment, with its bytes as they were sent."""

    model = Attempt
    fields = (
        "purpose",
        "nonce",
        "fees",
        "gas_limit",
        "signed_at",
        "sent_at",
        "sends",
        "last_error",
        "raw_bytes",
    )
    readonly_fields = fields
    can_delete = False
    extra = 0
    ordering = ("id",)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="fees per gas")
    def fees(self, attempt: Attempt) -> str:
        return (
            f"at most {attempt.max_fee_per_gas_in_wei:,} wei, "
            f"of it to the validator at most {attempt.max_priority_fee_per_gas_in_wei:,} wei"
        )

    @admin.display(description="raw transaction")
    def raw_bytes(self, attempt: Attempt) -> Any:
        return cells.folded_hexadecimal(bytes(attempt.raw_transaction))
