"""Accounts are opened, frozen and unfrozen, each with an audit event and, where it stops somebody, a reason."""

import pytest

from accounts.exceptions import (
    AccountAlreadyFrozenError,
    AccountFrozenError,
    AccountNotFoundError,
    AccountNotFrozenError,
    BadAccountNameError,
    ReasonRequiredError,
)
from accounts.ledger import place_hold, system_account
from accounts.models import Account, AccountKind, AuditEvent, User
from accounts.services.accounts import freeze_account, open_account, unfreeze_account
from tests.desk import NOW, make_user
from tests.staff import balances, events


@pytest.fixture
def actor(db: None) -> User:
    return make_user("officer")


def hold_one_wei(account: Account) -> None:
    place_hold(account_id=account.pk, amount_in_wei=1, kind="payment", source="1", now=NOW)


def test_an_opened_account_is_empty_and_recorded(actor: User) -> None:
    owner = make_user("bob")
    account = open_account(owner=owner, name="  Savings ", actor=actor)
    account.refresh_from_db()
    assert (account.name, account.owner, account.kind, account.is_frozen) == ("Savings", owner, "user", False)
    assert balances(account) == (0, 0)
    (event,) = events("account.opened")
    assert (event.actor, event.target_type, event.target_id) == (actor, "accounts.account", str(account.pk))
    assert event.details == {"owner": "bob", "name": "Savings"}


@pytest.mark.parametrize("name", ["", "   ", "x" * 101])
def test_an_account_needs_a_name(actor: User, name: str) -> None:
    with pytest.raises(BadAccountNameError):
        open_account(owner=actor, name=name)
    assert not Account.objects.filter(owner=actor).exists()
    assert not AuditEvent.objects.exists()


def test_a_frozen_account_pays_nobody_until_it_is_unfrozen(alice: Account, actor: User) -> None:
    freeze_account(actor=actor, account_id=alice.pk, reason="Lost phone")
    with pytest.raises(AccountFrozenError):
        hold_one_wei(alice)
    unfreeze_account(actor=actor, account_id=alice.pk, reason="Phone found")
    hold_one_wei(alice)
    current, available = balances(alice)
    assert current - available == 1


def test_freezing_keeps_when_and_why(alice: Account, actor: User) -> None:
    freeze_account(actor=actor, account_id=alice.pk, reason="  Court order\n 4711 ")
    alice.refresh_from_db()
    assert alice.is_frozen
    assert alice.frozen_reason == "Court order 4711"
    (event,) = events("account.frozen")
    assert (event.actor, event.target_id, event.reason) == (actor, str(alice.pk), "Court order 4711")


def test_unfreezing_records_what_it_ended(alice: Account, actor: User) -> None:
    freeze_account(actor=actor, account_id=alice.pk, reason="Lost phone")
    alice.refresh_from_db()
    frozen_at = alice.frozen_at
    unfreeze_account(actor=actor, account_id=alice.pk, reason="Phone found")
    alice.refresh_from_db()
    assert (alice.is_frozen, alice.frozen_reason) == (False, "")
    (event,) = events("account.unfrozen")
    assert frozen_at is not None
    assert event.reason == "Phone found"
    assert event.details == {"frozen_at": frozen_at.isoformat(), "frozen_reason": "Lost phone"}


def test_a_second_freeze_does_not_replace_the_first_reason(alice: Account, actor: User) -> None:
    freeze_account(actor=actor, account_id=alice.pk, reason="Court order")
    with pytest.raises(AccountAlreadyFrozenError, match="Court order"):
        freeze_account(actor=actor, account_id=alice.pk, reason="By mistake")
    alice.refresh_from_db()
    assert alice.frozen_reason == "Court order"
    assert len(events("account.frozen")) == 1


def test_an_account_in_use_cannot_be_unfrozen(alice: Account, actor: User) -> None:
    with pytest.raises(AccountNotFrozenError):
        unfreeze_account(actor=actor, account_id=alice.pk, reason="Why not")
    assert events("account.unfrozen") == []


@pytest.mark.parametrize("reason", ["", " \n ", "x" * 501])
def test_freezing_needs_a_reason(alice: Account, actor: User, reason: str) -> None:
    with pytest.raises(ReasonRequiredError):
        freeze_account(actor=actor, account_id=alice.pk, reason=reason)
    alice.refresh_from_db()
    assert not alice.is_frozen
    assert events("account.frozen") == []


def test_the_desks_own_accounts_and_missing_ones_are_not_frozen(actor: User) -> None:
    for account_id in (system_account(AccountKind.FEE_INCOME).pk, 10**9, 2**70):
        with pytest.raises(AccountNotFoundError):
            freeze_account(actor=actor, account_id=account_id, reason="Try")
    assert not Account.objects.filter(frozen_at__isnull=False).exists()
