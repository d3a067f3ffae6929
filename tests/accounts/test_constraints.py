"""Each rule that the database keeps for accounts and ledger, seen to refuse a row that breaks it."""

from collections.abc import Callable

import pytest

from accounts.models import Account, AccountKind, Alert, ApiToken, AuditEvent, Entry, Hold, Journal, JournalKind, User
from accounts.money import WEI_MAX
from tests.desk import NOW, credit, make_account, make_user
from tests.rules import execute, refused_by, rules_of

pytestmark = pytest.mark.django_db


class Rows:
    """One good row of each kind to break."""

    def __init__(self) -> None:
        self.user: User = make_user()
        self.account = make_account(self.user, balance_in_wei=10)
        self.other = make_account(self.user, balance_in_wei=10)
        self.journal = Journal.objects.create(kind=JournalKind.ADJUSTMENT, source="journal")
        self.held = Hold.objects.create(account=self.account, source="held", amount_in_wei=1)
        self.settled = Hold.objects.create(
            account=self.account, source="settled", amount_in_wei=1, status="settled", resolved_at=NOW
        )
        self.released = Hold.objects.create(
            account=self.account, source="released", amount_in_wei=1, status="released", resolved_at=NOW
        )
        self.token = ApiToken.objects.create(user=self.user, name="t", start="txn_", token_hash="a" * 64)
        self.alert = Alert.objects.create(kind="node", subject="s", message="m", opened_at=NOW, last_seen_at=NOW)
        self.event = AuditEvent.objects.create(actor=self.user, action="a", target_type="t", target_id="1")


@pytest.fixture
def rows() -> Rows:
    return Rows()


def update(model: type[Account] | type[Hold] | type[Alert], pk: int, **columns: object) -> None:
    """Write columns past the ledger."""
    model.objects.filter(pk=pk).update(**columns)


def entries(journal: Journal, *amounts: tuple[Account, int]) -> None:
    """Insert entries in one statement."""
    Entry.objects.bulk_create(
        Entry(journal=journal, account=account, amount_in_wei=amount, balance_after_in_wei=0)
        for account, amount in amounts
    )


def hold(rows: Rows, **columns: object) -> None:
    values = {"account": rows.account, "source": "new", "amount_in_wei": 1} | columns
    Hold.objects.create(**values)


BREAKS: dict[str, list[Callable[[Rows], object]]] = {
    # Accounts
    "accounts_account_available_not_negative": [
        lambda rows: update(Account, rows.account.pk, available_balance_in_wei=-1),
        lambda rows: execute(
            "UPDATE accounts_account SET current_balance_in_wei = -1, available_balance_in_wei = -1 WHERE id = %s",
            rows.account.pk,
        ),
    ],
    "accounts_account_available_within_current": [
        lambda rows: update(Account, rows.account.pk, available_balance_in_wei=11),
        lambda rows: update(Account, rows.account.pk, current_balance_in_wei=9),
    ],
    "accounts_account_current_within_uint256": [
        lambda rows: update(Account, rows.account.pk, current_balance_in_wei=WEI_MAX + 1),
    ],
    "accounts_account_only_users_accounts_have_an_owner": [
        lambda rows: Account.objects.create(name="Nobody's"),
        lambda rows: Account.objects.create(name="Whose?", kind=AccountKind.HOT_WALLET, owner=rows.user),
        lambda rows: update(Account, rows.account.pk, owner=None),
        lambda rows: update(Account, rows.account.pk, kind=AccountKind.HOT_WALLET),
    ],
    "accounts_account_frozen_with_a_reason": [
        lambda rows: update(Account, rows.account.pk, frozen_at=NOW),
        lambda rows: update(Account, rows.account.pk, frozen_reason="Because."),
    ],
    "accounts_account_kind_known": [
        lambda rows: Account.objects.create(name="?", kind="savings"),
    ],
    "accounts_account_one_for_each_system_kind": [
        lambda rows: [Account.objects.create(name="x", kind=AccountKind.FEE_INCOME) for _ in range(2)],
        lambda rows: [Account.objects.create(name="x", kind=AccountKind.NETWORK_FEES) for _ in range(2)],
        lambda rows: Account.objects.create(name="x", kind=AccountKind.EXTERNAL_FUNDING),
    ],
    # Journals and entries
    "accounts_journal_posted_once": [
        lambda rows: Journal.objects.create(kind=JournalKind.ADJUSTMENT, source="journal"),
    ],
    "accounts_journal_kind_known": [
        lambda rows: Journal.objects.create(kind="gift", source="1"),
    ],
    "accounts_journal_append_only": [
        lambda rows: Journal.objects.filter(pk=rows.journal.pk).update(description="Something else"),
        lambda rows: Journal.objects.filter(pk=rows.journal.pk).delete(),
        lambda rows: execute("TRUNCATE accounts_journal CASCADE"),
    ],
    "accounts_journal_balanced": [
        lambda rows: entries(rows.journal, (rows.account, 5)),
        lambda rows: entries(rows.journal, (rows.account, 5), (rows.other, -4)),
        # Two journals that balance only together.
        lambda rows: Entry.objects.bulk_create(
            [
                Entry(journal=rows.journal, account=rows.account, amount_in_wei=5, balance_after_in_wei=0),
                Entry(
                    journal=Journal.objects.create(kind="settlement", source="1"),
                    account=rows.account,
                    amount_in_wei=-5,
                    balance_after_in_wei=0,
                ),
            ]
        ),
    ],  # fmt: skip
    "accounts_entry_append_only": [
        lambda rows: Entry.objects.filter(account=rows.account).update(balance_after_in_wei=11),
        lambda rows: Entry.objects.filter(account=rows.account).update(amount_in_wei=11),
        lambda rows: Entry.objects.filter(account=rows.account).delete(),
        lambda rows: execute("TRUNCATE accounts_entry"),
    ],
    "accounts_entry_amount_not_zero": [
        lambda rows: entries(rows.journal, (rows.account, 0), (rows.other, 0)),
    ],
    "accounts_entry_amount_within_uint256": [
        lambda rows: entries(rows.journal, (rows.account, WEI_MAX + 1), (rows.other, -WEI_MAX - 1)),
        lambda rows: entries(rows.journal, (rows.account, -WEI_MAX - 1), (rows.other, WEI_MAX), (rows.other, 1)),
    ],
    # Holds
    "accounts_hold_placed_once": [
        lambda rows: hold(rows, source="held"),
        lambda rows: hold(rows, source="settled", account=rows.other, amount_in_wei=2),
    ],
    "accounts_hold_amount_within_uint256": [
        lambda rows: hold(rows, amount_in_wei=0),
        lambda rows: hold(rows, amount_in_wei=-1),
        lambda rows: hold(rows, amount_in_wei=WEI_MAX + 1),
    ],
    "accounts_hold_resolved_at_when_resolved": [
        lambda rows: hold(rows, resolved_at=NOW),
        lambda rows: hold(rows, status="settled"),
        lambda rows: hold(rows, status="released"),
        lambda rows: hold(rows, status="lost", resolved_at=NOW),
        lambda rows: update(Hold, rows.held.pk, status="settled"),
    ],
    "accounts_hold_resolved_once": [
        lambda rows: update(Hold, rows.settled.pk, status="released"),
        lambda rows: update(Hold, rows.released.pk, status="settled"),
        lambda rows: update(Hold, rows.settled.pk, status="held", resolved_at=None),
        lambda rows: update(Hold, rows.released.pk, status="held", resolved_at=None),
        lambda rows: update(Hold, rows.settled.pk, status="settled"),
        lambda rows: update(Hold, rows.settled.pk, resolved_at=None),
        lambda rows: update(Hold, rows.held.pk, status="held"),
        lambda rows: update(Hold, rows.held.pk, status="settled", resolved_at=NOW, amount_in_wei=2),
        lambda rows: update(Hold, rows.held.pk, status="settled", resolved_at=NOW, account=rows.other),
        lambda rows: update(Hold, rows.held.pk, status="settled", resolved_at=NOW, source="x"),
        lambda rows: update(Hold, rows.held.pk, status="settled", resolved_at=NOW, kind="x"),
    ],
    "accounts_hold_append_only": [
        lambda rows: Hold.objects.filter(pk=rows.held.pk).delete(),
        lambda rows: Hold.objects.filter(pk=rows.settled.pk).delete(),
        lambda rows: execute("TRUNCATE accounts_hold"),
    ],
    # Tokens and the audit trail
    "accounts_apitoken_hash_used_once": [
        lambda rows: ApiToken.objects.create(user=make_user(), name="t", start="txn_", token_hash="a" * 64),
    ],
    # Alerts
    "accounts_alert_open_once_for_each_subject": [
        lambda rows: Alert.objects.create(kind="node", subject="s", message="n", opened_at=NOW, last_seen_at=NOW),
    ],
    "accounts_alert_kind_known": [
        lambda rows: update(Alert, rows.alert.pk, kind="weather"),
    ],
    "accounts_alert_acknowledged_by_somebody": [
        lambda rows: update(Alert, rows.alert.pk, acknowledged_at=NOW),
        lambda rows: update(Alert, rows.alert.pk, acknowledged_by=rows.user),
    ],
    "accounts_auditevent_append_only": [
        lambda rows: AuditEvent.objects.filter(pk=rows.event.pk).update(reason="A better one"),
        lambda rows: AuditEvent.objects.filter(pk=rows.event.pk).delete(),
        lambda rows: execute("TRUNCATE accounts_auditevent"),
    ],
}


@pytest.mark.parametrize(
    ("name", "attempt"), [(name, attempt) for name, attempts in BREAKS.items() for attempt in range(len(attempts))]
)
def test_refused(rows: Rows, name: str, attempt: int) -> None:
    with refused_by(name):
        BREAKS[name][attempt](rows)


def test_every_rule_has_such_a_test() -> None:
    assert rules_of("accounts") == set(BREAKS)


def test_what_the_rules_leave_free(rows: Rows) -> None:
    update(Account, rows.account.pk, available_balance_in_wei=0)
    update(Account, rows.account.pk, current_balance_in_wei=WEI_MAX, available_balance_in_wei=WEI_MAX)
    update(Account, rows.account.pk, frozen_at=NOW, frozen_reason="Because.")
    update(Hold, rows.held.pk, status="released", resolved_at=NOW)
    hold(rows, source="held", kind="sweep")
    entries(rows.journal, (rows.account, WEI_MAX), (rows.other, -WEI_MAX))
    wallets = [Account.objects.create(name="x", kind=AccountKind.HOT_WALLET) for _ in range(2)]
    for wallet in [*wallets, wallets[0]]:
        credit(wallet, -WEI_MAX)
