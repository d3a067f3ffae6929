"""The admin of payments, deposits, approvals, policies, wallets and reserves: what the operations team works with."""

from transactions.admin import approvals, deposits, payments, policies, recipients, reserves, wallets

__all__ = ["approvals", "deposits", "payments", "policies", "recipients", "reserves", "wallets"]
