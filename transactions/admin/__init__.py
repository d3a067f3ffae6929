"""The admin of payments, approvals, policies, wallets and reserves: what the operations team works with."""

from transactions.admin import approvals, payments, policies, recipients, reserves, wallets

__all__ = ["approvals", "payments", "policies", "recipients", "reserves", "wallets"]
