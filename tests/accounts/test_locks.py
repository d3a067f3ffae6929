"""Advisory locks: one holder across sessions, nobody blocked by the dead."""

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from django.db import OperationalError, connection, connections
from django.db import transaction as db_transaction

from accounts import locks
from accounts.locks import advisory_lock, lock_until_commit

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def elsewhere() -> Iterator[Callable[[Callable[[], object]], object]]:
    """Run functions in another session, one after the other."""
    with ThreadPoolExecutor(1) as thread:

        def run(function: Callable[[], object]) -> object:
            return thread.submit(function).result(timeout=20)

        yield run
        thread.submit(connections.close_all).result(timeout=20)


Elsewhere = Callable[[Callable[[], object]], object]


def is_free(name: str, key: int = 0) -> bool:
    with advisory_lock(name, key) as is_mine:
        return is_mine


def test_one_holder_at_a_time(elsewhere: Elsewhere) -> None:
    with advisory_lock("work") as is_mine:
        assert is_mine
        assert elsewhere(lambda: is_free("work")) is False
    assert elsewhere(lambda: is_free("work")) is True


def test_names_and_keys_do_not_meet(elsewhere: Elsewhere) -> None:
    with advisory_lock("work", 1):
        assert elsewhere(lambda: is_free("work", 2)) is True
        assert elsewhere(lambda: is_free("work")) is True
        assert elsewhere(lambda: is_free("other", 1)) is True
        assert elsewhere(lambda: is_free("work", 1)) is False


def test_a_loser_does_not_free_the_winners_lock(elsewhere: Elsewhere, caplog: pytest.LogCaptureFixture) -> None:
    with advisory_lock("work"):
        elsewhere(lambda: is_free("work"))
        assert elsewhere(lambda: is_free("work")) is False
    assert caplog.text == "", "nor does it try to"


def test_an_error_inside_frees_it(elsewhere: Elsewhere) -> None:
    with pytest.raises(ZeroDivisionError), advisory_lock("work"):
        raise ZeroDivisionError
    assert elsewhere(lambda: is_free("work")) is True


def test_a_session_that_ends_lets_go(elsewhere: Elsewhere) -> None:
    holds, may_die = threading.Event(), threading.Event()

    def hold_and_die() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            victims.append(cursor.fetchone()[0])
        try:
            with advisory_lock("work") as is_mine:
                assert is_mine
                holds.set()
                assert may_die.wait(20)
                with pytest.raises(OperationalError), connection.cursor() as cursor:
                    cursor.execute("SELECT 1")
        finally:
            connections.close_all()

    victims: list[int] = []
    thread = threading.Thread(target=hold_and_die)
    thread.start()
    assert holds.wait(20)
    assert elsewhere(lambda: is_free("work")) is False
    with connection.cursor() as cursor:
        # It waits until the session has ended.
        cursor.execute("SELECT pg_terminate_backend(%s, 10000)", victims)
    assert elsewhere(lambda: is_free("work")) is True
    may_die.set()
    thread.join(20)
    assert elsewhere(lambda: is_free("work")) is True


def test_one_that_hangs_loses_its_lock_and_its_session(elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch) -> None:
    def wait_for_it() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '15s'")
            cursor.execute("SELECT pg_advisory_lock(%s)", [locks._lock_id("work", 0)])

    monkeypatch.setattr(locks, "HOLDER_SILENT_SECONDS_MAX", 1)
    with advisory_lock("work") as is_mine:
        assert is_mine
        elsewhere(wait_for_it)
        with pytest.raises(OperationalError), connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    elsewhere(connections.close_all)


def test_nobody_else_is_cut_off_for_saying_nothing(elsewhere: Elsewhere) -> None:
    def limit() -> str:
        with connection.cursor() as cursor:
            cursor.execute("SHOW idle_session_timeout")
            return str(cursor.fetchone()[0])

    with advisory_lock("work"):
        assert limit() == "5min"
        elsewhere(lambda: is_free("work"))
        assert elsewhere(limit) == "0"
    assert limit() == "0"


def test_a_replaced_connection_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "accounts.locks"), advisory_lock("work"):
        connection.close()
    assert "lost while it was needed" in caplog.text
    caplog.clear()
    with advisory_lock("work"):
        pass
    assert caplog.text == ""


def test_a_lock_until_commit_waits_for_the_holders_commit(elsewhere: Elsewhere) -> None:
    def try_it() -> bool:
        with db_transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '50ms'")
            try:
                with db_transaction.atomic():
                    lock_until_commit("work", 1)
            except OperationalError:
                return False
            return True

    with db_transaction.atomic():
        lock_until_commit("work", 1)
        assert elsewhere(try_it) is False
        with contextmanager_of_another_key():
            pass
    assert elsewhere(try_it) is True


@contextmanager
def contextmanager_of_another_key() -> Iterator[None]:
    lock_until_commit("work", 2)
    yield
