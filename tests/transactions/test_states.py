"""The table of moves, what it draws, and that nothing goes round it."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections
from django.db import transaction as db_transaction

from tests.desk import NOW, Desk, stages
from tests.rules import refused_by
from transactions.exceptions import ForbiddenMoveError
from transactions.management.commands import draw_states as draw_states_command
from transactions.models import Transaction
from transactions.services.moves import move_transactions
from transactions.states import MOVES, STARTS, FailureReason, Stage, Status, draw_states, require_move
from txnsite.stack.process import wait_for

ROOT = Path(__file__).resolve().parents[2]

ALLOWED = {
    ("REVIEW", "ACCEPTED"),
    ("REVIEW", "SETTLED"),
    ("ACCEPTED", "SIGNED"),
    ("ACCEPTED", "SETTLED"),
    ("SIGNED", "BROADCAST"),
    ("SIGNED", "MINED"),
    ("SIGNED", "SETTLED"),
    ("BROADCAST", "MINED"),
    ("BROADCAST", "SETTLED"),
    ("MINED", "SETTLED"),
    ("MINED", "BROADCAST"),
    ("SETTLED", "BROADCAST"),
}


@pytest.mark.parametrize("old", Stage)
@pytest.mark.parametrize("new", Stage)
def test_only_these_moves_are_allowed(old: Stage, new: Stage) -> None:
    if (old, new) in ALLOWED:
        require_move(old, new)
    else:
        with pytest.raises(ForbiddenMoveError, match=f"from {old} to {new}"):
            require_move(old, new)


def test_every_stage_can_be_reached_and_only_a_reorg_leads_back_from_the_last() -> None:
    assert set(MOVES) == set(Stage)
    assert {new for moves in MOVES.values() for new in moves} | set(STARTS) == set(Stage)
    assert set(STARTS) == {Stage.REVIEW, Stage.ACCEPTED}
    assert set(MOVES[Stage.SETTLED]) == {Stage.BROADCAST}, "only a reorg leads back"


def test_the_diagram_has_each_move_with_its_reason_and_nothing_else() -> None:
    first, *starts, end = draw_states().splitlines()
    starts, moves = starts[:2], starts[2:]
    assert first == "stateDiagram-v2"
    assert starts == [
        "    [*] --> REVIEW: funds held, more than may be paid without approval",
        "    [*] --> ACCEPTED: funds held",
    ]
    assert end == "    SETTLED --> [*]: SUCCESSFUL or FAILED"
    drawn = [re.fullmatch(r"    ([A-Z]+) --> ([A-Z]+): ([^:;]+)", move) for move in moves]
    assert {(move[1], move[2]) for move in drawn if move} == ALLOWED
    assert len(moves) == len(ALLOWED), "a colon or semicolon in a reason would end Mermaid's line early"


def test_the_documentation_shows_the_diagram_of_today(monkeypatch: pytest.MonkeyPatch) -> None:
    assert draw_states() in (ROOT / "docs" / "architecture.md").read_text()
    call_command("draw_states", check=True)
    monkeypatch.setattr(draw_states_command, "draw_states", lambda: "an older drawing")
    with pytest.raises(CommandError, match="old state diagram"):
        call_command("draw_states", check=True)


def test_no_source_sets_a_stage_but_the_one_function_that_moves() -> None:
    setters = re.compile(r"\.stage\s*=(?!\s*['=])|update\([^)]*\bstage=|SET\s+[^;\"]*\bstage\s*=", re.IGNORECASE)
    files = [path for package in ("transactions", "tasks", "accounts") for path in (ROOT / package).rglob("*.py")]
    found = {path.name for path in files if "migrations" not in path.parts and setters.search(path.read_text())}
    assert found == set()
    for setter in ("row.stage = Stage.MINED", "q.update(stage=x)", "UPDATE t SET wait_reason = '', stage = 'x'"):
        assert setters.search(setter)


class TestMove:
    def test_it_moves_those_still_in_an_old_stage_and_says_which(self, desk: Desk) -> None:
        first, second, third = desk.accept_many(3)
        desk.broadcast()
        fourth = desk.accept()
        ids = [fourth.pk, third.pk, first.pk]
        moved = move_transactions(
            ids,
            old=[Stage.SIGNED, Stage.BROADCAST],
            new=Stage.MINED,
            columns={
                "block_number": [1, 2**62, 3],
                "block_hash": ["0x1", "0x2", "0x3"],
                "succeeded_on_chain": [True, False, True],
                "transaction_fee_blockchain_in_wei": [1, 2**255, 3],
            },
        )
        assert moved == [first.pk, third.pk]
        assert stages([first, second, third, fourth]) == ["MINED", "BROADCAST", "MINED", "ACCEPTED"]
        third.refresh_from_db()
        assert (third.block_number, third.block_hash, third.succeeded_on_chain) == (2**62, "0x2", False)
        assert third.transaction_fee_blockchain_in_wei == 2**255
        first.refresh_from_db()
        assert (first.block_number, first.block_hash, first.succeeded_on_chain) == (3, "0x3", True)

    def test_a_move_that_the_table_lacks_is_refused(self, desk: Desk) -> None:
        payment = desk.accept()
        with pytest.raises(ForbiddenMoveError):
            move_transactions([payment.pk], old=[Stage.ACCEPTED], new=Stage.BROADCAST)
        with pytest.raises(ForbiddenMoveError):
            move_transactions([payment.pk], old=[Stage.SIGNED, Stage.SETTLED], new=Stage.MINED)
        assert stages([payment]) == ["ACCEPTED"]

    def test_a_move_without_what_the_new_stage_must_have_is_refused_by_the_database(self, desk: Desk) -> None:
        payment = desk.accept()
        with refused_by("transactions_transaction_signed_with_nonce_and_hash"):
            move_transactions([payment.pk], old=[Stage.ACCEPTED], new=Stage.SIGNED)
        assert stages([payment]) == ["ACCEPTED"]

    @pytest.mark.django_db(transaction=True)
    def test_a_row_that_another_process_is_moving_is_waited_for_and_then_left_alone(self, desk: Desk) -> None:
        payment = desk.accept()

        def move_elsewhere() -> list[int]:
            try:
                return self.reject(payment)
            finally:
                connections.close_all()

        with ThreadPoolExecutor(1) as thread:
            with db_transaction.atomic():
                assert self.reject(payment) == [payment.pk]
                other = thread.submit(move_elsewhere)
                wait_for(self.somebody_waits, what="the other one to wait for the row", timeout_seconds=20)
            assert other.result(timeout=20) == []
        assert stages([payment]) == ["SETTLED"]

    def reject(self, payment: Transaction) -> list[int]:
        columns = {"status": "FAILED", "failure_reason": "rejected", "settled_at": NOW}
        return move_transactions([payment.pk], old=[Stage.ACCEPTED], new=Stage.SETTLED, constants=columns)

    def somebody_waits(self) -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            return bool(cursor.fetchone()[0])

    def test_nothing_to_move_is_nothing_done(self, desk: Desk) -> None:
        payment = desk.accept()
        assert move_transactions([], old=[Stage.ACCEPTED], new=Stage.SIGNED) == []
        assert move_transactions([payment.pk + 1], old=[Stage.ACCEPTED], new=Stage.SIGNED) == []
        assert stages([payment]) == ["ACCEPTED"]


@pytest.mark.django_db
def test_is_final_is_settled_and_nothing_else() -> None:
    assert [stage for stage in Stage if Transaction(stage=stage).is_final] == [Stage.SETTLED]


def test_the_words_that_the_outside_world_knows() -> None:
    assert [status.value for status in Status] == ["PENDING", "SUCCESSFUL", "FAILED"]
    assert [reason.value for reason in FailureReason] == [
        "rejected",
        "reverted",
        "cancelled",
        "expired",
        "displaced",
        "refused",
    ]
