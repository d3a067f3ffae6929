"""`manage.py after_restore`: no number of a lost row, and no lost account's deposit address, is given out again."""

from collections.abc import Iterator

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from tests.desk import Desk, make_account, make_address, make_user
from tests.transactions.test_services_verify import behind_the_desks_back
from transactions.services.deposit_addresses import deposit_address_of

ACCOUNTS = "accounts_account_id_seq"


@pytest.fixture(autouse=True)
def sequences_as_before(db: None) -> Iterator[None]:
    """Sequences know no rollback, and other tests are to go on with numbers that people can read."""
    before = next_numbers()
    yield
    set_next(before)


def next_numbers() -> dict[str, int]:
    """Return what each sequence gives out next."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT sequencename FROM pg_sequences")
        numbers = {}
        for [name] in cursor.fetchall():
            cursor.execute(f"SELECT last_value + is_called::integer FROM {name}")
            [numbers[name]] = cursor.fetchone()
    return numbers


def set_next(numbers: dict[str, int]) -> None:
    with connection.cursor() as cursor:
        for name, number in numbers.items():
            cursor.execute("SELECT setval(%s::regclass, %s, FALSE)", [name, number])


class TestAfterARestore:
    def test_no_account_gets_the_deposit_address_of_a_lost_one(self, desk: Desk) -> None:
        in_backup = next_numbers()
        lost = desk.add_deposit_address(make_account(make_user("lost")))
        payment = desk.accept(to=make_address())
        with behind_the_desks_back() as cursor:
            cursor.execute("DELETE FROM transactions_transaction WHERE id = %s", [payment.pk])
            cursor.execute("DELETE FROM transactions_wallet WHERE id = %s", [lost.pk])
            cursor.execute("DELETE FROM accounts_account WHERE id IN (%s, %s)", [lost.account_id, lost.credits_id])
        set_next(in_backup)

        call_command("after_restore")

        another = make_account(make_user("another"))
        assert deposit_address_of(another.pk).address != lost.address
        assert another.pk > in_backup[ACCOUNTS] + 999_990
        assert desk.accept().pk > payment.pk + 999_990

    def test_every_model_of_the_desks_is_told(self, desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
        call_command("after_restore")
        lines = capsys.readouterr().out.splitlines()
        assert f"accounts.Account goes on from {next_numbers()[ACCOUNTS]}." in lines
        told = {line.split(" goes on from ")[0] for line in lines}
        assert told >= {"accounts.User", "accounts.Journal", "accounts.Hold", "transactions.Transaction"}
        assert told >= {"transactions.Deposit", "transactions.Wallet", "accounts.Entry"}
        assert "transactions.Block" not in told, "it has its number from the chain"

    def test_no_wallet_pays_before_staff_let_it(self, desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
        call_command("after_restore")
        assert f"{desk.wallet} is paused. Resume it at the end, as the runbook says.\n" in capsys.readouterr().out
        desk.wallet.refresh_from_db()
        assert not desk.wallet.takes_payments

    def test_twice_does_no_harm(self, desk: Desk) -> None:
        call_command("after_restore")
        once = next_numbers()
        call_command("after_restore")
        assert next_numbers()[ACCOUNTS] == once[ACCOUNTS] + 1_000_000

    def test_a_sequence_that_lags_behind_its_rows_is_moved_above_them(self, desk: Desk) -> None:
        set_next({ACCOUNTS: 1})
        call_command("after_restore")
        assert make_account().pk == desk.account.pk + 1_000_000

    def test_it_refuses_to_number_accounts_beyond_the_last_deposit_address(self, desk: Desk) -> None:
        set_next({ACCOUNTS: 2**31 - 1_000_000})
        before = next_numbers()
        with pytest.raises(CommandError, match=r"^Accounts would go on from 2147483648, and .* end at 2147483647 "):
            call_command("after_restore")
        assert next_numbers() == before
        set_next({ACCOUNTS: 2**31 - 1_000_001})
        call_command("after_restore")
        assert desk.add_deposit_address(make_account()).credits_id == 2**31 - 1
