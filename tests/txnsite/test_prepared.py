"""Statements that the server keeps planned: planned once a connection, and in all else like any other."""

import pytest
from django.db import DataError, IntegrityError, connection
from django.db import transaction as db_transaction
from django.db.transaction import TransactionManagementError

from accounts.models import User
from txnsite.database.prepared import fetch_prepared


def kept() -> list[tuple[str, int]]:
    """Return the statements that the server keeps for this connection, and how often each was run."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement, generic_plans + custom_plans FROM pg_prepared_statements ORDER BY 1")
        return list(cursor.fetchall())


@pytest.mark.django_db(transaction=True)
def test_it_is_planned_once_and_nothing_else_is() -> None:
    connection.close()
    for number in range(10):
        assert fetch_prepared("SELECT %s::numeric + 1", [str(number)]) == [(number + 1,)]
        assert User.objects.count() == 0
    assert kept() == [("SELECT $1::numeric + 1", 10)]


@pytest.mark.django_db
def test_named_parameters_may_come_twice() -> None:
    assert fetch_prepared("SELECT %(a)s::text || %(a)s::text || %(b)s::text", {"a": "x", "b": "y"}) == [("xxy",)]


@pytest.mark.django_db
def test_its_errors_are_djangos_and_undo_no_more_than_their_block() -> None:
    User.objects.create(username="somebody")
    with pytest.raises(IntegrityError) as caught, db_transaction.atomic():
        fetch_prepared("UPDATE accounts_user SET username = NULL WHERE username = %s::text RETURNING id", ["somebody"])
    assert caught.value.__cause__.diag.column_name == "username"  # type: ignore[union-attr]
    with pytest.raises(DataError), db_transaction.atomic():
        fetch_prepared("SELECT 1 / %s::int", [0])
    assert User.objects.count() == 1


@pytest.mark.django_db
def test_nothing_runs_in_a_transaction_that_has_failed() -> None:
    with db_transaction.atomic():
        db_transaction.set_rollback(True)
        with pytest.raises(TransactionManagementError):
            fetch_prepared("SELECT 1", [])


@pytest.mark.django_db(transaction=True)
def test_it_is_part_of_the_transaction_around_it() -> None:
    User.objects.create(username="somebody")
    with db_transaction.atomic():
        fetch_prepared("UPDATE accounts_user SET first_name = %s::text RETURNING id", ["x"])
        db_transaction.set_rollback(True)
    assert User.objects.get().first_name == ""
