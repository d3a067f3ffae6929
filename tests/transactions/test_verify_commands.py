"""`manage.py verify` and `verify_report`: what they say, and with which exit code."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError

from tests.desk import ETHER, FEE, Desk, make_account
from tests.tasks.test_housekeeping import tamper
from transactions.chain import use_chain
from transactions.management.commands import verify
from transactions.models import ReservesReport
from transactions.services import holdings

# The books are read on a connection of their own, which sees only what is committed.
pytestmark = pytest.mark.django_db(transaction=True)


class Terminal(io.StringIO):
    """A stream that a person looks at."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def walked(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """A desk with a payment settled, and a chain that it has walked: its block 5 is final."""
    desk.accept(ETHER)
    desk.broadcast()
    desk.mine(14)
    desk.take_in()
    monkeypatch.setattr(holdings, "PATIENCE_SECONDS", 0.0)
    use_chain(desk.chain)
    yield desk
    use_chain(None)


def run(*arguments: str, code: int = 0, stderr: io.StringIO | None = None) -> list[str]:
    """Run `manage.py verify`, check its exit code, and return the lines that it wrote."""
    stdout, returncode = io.StringIO(), 0
    try:
        call_command("verify", *arguments, stdout=stdout, stderr=stderr or io.StringIO())
    except CommandError as error:
        returncode = error.returncode
        stdout.write(str(error))
    assert returncode == code
    return stdout.getvalue().splitlines()


class TestVerify:
    def test_everything_adds_up(self, walked: Desk) -> None:
        lines = run()
        report = ReservesReport.objects.get()
        owed = "98.992"
        assert lines[0].startswith("Checked wallets: 1, accounts: 5, entries: ")
        assert lines[1:] == [
            f"Owed to users: {owed} ETH.",
            "Held at block 5: 998.999958 ETH.",
            "Held beyond what is owed: 900.007958 ETH.",
            f"{report}, signed by {walked.wallet.address}.",
            "Everything adds up.",
        ]
        assert report.is_clean
        assert report.owed_in_wei == 99 * ETHER - FEE

    def test_less_than_is_owed_is_told_and_no_difference(self, walked: Desk) -> None:
        make_account(balance_in_wei=1_000 * ETHER)
        assert "Short of what is owed: 99.992042 ETH." in run()

    def test_at_an_older_block_the_sums_fit_with_what_is_in_flight(self, walked: Desk) -> None:
        # Then the wallet had not paid yet what the ledger of now has booked.
        assert run("--block", "0")[1:4] == [
            "Owed to users: 98.992 ETH.",
            "Held at block 0: 1000 ETH.",
            "In flight (chain less ledger): 1.000042 ETH.",
        ]
        report = ReservesReport.objects.get()
        assert (report.block_number, report.surplus_in_wei) == (0, 900_007_958 * 10**12)

    def test_the_books_alone(self, walked: Desk) -> None:
        assert run("--no-chain")[-1] == "The books by themselves add up."
        assert walked.chain.asked["balances"] == 0

    def test_a_difference_is_1(self, walked: Desk) -> None:
        walked.chain.blocks[5].balances[walked.wallet.address] += 1
        lines = run(code=1)
        assert lines[0].startswith(f"wallet {walked.wallet.address}: its balance at block 5 is")
        assert lines[-1] == "1 difference."
        assert ReservesReport.objects.get().differences_total == 1

    def test_a_difference_without_the_chain_is_1_too(self, walked: Desk) -> None:
        tamper(walked.account)
        with walked.chain.outage():
            run(code=1)

    def test_a_node_that_is_down_is_2(self, walked: Desk) -> None:
        with walked.chain.outage():
            lines = run(code=2)
        assert lines[-2:] == ["The books by themselves add up.", "The chain was not compared: The fake node is down."]

    def test_a_block_that_is_not_final_is_refused_and_nothing_kept(self, walked: Desk) -> None:
        assert run("--block", "6", code=2) == [
            "Block 6 can't be compared: the newest that is final and searched for deposits would be 5, "
            "and old ones are not recorded."
        ]
        assert not ReservesReport.objects.exists()

    @pytest.mark.parametrize("number", ["-1", "1.5", "latest"])
    def test_what_is_no_number_of_a_block_is_refused_and_nothing_kept(self, walked: Desk, number: str) -> None:
        assert run("--block", number, code=1) == [f"Error: argument --block: {number!r} is no number of a block"]
        assert not ReservesReport.objects.exists()

    def test_a_database_that_is_down_is_2(self, walked: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(**_: object) -> None:
            raise OperationalError

        monkeypatch.setattr(verify, "prove_reserves", fail)
        assert run(code=2) == ["PostgreSQL can't be asked."]

    def test_progress_is_for_people(self, walked: Desk) -> None:
        terminal, file = Terminal(), io.StringIO()
        run(stderr=terminal)
        assert terminal.getvalue().endswith("\r100 %\n")
        run(stderr=file)
        assert file.getvalue() == ""


class TestVerifyReport:
    def signers(self, *arguments: str) -> list[str]:
        stdout = io.StringIO()
        call_command("verify_report", *arguments, stdout=stdout)
        return stdout.getvalue().splitlines()

    def test_of_the_database(self, walked: Desk) -> None:
        run()
        assert self.signers("--id", str(ReservesReport.objects.get().pk)) == [f"Signed by {walked.wallet.address}."]

    def test_of_a_file(self, walked: Desk, tmp_path: Path) -> None:
        run()
        row = ReservesReport.objects.get()
        path = tmp_path / "report.json"
        path.write_text(json.dumps({"text": row.text, "signatures": row.signatures}))
        assert self.signers(str(path)) == [f"Signed by {walked.wallet.address}."]
        path.write_text(json.dumps({"text": row.text + " ", "signatures": row.signatures}))
        with pytest.raises(CommandError, match="not a signature of"):
            self.signers(str(path))

    @pytest.mark.parametrize("content", ["", "[]", "{}", '{"text": "", "signatures": [3]}', '{"text": ""}'])
    def test_of_something_else(self, content: str, tmp_path: Path) -> None:
        path = tmp_path / "report.json"
        path.write_text(content)
        with pytest.raises(CommandError, match="no report of reserves"):
            self.signers(str(path))

    @pytest.mark.parametrize("number", ["0", "7"])
    def test_of_one_that_is_not_there(self, number: str) -> None:
        with pytest.raises(CommandError, match=f"^There is no reserves report #{number}"):
            self.signers("--id", number)

    def test_of_a_file_that_is_not_there_or_is_none(self, tmp_path: Path) -> None:
        with pytest.raises(CommandError, match=f"^There is no such file: {tmp_path}/report.json$"):
            self.signers(str(tmp_path / "report.json"))
        with pytest.raises(CommandError, match=f"^{tmp_path} can't be read: Is a directory.$"):
            self.signers(str(tmp_path))
