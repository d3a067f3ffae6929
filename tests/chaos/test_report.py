"""What people read, and what programs do."""

import json
from pathlib import Path

from chaos.checks import Violation
from chaos.drill import Outcome
from chaos.report import Result, summary, table, write_json


def outcome(name: str, seconds: float | None = None, *, struck: bool = True, alone: bool = True) -> Outcome:
    return Outcome(name, name, 1, began_at=1.0, has_struck=struck, alone=alone, recovery_seconds=seconds)


def result(outcomes: list[Outcome], violations: list[Violation] | None = None) -> Result:
    return Result(
        seed=7,
        rain_seconds=120.0,
        settle_seconds=5.0,
        outcomes=outcomes,
        accepted=50,
        payments={"SUCCESSFUL": 49, "FAILED": 1},
        deposits={"credited": 20, "gone": 2},
        sweeps={"SUCCESSFUL": 8},
        answers={201: 50, 0: 3},
        violations=violations or [],
        ended_by_themselves=[],
    )


def test_the_table_tells_how_often_each_kind_struck_and_how_long_recovery_took() -> None:
    outcomes = [
        outcome("worker killed", 1.0),
        outcome("worker killed", 5.0),
        outcome("worker killed", 3.0),
        outcome("reorg", 31.0),
        outcome("node lags", 99.0, alone=False),
        outcome("mempool lost", None),
        outcome("killed at settle.posted", struck=False, alone=False),
    ]
    assert table(outcomes).splitlines() == [
        "fault                    struck  alone  recovered p50 s  max s           within 30 s",
        "-----------------------  ------  -----  ---------------  --------------  -----------",
        "killed at settle.posted  0 of 1  0",
        "mempool lost             1       1                       never, 1 times  NO",
        "node lags                1       0",
        "reorg                    1       1      31.0             31.0            NO",
        "worker killed            3       3      3.0              5.0             yes",
    ]


def test_a_run_is_good_without_violations_and_late_recoveries() -> None:
    assert result([outcome("reorg", 30.0)]).is_good
    assert not result([outcome("reorg", 30.1)]).is_good
    assert not result([outcome("reorg", None)]).is_good
    assert result([outcome("reorg", None, alone=False)]).is_good
    assert not result([], [Violation("each is paid once or refunded", "twice")]).is_good


def test_the_summary_has_the_figures_and_every_violated_check() -> None:
    violations = [Violation("each is paid once or refunded", f"payment #{number}") for number in range(29)]
    violations.insert(7, Violation("journals sum to zero", "journal #1 sums to 1 wei"))
    lines = summary(
        result([outcome("reorg", 40.0), outcome("missed", struck=False, alone=False)], violations)
    ).splitlines()
    assert lines[:5] == [
        "1 faults, 30 violations, 1 recoveries took longer than 30 s (seed 7)",
        "25 payments a minute accepted over 120 s of rain; all final 5 s after it",
        "deposits: credited 20, gone 2; sweeps: SUCCESSFUL 8",
        "payments: FAILED 1, SUCCESSFUL 49; answers by HTTP status: 0 3, 201 50 (0: none came)",
        "VIOLATED 29 times: each is paid once or refunded",
    ]
    assert lines[5:] == [
        *(f"  payment #{number}" for number in range(5)),
        "VIOLATED 1 times: journals sum to zero",
        "  journal #1 sums to 1 wei",
    ]


def test_the_file_has_it_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "chaos.json"
    write_json(path, result([outcome("reorg", 2.0), outcome("missed", struck=False)], [Violation("a", "b")]))
    told = json.loads(path.read_text())
    assert (told["seed"], told["faults"], told["payments_per_minute"]) == (7, 1, 25.0)
    assert told["violations"] == [{"check": "a", "told": "b"}]
    assert [each["name"] for each in told["outcomes"]] == ["reorg", "missed"]
