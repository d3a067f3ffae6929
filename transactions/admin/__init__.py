"""The admin of payments, approvals, policies and wallets: what the operations team works with."""

from transactions.admin import approvals, payments, policies, recipients, wallets

__all__ = ["approvals", "payments", "policies", "recipients", "wallets"]
