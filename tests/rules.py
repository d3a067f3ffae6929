"""The database's own rules: which there are, and seeing one of them refuse."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import IntegrityError, connection
from django.db import transaction as db_transaction

DJANGOS_OWN_TABLES = ["accounts_user", "accounts_user_groups", "accounts_user_user_permissions"]

_RULES = """
WITH tables AS (
    SELECT oid FROM pg_class
    WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'
      AND starts_with(relname, %(prefix)s) AND relname <> ALL(%(others)s)
)
SELECT conname FROM pg_constraint WHERE conrelid IN (TABLE tables) AND contype NOT IN ('n', 'p', 'f')
UNION
SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid IN (TABLE tables) AND indisunique AND NOT indisprimary
UNION
SELECT tgname FROM pg_trigger WHERE tgrelid IN (TABLE tables) AND NOT tgisinternal
"""


def rules_of(app: str) -> set[str]:
    """Return the names of all CHECKs, unique constraints and indexes, and triggers on an app's tables.

    Not NULL, primary and foreign keys are left out: they have no names of ours.
    """
    with connection.cursor() as cursor:
        cursor.execute(_RULES, {"prefix": f"{app}_", "others": DJANGOS_OWN_TABLES})
        return {row[0] for row in cursor.fetchall()}


@contextmanager
def refused_by(name: str) -> Iterator[None]:
    """Check that the database refuses what the block does, by the rule of this name and no other."""
    # TRUNCATE wants the deferred checks of foreign keys to have been made.
    connection.check_constraints()
    with pytest.raises(IntegrityError) as refusal, db_transaction.atomic():
        yield
    diagnosis = getattr(refusal.value.__cause__, "diag", None)
    assert getattr(diagnosis, "constraint_name", None) == name


def execute(statement: str, *parameters: int) -> None:
    """Run a statement as somebody would who goes round the code."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
