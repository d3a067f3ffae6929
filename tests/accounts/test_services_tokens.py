"""API tokens: recognised fast, and refused the moment they are revoked, whatever dies and when."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.db import transaction as db_transaction

from accounts.cache import cache_commands
from accounts.exceptions import BadTokenNameError, TokenNotFoundError
from accounts.models import ApiToken, AuditEvent, User
from accounts.services import tokens
from accounts.services.tokens import (
    NewToken,
    TokenOwner,
    announce_user_change,
    authenticate,
    create_token,
    revoke_token,
)
from tests.caches import raw_cache, take_cache_down
from tests.desk import make_user


@pytest.fixture
def token(db: None) -> NewToken:
    """A token of a new user."""
    return create_token(user=make_user(), name="shop")


def owner_of(token: NewToken) -> TokenOwner:
    """Return who should be recognised."""
    return TokenOwner(token_id=token.row.pk, user_id=token.row.user_id)


def test_a_token_is_recognised_and_kept_hashed(token: NewToken) -> None:
    assert token.text.startswith("txn_")
    assert len(token.text) == 47
    assert authenticate(token.text) == owner_of(token)
    row = ApiToken.objects.values().get()
    assert token.text not in str(row)
    assert token.text not in repr(token)
    assert row["start"] == token.text[:12]
    event = AuditEvent.objects.get()
    assert (event.action, event.target_id) == ("token.created", str(token.row.pk))
    assert token.text not in str(event.details)


def test_no_two_tokens_are_the_same(db: None) -> None:
    user = make_user()
    assert len({create_token(user=user, name="x").text for _ in range(50)}) == 50


@pytest.mark.parametrize("name", ["", "  ", "x" * 101])
def test_a_token_needs_a_name(db: None, name: str) -> None:
    with pytest.raises(BadTokenNameError):
        create_token(user=make_user(), name=name)
    assert not ApiToken.objects.exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: text[:-1],
        lambda text: text + "a",
        lambda text: text + "\n",
        lambda text: text.upper(),
        lambda text: text.removeprefix("txn_"),
        lambda text: text[:-1] + "é",
        lambda text: "txn_" + "a" * 43,
    ],
)
def test_other_texts_are_nobody(token: NewToken, change: Callable[[str], str]) -> None:
    assert authenticate(change(token.text)) is None


def test_a_text_that_can_be_no_token_is_not_even_looked_up(django_assert_num_queries: Any, db: None) -> None:
    with django_assert_num_queries(0):
        assert authenticate("hello") is None


def test_the_second_time_no_query_is_needed(token: NewToken, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        authenticate(token.text)
    with django_assert_num_queries(0):
        assert authenticate(token.text) == owner_of(token)


def test_guesses_are_not_remembered(db: None, django_assert_num_queries: Any) -> None:
    for _ in range(2):
        with django_assert_num_queries(1):
            authenticate("txn_" + "a" * 43)


# --- Revoked ----------------------------------------------------------------------------------------------------------
def test_a_revoked_token_is_refused_at_once(token: NewToken) -> None:
    assert authenticate(token.text) is not None
    assert revoke_token(actor=None, token_id=token.row.pk, reason="lost") is True
    assert authenticate(token.text) is None
    token.row.refresh_from_db()
    assert token.row.revoked_at is not None
    event = AuditEvent.objects.get(action="token.revoked")
    assert (event.target_id, event.reason) == (str(token.row.pk), "lost")


def test_revoking_again_does_nothing(token: NewToken) -> None:
    revoke_token(actor=None, token_id=token.row.pk)
    token.row.refresh_from_db()
    first = token.row.revoked_at
    revoke_token(actor=None, token_id=token.row.pk)
    token.row.refresh_from_db()
    assert token.row.revoked_at == first
    assert AuditEvent.objects.filter(action="token.revoked").count() == 1


def test_no_such_token(db: None) -> None:
    with pytest.raises(TokenNotFoundError):
        revoke_token(actor=None, token_id=987_654_321)


def test_other_tokens_live_on(token: NewToken) -> None:
    other = create_token(user=token.row.user, name="other")
    authenticate(other.text)
    revoke_token(actor=None, token_id=token.row.pk)
    assert authenticate(other.text) == owner_of(other)


def test_an_answer_read_before_the_revocation_is_never_remembered_after_it(
    token: NewToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader has the row in hand, somebody revokes, the reader goes on to remember what it read."""
    read_row = tokens._from_database

    def read_then_revoke(token_hash: str) -> TokenOwner | None:
        owner = read_row(token_hash)
        monkeypatch.setattr(tokens, "_from_database", read_row)
        revoke_token(actor=None, token_id=token.row.pk)
        return owner

    monkeypatch.setattr(tokens, "_from_database", read_then_revoke)
    assert authenticate(token.text) == owner_of(token)  # it was asked before
    assert authenticate(token.text) is None


def test_a_process_that_dies_before_its_commit_has_revoked_nothing(token: NewToken) -> None:
    authenticate(token.text)
    with suppress(KeyboardInterrupt), db_transaction.atomic():
        revoke_token(actor=None, token_id=token.row.pk)
        raise KeyboardInterrupt
    assert ApiToken.objects.get().revoked_at is None
    assert authenticate(token.text) == owner_of(token)


def test_a_process_that_dies_right_after_its_commit_has_revoked_for_good(
    token: NewToken, django_capture_on_commit_callbacks: Any
) -> None:
    authenticate(token.text)
    # Whatever was to be done after the commit is not done.
    with django_capture_on_commit_callbacks(execute=False):
        revoke_token(actor=None, token_id=token.row.pk)
    assert authenticate(token.text) is None


@pytest.mark.django_db(transaction=True)
def test_a_barrier_that_the_cache_has_lost_before_the_commit_is_not_missed(token: NewToken) -> None:
    """The cache is emptied in between, and a reader remembers what is about to be revoked."""

    def read_in_another_process() -> None:
        try:
            assert authenticate(token.text) == owner_of(token)
        finally:
            connections.close_all()

    with db_transaction.atomic():
        revoke_token(actor=None, token_id=token.row.pk)
        raw_cache().flushdb()
        with ThreadPoolExecutor(1) as reader:
            reader.submit(read_in_another_process).result(20)
    assert authenticate(token.text) is None


def test_the_barrier_outlives_every_entry() -> None:
    assert tokens.BARRIER_SECONDS > tokens.CACHE_SECONDS > tokens.LEASE_SECONDS


# --- Users ------------------------------------------------------------------------------------------------------------
def test_a_deactivated_user_is_refused_at_once_and_let_in_again(token: NewToken) -> None:
    assert authenticate(token.text) is not None
    for is_active in (False, True):
        with db_transaction.atomic():
            User.objects.filter(pk=token.row.user_id).update(is_active=is_active)
            announce_user_change(token.row.user_id)
        assert (authenticate(token.text) is not None) is is_active


# --- Without a cache --------------------------------------------------------------------------------------------------
def test_without_a_cache_the_database_is_asked(token: NewToken, monkeypatch: pytest.MonkeyPatch) -> None:
    take_cache_down(monkeypatch)
    assert authenticate(token.text) == owner_of(token)
    assert revoke_token(actor=None, token_id=token.row.pk) is False
    assert authenticate(token.text) is None


def test_revoking_tries_the_cache_even_while_it_is_left_alone(token: NewToken, monkeypatch: pytest.MonkeyPatch) -> None:
    authenticate(token.text)
    monkeypatch.setattr(cache_commands(), "_silent_until", time.monotonic() + 60)
    assert revoke_token(actor=None, token_id=token.row.pk) is True
    monkeypatch.setattr(cache_commands(), "_silent_until", 0.0)
    assert authenticate(token.text) is None


# --- The command ------------------------------------------------------------------------------------------------------
def test_the_command_prints_the_token_once(db: None, capsys: pytest.CaptureFixture[str]) -> None:
    user = make_user("demo")
    call_command("create_api_token", "demo", "--name", "till 4")
    printed = capsys.readouterr()
    owner = authenticate(printed.out.strip())
    assert owner is not None
    assert owner.user_id == user.pk
    assert ApiToken.objects.get().name == "till 4"
    assert "till 4" in printed.err
    assert printed.out.strip() not in printed.err


def test_the_command_makes_none_for_nobody(db: None) -> None:
    User.objects.filter(pk=make_user("gone").pk).update(is_active=False)
    for username in ("nobody", "gone"):
        with pytest.raises(CommandError):
            call_command("create_api_token", username)
    with pytest.raises(CommandError):
        call_command("create_api_token", make_user("demo").username, "--name", " ")
    assert not ApiToken.objects.exists()
