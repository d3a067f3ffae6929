"""Lists of payments: the user's own, newest first, at a price that doesn't grow with what others pay."""

import json
from typing import Any

import pytest
from django.db import connection

from accounts.exceptions import AccountNotFoundError, BadCursorError
from tests.desk import ETHER, Desk, make_account
from transactions.exceptions import TransactionNotFoundError
from transactions.models import Transaction
from transactions.queries import _NEWEST_IDS, details_page, transaction_of, transactions_page
from transactions.states import Status


def owner_id(desk: Desk) -> int:
    """Return whose account the desk's is."""
    assert desk.account.owner_id is not None
    return desk.account.owner_id


def test_the_newest_of_all_accounts_come_first(desk: Desk) -> None:
    second = make_account(desk.account.owner, balance_in_wei=10 * ETHER)
    stranger = make_account(balance_in_wei=10 * ETHER)
    mine = []
    for _ in range(3):
        mine.append(desk.accept())
        desk.accept(account=stranger)
        mine.append(desk.accept(account=second))
    newest = mine[::-1]
    first = transactions_page(user_id=owner_id(desk), limit=4)
    rest = transactions_page(user_id=owner_id(desk), cursor=first.next_cursor, limit=4)
    assert first.items + rest.items == newest
    assert (len(first.items), rest.next_cursor) == (4, None)
    assert transactions_page(user_id=owner_id(desk), account_id=second.pk).items == newest[::2]
    assert transactions_page(user_id=stranger.owner_id or 0).items == list(
        Transaction.objects.filter(user_account=stranger).order_by("-pk")
    )


def test_by_status(desk: Desk) -> None:
    done = desk.accept()
    desk.run_to_the_end()
    waiting = desk.accept()
    for status, rows in ((Status.SUCCESSFUL, [done]), (Status.PENDING, [waiting]), (Status.FAILED, [])):
        assert [row.pk for row in transactions_page(user_id=owner_id(desk), status=status).items] == [
            row.pk for row in rows
        ]


def test_details_count_confirmations_to_the_newest_block(desk: Desk) -> None:
    desk.accept()
    desk.broadcast()
    desk.mine(3)
    (detail,) = details_page(user_id=owner_id(desk)).items
    assert detail["confirmations"] == 3
    assert detail["owner_id"] == owner_id(desk)


def test_anothers_payments_are_none(desk: Desk) -> None:
    stranger = make_account()
    row = desk.accept()
    assert transaction_of(owner_id(desk), row.pk) == row
    assert stranger.owner_id is not None
    for number in (row.pk, 0, -1, 2**63):
        with pytest.raises(TransactionNotFoundError):
            transaction_of(stranger.owner_id, number)
    with pytest.raises(AccountNotFoundError):
        transactions_page(user_id=stranger.owner_id, account_id=desk.account.pk)
    with pytest.raises(BadCursorError):
        transactions_page(user_id=stranger.owner_id, cursor="x")
    assert transactions_page(user_id=stranger.owner_id).items == []


def nodes_of(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the plan's nodes, flat."""
    return [plan] + [node for child in plan.get("Plans", []) for node in nodes_of(child)]


def test_a_page_reads_each_accounts_newest_by_its_index(desk: Desk) -> None:
    """Where others pay much and the user little, neither everybody's rows are walked nor the user's sorted."""
    mine = [desk.accept(1) for _ in range(3)]
    others = [make_account().pk for _ in range(20)]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO transactions_transaction (
                user_account_id, status, stage, failure_reason, failure_detail, wait_reason, to_public_address,
                from_public_address, transaction_amount_in_wei, transaction_fee_total_in_wei, payload_hash, block_hash,
                accepted_at, checks_done, needs_attention)
            SELECT unnest(%s::bigint[]), 'PENDING', 'ACCEPTED', '', '', '', '', '', 1, 1, '', '', now(), 0, FALSE
            FROM generate_series(1, 1000)
            """,
            [others],
        )
        cursor.execute("ANALYZE transactions_transaction, accounts_account")
        parameters = [2**63 - 1, None, None, 51, owner_id(desk), None, None, 51]
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {_NEWEST_IDS}", parameters)
        ((found,),) = cursor.fetchall()
    explained = found if isinstance(found, list) else json.loads(found)
    scans = [node for node in nodes_of(explained[0]["Plan"]) if node.get("Relation Name") == "transactions_transaction"]
    assert [scan["Index Name"] for scan in scans] == ["transactions_by_account"]
    assert scans[0]["Actual Rows"] == len(mine)
