"""The admin of users, accounts, ledger, tokens, audit trail and alerts: what the operations team works with."""

from accounts.admin import accounts, alerts, ledger, tokens, trail, users

__all__ = ["accounts", "alerts", "ledger", "tokens", "trail", "users"]
