"""Lists cost the same for five rows as for fifty, count no further than people look, and find by what was typed."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.admin import base
from accounts.ledger import place_hold
from accounts.models import Account, Alert, AlertKind, AuditEvent, Entry, Hold, Journal
from accounts.services.alerts import acknowledge_alert, raise_alert
from accounts.services.audit import record_audit
from accounts.services.tokens import create_token
from tasks.progress import create_run
from tests.desk import ETHER, NOW, Desk, credit, make_account, make_user, make_wallet
from tests.staff import Staff, make_staff

pytestmark = pytest.mark.django_db


@pytest.fixture
def superuser(db: None) -> Staff:
    return make_staff(is_superuser=True)


@pytest.fixture
def desk(db: None) -> Desk:
    return Desk()


def address(label: str) -> str:
    return reverse(f"admin:{label.replace('.', '_')}_changelist")


def queries(staff: Staff, url: str, **parameters: str) -> list[str]:
    """Return the statements that a page costs."""
    with CaptureQueriesContext(connection) as captured:
        assert staff.client.get(url, parameters).status_code == 200
    return [query["sql"] for query in captured]


def make_rows(label: str, count: int, desk: Desk) -> None:
    """Make that many rows of a kind, each with an owner, account and so on of its own."""
    for number in range(count):
        user = make_user()
        match label:
            case "accounts.user":
                user.groups.set(Group.objects.all())
            case "accounts.apitoken":
                create_token(user=user, name="till")
            case "accounts.auditevent":
                record_audit(actor=user, action="user.waved", target=user)
            case "accounts.alert":
                raise_alert(kind=AlertKind.NODE, subject=f"{user}", message="m", now=NOW)
                acknowledge_alert(actor=user, alert_id=Alert.objects.latest("pk").pk, now=NOW)
            case "tasks.taskrun":
                create_run(name="Count sheep", owner=user, total=9)
            case "transactions.wallet":
                make_wallet(f"0x{len(label):02}{number:038}", balance_in_wei=ETHER)
            case "transactions.transaction":
                desk.accept(account=make_account(user, balance_in_wei=2 * ETHER))
            case "accounts.hold":
                account = make_account(user, balance_in_wei=ETHER)
                place_hold(account_id=account.pk, amount_in_wei=1, kind="test", source=str(account.pk), now=NOW)
            case _:
                make_account(user, balance_in_wei=ETHER)


@pytest.mark.parametrize(
    "label",
    [
        "accounts.user",
        "accounts.account",
        "accounts.journal",
        "accounts.entry",
        "accounts.hold",
        "accounts.apitoken",
        "accounts.auditevent",
        "accounts.alert",
        "tasks.taskrun",
        "transactions.transaction",
    ],
)
@pytest.mark.parametrize("group", [None, "operators"])
def test_a_list_of_fifty_costs_what_a_list_of_five_costs(desk: Desk, label: str, group: str | None) -> None:
    staff = make_staff(group, is_superuser=group is None)
    make_rows(label, 5, desk)
    few = queries(staff, address(label))
    make_rows(label, 45, desk)
    many = queries(staff, address(label))
    assert len(many) == len(few), many[-1]
    assert len(few) <= 8


def test_a_list_of_wallets_costs_the_same_too(superuser: Staff, desk: Desk) -> None:
    few = queries(superuser, address("transactions.wallet"))
    for number in range(20):
        make_wallet(f"0x{number:040}", balance_in_wei=ETHER)
    assert len(queries(superuser, address("transactions.wallet"))) == len(few)


def test_a_journals_page_costs_the_same_however_many_entries(superuser: Staff) -> None:
    account = make_account(balance_in_wei=ETHER)
    journal = Journal.objects.get()
    page = reverse("admin:accounts_journal_change", args=[journal.pk])
    few = queries(superuser, page)
    Entry.objects.bulk_create(
        [
            Entry(journal=journal, account=row, amount_in_wei=amount, balance_after_in_wei=0)
            for row in [make_account() for _ in range(10)]
            for amount in (1, -1)
        ]
    )
    assert len(queries(superuser, page)) == len(few)
    assert f"Main (#{account.pk})" in superuser.client.get(page).content.decode()


def test_no_list_counts_a_whole_table(superuser: Staff, desk: Desk) -> None:
    for label in ("accounts.entry", "transactions.transaction", "accounts.auditevent", "accounts.account"):
        counts = [sql for sql in queries(superuser, address(label)) if "COUNT(" in sql]
        assert counts, label
        assert all("LIMIT 10001" in sql for sql in counts), counts


def test_beyond_the_cap_it_says_more_than(superuser: Staff, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "COUNTED_MAX", 3)
    for _ in range(3):
        make_account()
    assert "more than" not in superuser.client.get(address("accounts.account")).content.decode()
    make_account()
    page = superuser.client.get(address("accounts.account")).content.decode()
    assert "more than 3 accounts" in " ".join(page.split())


def test_a_journal_shows_its_entries(superuser: Staff) -> None:
    account = make_account(balance_in_wei=3 * ETHER)
    journal = Journal.objects.get()
    page = superuser.client.get(reverse("admin:accounts_journal_change", args=[journal.pk])).content.decode()
    assert "3 ETH" in page
    assert "-3 ETH" in page
    assert reverse("admin:accounts_account_change", args=[account.pk]) in page


Find = Callable[[str, str], list[Any]]


@pytest.fixture
def find(superuser: Staff) -> Find:
    """Search a list."""

    def search(label: str, term: str) -> list[Any]:
        return list(superuser.client.get(address(label), {"q": term}).context["cl"].result_list)

    return search


def test_journals_and_entries_are_found(find: Find) -> None:
    account, other = make_account(balance_in_wei=ETHER), make_account(balance_in_wei=ETHER)
    credit(account, 1)
    newest = Journal.objects.order_by("-id")[0]
    assert find("accounts.journal", newest.source) == [newest]
    assert find("accounts.journal", f"#{newest.pk}") == [newest]
    assert find("accounts.journal", "nothing like it") == []
    assert find("accounts.entry", str(account.pk)) == list(Entry.objects.filter(account=account))
    assert find("accounts.entry", "abc") == []
    assert {entry.account_id for entry in find("accounts.entry", f"#{other.pk}")} == {other.pk}


def test_holds_are_found_by_account_and_payment(find: Find, desk: Desk) -> None:
    row = desk.accept()
    (hold,) = Hold.objects.all()
    assert find("accounts.hold", f"#{desk.account.pk}") == [hold]
    assert find("accounts.hold", str(row.pk)) == [hold]
    assert find("accounts.hold", "999999") == []


def test_events_are_found_by_action_actor_and_target(find: Find) -> None:
    actor, account = make_user("officer"), make_account()
    event = record_audit(actor=actor, action="account.frozen", target=account)
    record_audit(actor=None, action="group.changed", target=make_account())
    assert find("accounts.auditevent", "account.fr") == [event]
    assert find("accounts.auditevent", "officer") == [event]
    assert event in find("accounts.auditevent", f"#{account.pk}")
    assert all(row.target_id == str(account.pk) for row in find("accounts.auditevent", f"#{account.pk}"))


def test_an_accounts_trail_is_its_own(superuser: Staff) -> None:
    account, other = make_account(), make_account()
    for row in (account, other):
        record_audit(actor=None, action="account.frozen", target=row)
    page = superuser.client.get(reverse("admin:accounts_account_change", args=[account.pk])).content.decode()
    trail = f"{address('accounts.auditevent')}?target_type=accounts.account&target_id={account.pk}"
    assert trail.replace("&", "&amp;") in page
    (event,) = superuser.client.get(trail).context["cl"].result_list
    assert event.target_id == str(account.pk)


def test_an_event_about_something_unknown_is_shown(superuser: Staff) -> None:
    AuditEvent.objects.create(actor=None, action="ship.sunk", target_type="fleet.ship", target_id="7")
    assert "fleet.ship 7" in superuser.client.get(address("accounts.auditevent")).content.decode()


def test_what_people_write_is_shown_as_they_wrote_it(superuser: Staff) -> None:
    account = make_account(name="<script>alert(1)</script>")
    Account.objects.filter(pk=account.pk).update(frozen_at=NOW, frozen_reason="<b>bold</b>")
    record_audit(actor=None, action="account.frozen", target=account, reason="<i>r</i>", details={"a": "<u>d</u>"})
    for url in (address("accounts.account"), address("accounts.auditevent")):
        page = superuser.client.get(url).content.decode()
        for tag in ("<script>alert", "<b>bold", "<i>r", "<u>d"):
            assert tag not in page
