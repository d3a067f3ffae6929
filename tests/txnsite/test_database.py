"""Connections that are of no use any more are let go of: those to a server that lets nobody write, and closed ones."""

import copy
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import OperationalError, connection
from django.db import transaction as db_transaction

from tests.api.callers import Caller, problem_of
from transactions.models import Transaction
from txnsite.celery import _drop_dead_connections
from txnsite.database.base import DatabaseWrapper
from txnsite.database.settings import database_settings
from txnsite.env import running_env
from txnsite.stack.layout import REPOSITORY

pytestmark = pytest.mark.django_db(transaction=True)


def backend_of(session: Any) -> int:
    with session.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def let_it_only_read(session: Any) -> int:
    """Let a session be as one with a standby, and return its backend."""
    with session.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
    return backend_of(session)


def end_backend(pid: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        assert cursor.fetchone() == (True,)


@pytest.fixture
def pooled() -> Iterator[DatabaseWrapper]:
    """A process's database with a pool of one connection."""
    settings = copy.deepcopy(connection.settings_dict)
    settings["CONN_MAX_AGE"], settings["CONN_HEALTH_CHECKS"] = 0, False
    settings["OPTIONS"]["pool"] = {"min_size": 1, "max_size": 1, "timeout": 5}
    session = DatabaseWrapper(settings, "pooled")
    yield session
    session.close()
    session.close_pool()


class TestReadOnly:
    def test_who_pays_is_asked_to_try_again_and_is_served_then(self) -> None:
        caller = Caller()
        let_it_only_read(connection)
        response = caller.pay()
        assert problem_of(response, 503)["code"] == "database_unavailable"
        assert int(response["Retry-After"]) >= 1
        _drop_dead_connections()
        assert Transaction.objects.count() == 0
        assert caller.pay().status_code == 201

    def test_the_next_task_has_another_connection(self) -> None:
        before = let_it_only_read(connection)
        with pytest.raises(OperationalError, match="read-only"):
            Group.objects.create(name="new")
        _drop_dead_connections()
        assert backend_of(connection) != before
        Group.objects.create(name="new")

    @pytest.mark.parametrize("savepoint", [False, True])
    def test_also_where_it_is_found_out_within_a_database_transaction(self, savepoint: bool) -> None:
        before = let_it_only_read(connection)
        inner = db_transaction.atomic() if savepoint else nullcontext()
        with pytest.raises(OperationalError, match="read-only"), db_transaction.atomic(), inner:
            Group.objects.create(name="new")
        assert backend_of(connection) != before
        Group.objects.create(name="new")

    def test_the_pool_gives_it_to_nobody_else(self, pooled: DatabaseWrapper) -> None:
        before = let_it_only_read(pooled)
        with suppress(OperationalError), pooled.cursor() as cursor:
            cursor.execute("INSERT INTO auth_group (name) VALUES ('new')")
        pooled.close()
        assert backend_of(pooled) != before


class TestPool:
    def test_a_connection_in_order_is_used_again(self, pooled: DatabaseWrapper) -> None:
        before = backend_of(pooled)
        pooled.close()
        assert backend_of(pooled) == before

    def test_one_that_the_server_has_closed_is_given_to_nobody(self, pooled: DatabaseWrapper) -> None:
        before = backend_of(pooled)
        pooled.close()
        end_backend(before)
        assert backend_of(pooled) != before


class TestKeptAlive:
    """A machine that is gone says nothing; each side notices by itself, and so its locks are free."""

    def options_of(self, monkeypatch: pytest.MonkeyPatch, url: str) -> dict[str, Any]:
        monkeypatch.setenv("DATABASE_URL", url)
        options: dict[str, Any] = database_settings(running_env(REPOSITORY), "txnsite.database")["OPTIONS"]
        return options

    def test_by_the_server_and_by_us(self, monkeypatch: pytest.MonkeyPatch) -> None:
        options = self.options_of(monkeypatch, "postgresql://user@db.example/txnsite")
        assert options["options"].endswith(
            "-c tcp_keepalives_idle=10s -c tcp_keepalives_interval=5s -c tcp_keepalives_count=3 -c tcp_user_timeout=25s"
        )
        ours = ("keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout")
        assert [options[name] for name in ours] == [10, 5, 3, 25_000]

    def test_as_the_url_says(self, monkeypatch: pytest.MonkeyPatch) -> None:
        options = self.options_of(monkeypatch, "postgresql://user@db.example/txnsite?keepalives_idle=60")
        assert options["keepalives_idle"] == "60"
        assert options["keepalives_count"] == 3
