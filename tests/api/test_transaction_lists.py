"""Lists of payments over the API: pages, filters, and what is refused."""

from typing import Any

import pytest

from tests.api.callers import PAYMENTS, Caller, json_of, problem_of
from tests.desk import ETHER, Desk, make_account


def follow_pages(caller: Caller, path: str) -> list[list[int]]:
    """Return the ids page by page, following `next` to the end."""
    pages = []
    address: str | None = f"http://testserver/api/v1/{path}"
    while address is not None:
        page = json_of(caller.client.get(address))
        assert set(page) == {"results", "next"}
        pages.append([row["id"] for row in page["results"]])
        address = page["next"]
    return pages


def test_payments_come_in_pages_newest_first(caller: Caller, stranger: Caller) -> None:
    second = make_account(caller.user, balance_in_wei=10 * ETHER)
    numbers = []
    for _ in range(4):
        numbers.append(json_of(caller.pay(), 201)["id"])
        stranger.pay()
        numbers.append(json_of(caller.pay(user_account_id=second.pk), 201)["id"])
    newest_first = sorted(numbers, reverse=True)
    assert follow_pages(caller, "transactions?limit=3") == [newest_first[:3], newest_first[3:6], newest_first[6:]]
    assert follow_pages(caller, "transactions?limit=4") == [newest_first[:4], newest_first[4:]]
    assert follow_pages(caller, "transactions") == [newest_first]
    of_second = [number for number in newest_first if number in numbers[1::2]]
    assert follow_pages(caller, f"transactions?account={second.pk}&limit=3") == [of_second[:3], of_second[3:]]


def test_pages_keep_their_place_while_payments_are_made(caller: Caller) -> None:
    numbers = [json_of(caller.pay(), 201)["id"] for _ in range(4)]
    first = json_of(caller.get("transactions", limit=2))
    caller.pay()
    second = json_of(caller.client.get(first["next"]))
    assert [row["id"] for row in first["results"] + second["results"]] == numbers[::-1]


def test_payments_by_status(caller: Caller, desk: Desk) -> None:
    done = json_of(caller.pay(), 201)["id"]
    desk.run_to_the_end()
    waiting = json_of(caller.pay(), 201)["id"]
    assert follow_pages(caller, "transactions?status=SUCCESSFUL") == [[done]]
    assert follow_pages(caller, "transactions?status=PENDING&limit=1") == [[waiting]]
    assert follow_pages(caller, "transactions?status=FAILED") == [[]]


def test_a_list_tells_what_the_single_payment_tells(caller: Caller, desk: Desk) -> None:
    number = json_of(caller.pay(), 201)["id"]
    desk.run_to_the_end()
    assert json_of(caller.get("transactions"))["results"] == [json_of(caller.get(f"transactions/{number}"))]


def test_a_page_costs_the_same_queries_however_long_it_is(caller: Caller, django_assert_num_queries: Any) -> None:
    for _ in range(5):
        caller.pay()
    caller.get("accounts")
    for limit in (1, 5):
        # The page, and the newest block to count confirmations by.
        with django_assert_num_queries(2):
            caller.get("transactions", limit=limit)


def test_the_list_of_anothers_account_is_the_same_answer_as_none(caller: Caller, stranger: Caller) -> None:
    stranger.pay()
    answers = {caller.get("transactions", account=number).content for number in (stranger.account.pk, 0, -1, 2**70)}
    assert len(answers) == 1
    assert problem_of(caller.get("transactions", account=stranger.account.pk), 404)["code"] == "account_not_found"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=x", "limit"),
        ("limit=", "limit"),
        ("status=DONE", "status"),
        ("status=pending", "status"),
        ("account=x", "account"),
        ("acount=1", "acount"),
        ("limit=1&limit=2", "limit"),
    ],
)
def test_bad_parameters(caller: Caller, query: str, field: str) -> None:
    problem = problem_of(caller.client.get(f"{PAYMENTS}?{query}"), 422)
    assert problem["code"] == "invalid_request"
    assert [error["field"] for error in problem["errors"]] == [field]


@pytest.mark.parametrize("path", ["transactions", "accounts"])
@pytest.mark.parametrize("cursor", ["", "x", "ZW50cnk6MQ", "dHJhbnNhY3Rpb246MA", "%00", "é", "=" * 50])
def test_bad_cursor(caller: Caller, path: str, cursor: str) -> None:
    assert problem_of(caller.get(path, cursor=cursor), 422)["code"] == "bad_cursor"
