"""The admin of payments, deposits, approvals, policies and wallets: what the operations team works with."""

from transactions.admin import approvals, deposits, payments, policies, recipients, wallets

__all__ = ["approvals", "deposits", "payments", "policies", "recipients", "wallets"]
