"""Accounts, the double-entry ledger, holds, API tokens, the audit trail and alerts."""

from accounts.models.accounts import Account, AccountKind
from accounts.models.alerts import Alert, AlertKind
from accounts.models.audit import AuditEvent
from accounts.models.holds import Hold, HoldStatus
from accounts.models.journals import Entry, Journal, JournalKind
from accounts.models.tokens import ApiToken
from accounts.models.users import User

__all__ = [
    "Account",
    "AccountKind",
    "Alert",
    "AlertKind",
    "ApiToken",
    "AuditEvent",
    "Entry",
    "Hold",
    "HoldStatus",
    "Journal",
    "JournalKind",
    "User",
]
