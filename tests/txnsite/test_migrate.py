"""Migrations take as long as a large table needs; who waits for a lock gives up, but for an index made concurrently."""

from typing import Any

import pytest
from django.core.management import call_command, get_commands, load_command_class
from django.core.management.base import BaseCommand
from django.db import OperationalError, connection, connections
from django.db.migrations import Migration, RunPython
from django.db.migrations.executor import MigrationExecutor

NAMES = ("statement_timeout", "idle_in_transaction_session_timeout", "lock_timeout")
USUAL = ["30s", "1min", "5s"]


def limits() -> list[str]:
    shown = []
    with connection.cursor() as cursor:
        for name in NAMES:
            cursor.execute(f"SHOW {name}")
            shown.append(cursor.fetchone()[0])
    return shown


def run(migration: Migration, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `migrate` apply one migration of ours, as it applies those on disk, and forget that it did."""

    def apply(self: MigrationExecutor, _targets: Any, *, state: Any, **_options: Any) -> Any:
        return self.apply_migration(state, migration)

    monkeypatch.setattr(MigrationExecutor, "migration_plan", lambda *_, **__: [(migration, False)])
    monkeypatch.setattr(MigrationExecutor, "migrate", apply)
    monkeypatch.setattr(MigrationExecutor, "record_migration", lambda *_: None)
    call_command("migrate", verbosity=0, interactive=False)


def migration_of(*seen: Any, atomic: bool) -> Migration:
    # As a migration's file does, which Django reads the class from.
    kind = type("Late", (Migration,), {"atomic": atomic, "operations": [RunPython(action) for action in seen]})
    migration: Migration = kind("a_late_one", "accounts")
    return migration


def test_it_is_the_command_that_runs() -> None:
    command: BaseCommand = load_command_class(get_commands()["migrate"], "migrate")
    assert type(command).__module__ == "txnsite.management.commands.migrate"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("atomic", "lock_timeout"), [(True, "5s"), (False, "0")])
def test_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch, atomic: bool, lock_timeout: str) -> None:
    assert limits() == USUAL
    seen: list[list[str]] = []
    run(migration_of(lambda *_: seen.append(limits()), atomic=atomic), monkeypatch)
    assert seen == [["0", "0", lock_timeout]]
    assert limits() == USUAL


@pytest.mark.django_db(transaction=True)
def test_afterwards_all_is_as_before_though_it_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def wait_for_it(*_: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLE accounts_alert IN ACCESS EXCLUSIVE MODE")

    monkeypatch.setattr("txnsite.management.commands.migrate.LOCK_TIMEOUT_SECONDS", 1)
    other = connections.create_connection("default")
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("LOCK TABLE accounts_alert IN ACCESS SHARE MODE")
        with pytest.raises(OperationalError, match="lock timeout"):
            run(migration_of(wait_for_it, atomic=True), monkeypatch)
    finally:
        other.close()
    assert limits() == USUAL
