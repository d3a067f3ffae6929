"""The admin of users, accounts, ledger, tokens and audit trail: what the operations team works with."""

from accounts.admin import accounts, ledger, tokens, trail, users

__all__ = ["accounts", "ledger", "tokens", "trail", "users"]
