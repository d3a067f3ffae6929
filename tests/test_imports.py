"""The contracts between the rooms (pyproject.toml) hold, and each of them would notice who breaks it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from txnsite.stack.layout import REPOSITORY

LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code that may be vandalised."""
    copy = tmp_path_factory.mktemp("house")
    for package in ("accounts", "transactions", "tasks", "txnsite"):
        ignored = shutil.ignore_patterns("__pycache__", "migrations", "static")
        shutil.copytree(REPOSITORY / package, copy / package, ignore=ignored)
    shutil.copy(REPOSITORY / "pyproject.toml", copy)
    return copy


def broken_contracts(house: Path) -> set[str]:
    argv = [sys.executable, "-c", LINT, "--no-logo", "--no-cache"]
    done = subprocess.run(argv, cwd=house, capture_output=True, text=True, timeout=60)
    broken = {line.partition(" BROKEN")[0] for line in done.stdout.splitlines() if " BROKEN" in line}
    assert (done.returncode == 0) == (not broken), done.stdout + done.stderr
    return broken


def test_the_house_is_in_order(house: Path) -> None:
    assert broken_contracts(house) == set()


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("accounts/ledger.py", "import transactions.models", "Rooms import downwards"),
        ("transactions/services/settle.py", "import tasks.models", "Rooms import downwards"),
        ("accounts/queries.py", "import tasks.queries", "Rooms import downwards"),
        ("tasks/submission.py", "import tasks.views", "Nobody but doors knows a door"),
        ("transactions/services/accept.py", "import accounts.admin", "Nobody but doors knows a door"),
        ("accounts/services/tokens.py", "import txnsite.problems", "Nobody but doors knows a door"),
        ("txnsite/faults.py", "import accounts.models", "The frame stands without the rooms"),
        ("tasks/money.py", "import web3", "Only the chain adapter knows web3"),
        ("accounts/views.py", "from web3 import Web3", "Only the chain adapter knows web3"),
        ("transactions/services/broadcast.py", "import eth_account", "Only accounts.keys touches keys"),
        ("accounts/services/setup.py", "import coincurve", "Only accounts.keys touches keys"),
        ("transactions/services/follow.py", "import celery", "Below the doors, accounts and transactions"),
        ("accounts/locks.py", "from txnsite.celery import app", "Below the doors, accounts and transactions"),
        ("txnsite/health.py", "import txnsite.stack.ports", "Production code never knows the development stack"),
    ],
)
def test_who_breaks_a_contract_is_found(house: Path, module: str, line: str, contract: str) -> None:
    path = house / module
    original = path.read_text()
    path.write_text(f"{original}\n{line}\n")
    try:
        broken = broken_contracts(house)
    finally:
        path.write_text(original)
    assert any(name.startswith(contract) for name in broken), broken


@pytest.mark.parametrize(
    "module", ["accounts/services", "transactions/services", "transactions/chain", "accounts/ledger.py"]
)
def test_services_know_nothing_of_http(house: Path, module: str) -> None:
    path = house / module if module.endswith(".py") else house / module / "new.py"
    original = path.read_text() if path.exists() else ""
    path.write_text(f"{original}\nfrom django.http import HttpResponse\n")
    try:
        argv = [
            sys.executable,
            "-m",
            "ruff",
            "check",
            "--no-cache",
            "--select",
            "TID251",
            "--output-format",
            "concise",
            ".",
        ]
        done = subprocess.run(argv, cwd=house, capture_output=True, text=True, timeout=60)
    finally:
        path.unlink() if not original else path.write_text(original)
    assert done.returncode == 1
    assert f"{path.relative_to(house)}:" in done.stdout
