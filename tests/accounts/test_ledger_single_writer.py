"""Balances, entries and holds are written by accounts/ledger.py and by nothing else in the source tree."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ["accounts", "transactions", "tasks", "txnsite"]
LEDGER = ROOT / "accounts" / "ledger.py"

TABLES = r"accounts_(account|journal|entry|hold)"
WRITING_SQL = re.compile(
    rf'\b(INSERT\s+INTO|UPDATE|DELETE\s+FROM|TRUNCATE|MERGE\s+INTO|COPY)\s+(ONLY\s+|TABLE\s+)*"?{TABLES}\b', re.I
)
"""SQL that writes a table of the ledger."""

BALANCES = {"current_balance_in_wei", "available_balance_in_wei", "balance_after_in_wei"}
ONLY_THE_LEDGER_MAKES = {"Journal", "Entry", "Hold"}
WRITERS = {"create", "get_or_create", "update_or_create", "bulk_create", "update", "bulk_update", "delete"}
WRITERS |= {f"a{name}" for name in WRITERS}


def source_files() -> list[Path]:
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return sorted(path for path in files if path != LEDGER and "migrations" not in path.parts)


def writes_in(source: str) -> Iterator[str]:
    """Yield "line: what" for each place of a Python source that writes what only the ledger may."""
    for node in ast.walk(ast.parse(source)):
        for what in (
            *_sql(node),
            _balance_set(node),
            _row_made(node),
            _query_that_writes(node),
            _whole_row_saved(node),
        ):
            if what:
                yield f"{getattr(node, 'lineno', 0)}: {what}"


def _sql(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [found.group() for found in WRITING_SQL.finditer(node.value)]
    return []


def _whole_row_saved(node: ast.AST) -> str | None:
    """Find `account.save()`, which would write the balances back as they were read."""
    if not (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in {"save", "asave"}
    ):
        return None
    owner = node.func.value
    name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
    if name.endswith("account") and not any(keyword.arg == "update_fields" for keyword in node.keywords):
        return f"{name}.save() with its balances"
    return None


def _balance_set(node: ast.AST) -> str | None:
    """Find a balance on the left of `=`, `+=` or `for`, in `setattr`, or named to something that writes a row."""
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del) and node.attr in BALANCES:
        return f"{node.attr} is set"
    if isinstance(node, ast.Call):
        writes = _called(node) in WRITERS | ONLY_THE_LEDGER_MAKES | {"Account"}
        for keyword in node.keywords:
            if writes and keyword.arg in BALANCES:
                return f"{_called(node)}({keyword.arg}=...)"
            if (
                keyword.arg in {"defaults", "create_defaults", "fields", "update_fields"}
                and _names(keyword.value) & BALANCES
            ):
                return f"{_called(node)}({keyword.arg}=...) with a balance"
        if _called(node) in {"setattr", "bulk_update", "abulk_update"} and any(
            _names(arg) & BALANCES for arg in node.args
        ):
            return f"{_called(node)} of a balance"
    return None


def _row_made(node: ast.AST) -> str | None:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ONLY_THE_LEDGER_MAKES:
        return f"{node.func.id}(...)"
    return None


def _query_that_writes(node: ast.AST) -> str | None:
    """Find `Entry.objects.filter(...).update(...)`, `account.holds.create(...)` and the like."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WRITERS):
        return None
    names = {inner.id for inner in ast.walk(node.func) if isinstance(inner, ast.Name)}
    attributes = {inner.attr for inner in ast.walk(node.func) if isinstance(inner, ast.Attribute)}
    if names & ONLY_THE_LEDGER_MAKES or attributes & {"entries", "holds"}:
        return f"{sorted(names | attributes)}"
    return None


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _names(node: ast.AST) -> set[str]:
    return {inner.value for inner in ast.walk(node) if isinstance(inner, ast.Constant) and isinstance(inner.value, str)}


def test_nothing_but_the_ledger_writes_balances_entries_or_holds() -> None:
    found = [f"{path.relative_to(ROOT)}:{what}" for path in source_files() for what in writes_in(path.read_text())]
    assert found == []


def test_all_of_the_source_was_read() -> None:
    files = {str(path.relative_to(ROOT)) for path in source_files()}
    read = {"accounts/models/holds.py", "transactions/services/settle.py", "tasks/money.py", "txnsite/settings.py"}
    assert read <= files
    outside = {path.name for path in ROOT.glob("*/*.py")} | {path.parent.name for path in ROOT.glob("*/*.py")}
    assert set(PACKAGES) <= outside


def test_the_ledger_itself_would_be_found() -> None:
    text = "\n".join(writes_in(LEDGER.read_text()))
    for statement in ("UPDATE accounts_account", "UPDATE accounts_hold"):
        assert statement in text
    for table in ("journal", "entry", "hold"):
        assert f"INSERT INTO accounts_{table}" in text


@pytest.mark.parametrize(
    "line",
    [
        "cursor.execute('update accounts_account set current_balance_in_wei = 0')",
        "cursor.execute(f'DELETE FROM accounts_hold WHERE id = {x}')",
        "cursor.execute('INSERT\\n INTO accounts_entry VALUES (1)')",
        "cursor.copy('COPY accounts_journal FROM STDIN')",
        "account.current_balance_in_wei = 5",
        "account.available_balance_in_wei += 5",
        "account.current_balance_in_wei, x = 5, 6",
        "setattr(account, 'available_balance_in_wei', 5)",
        "Account.objects.filter(pk=1).update(current_balance_in_wei=F('current_balance_in_wei') + 1)",
        "Account.objects.create(owner=user, available_balance_in_wei=1)",
        "Account.objects.get_or_create(owner=user, defaults={'current_balance_in_wei': 1})",
        "Account.objects.bulk_update(accounts, ['current_balance_in_wei'])",
        "account.save(update_fields=['current_balance_in_wei'])",
        "account.save()",
        "self.user_account.save(force_update=True)",
        "Account(current_balance_in_wei=1).save()",
        "Entry.objects.create(journal=journal, account=account, amount_in_wei=1)",
        "Entry(journal=journal).save()",
        "journal.entries.create(account=account)",
        "account.holds.filter(status='held').update(status='released')",
        "Hold.objects.bulk_create([])",
        "Journal.objects.all().delete()",
    ],
)
def test_any_other_writer_would_be_found(line: str) -> None:
    assert list(writes_in(line))


@pytest.mark.parametrize(
    "line",
    [
        "Account.objects.create(owner=user, name='Main')",
        "account.save(update_fields=['frozen_at'])",
        "balance = account.current_balance_in_wei",
        "AccountOut(current_balance_in_wei=str(account.current_balance_in_wei))",
        "cursor.execute('SELECT id FROM accounts_account WHERE id = %s FOR UPDATE')",
        "list(account.entries.filter(amount_in_wei=1))",
        "Hold.objects.filter(status='held').exists()",
    ],
)
def test_readers_and_other_columns_are_left_in_peace(line: str) -> None:
    assert list(writes_in(line)) == []
