"""Numbers after a restore: none that the lost rows had is given out again.

Deposit addresses are derived from accounts' numbers, so a new account with a lost one's number would be credited with
what others pay to that one's address; and people have payments' numbers in their mail.
"""

from dataclasses import dataclass

from django.apps import apps
from django.db import connection, models

from accounts.keys import DEPOSIT_NUMBER_MAX, UnderivableKeyError
from accounts.models import Account

AHEAD = 1_000_000
"""More rows than any desk makes between its last backup and the day that it is restored."""

APPS = ("accounts", "transactions")


@dataclass(frozen=True, slots=True)
class Sequence:
    """What a model's rows are numbered by."""

    model: type[models.Model]
    name: str
    next_id: int


def move_numbers_ahead() -> list[Sequence]:
    """Let each numbered model go on 1,000,000 above its highest number so far; return where each does.

    Once more, it moves them once more: that does no harm.

    :raises UnderivableKeyError: when accounts would get numbers without a deposit address; nothing is moved then.
    """
    numbered = [model for label in APPS for model in apps.get_app_config(label).get_models() if model._meta.auto_field]
    sequences = [_ahead(model) for model in numbered]
    for sequence in sequences:
        if sequence.model is Account and sequence.next_id > DEPOSIT_NUMBER_MAX:
            raise UnderivableKeyError(
                f"Accounts would go on from {sequence.next_id}, and deposit addresses end at {DEPOSIT_NUMBER_MAX} "
                "(BIP-32). Nothing was moved."
            )
    with connection.cursor() as cursor:
        for sequence in sequences:
            # The third argument: this very number is the next one.
            cursor.execute("SELECT setval(%s::regclass, %s, FALSE)", [sequence.name, sequence.next_id])
    return sequences


def _ahead(model: type[models.Model]) -> Sequence:
    table, column = model._meta.db_table, model._meta.pk.column
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_get_serial_sequence(%s, %s)", [table, column])
        (name,) = cursor.fetchone()
        cursor.execute(f"SELECT greatest((SELECT last_value FROM {name}), (SELECT max({column}) FROM {table}))")  # noqa: S608
        (highest,) = cursor.fetchone()
    return Sequence(model, name, highest + AHEAD)
