"""The admin of payments and wallets: what the operations team works with."""

from transactions.admin import payments, wallets

__all__ = ["payments", "wallets"]
