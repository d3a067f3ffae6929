"""`python -m bench` works from end to end; how fast anything is, no test says."""

import json
import subprocess
import sys
from pathlib import Path

from txnsite.stack.layout import REPOSITORY

KEYS = {"name", "value", "unit", "target", "met"}


def test_a_quick_try_of_two_rows_writes_their_figures(tmp_path: Path) -> None:
    output = tmp_path / "bench.json"
    done = _bench("--quick", "settled", "read", "--output", str(output))
    assert done.returncode == 0, done.stdout + done.stderr
    settled, read = json.loads(output.read_text())
    for figure in (settled, read):
        assert figure.keys() >= KEYS
        assert figure["value"] > 0
        assert figure["met"] is (figure["value"] >= figure["target"])
        assert figure["machine"].keys() >= {"cores", "commit", "python", "django"}
        assert figure["name"] in done.stdout
    assert (settled["row"], settled["target"]) == ("settled", 20)
    assert (read["row"], read["target"]) == ("read", 2_500)
    assert 0 < read["p50"] <= read["p99"]


def test_an_unknown_row_is_refused_before_anything_is_started() -> None:
    done = _bench("no-such-row")
    assert done.returncode == 2
    assert "no such row: no-such-row" in done.stderr


def _bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, timeout=110, check=False)
