"""Accounts and their entries over the API."""

from typing import Any

from tests.api.callers import Caller, json_of, problem_of
from tests.desk import ETHER, FEE, credit, freeze, make_account


def test_an_account_with_its_balances(caller: Caller) -> None:
    caller.pay()
    account = json_of(caller.get(f"accounts/{caller.account.pk}"))
    created_at = account.pop("created_at")
    assert created_at.endswith("Z")
    assert account == {
        "id": caller.account.pk,
        "name": "Main",
        "current_balance_in_wei": str(100 * ETHER),
        "available_balance_in_wei": str(99 * ETHER - FEE),
        "is_frozen": False,
    }


def test_a_frozen_account_says_so_and_not_why(caller: Caller) -> None:
    freeze(caller.account)
    response = caller.get(f"accounts/{caller.account.pk}")
    assert json_of(response)["is_frozen"] is True
    assert "A test froze it" not in response.content.decode()


def test_accounts_come_in_pages(caller: Caller, stranger: Caller) -> None:
    numbers = [caller.account.pk] + [make_account(caller.user).pk for _ in range(3)]
    first = json_of(caller.get("accounts", limit=3))
    second = json_of(caller.client.get(first["next"]))
    assert [row["id"] for row in first["results"]] == numbers[:0:-1]
    assert [row["id"] for row in second["results"]] == numbers[:1]
    assert second["next"] is None


def test_anothers_account_and_none_are_the_same_answer(caller: Caller, stranger: Caller) -> None:
    for below in ("", "/entries"):
        another = caller.get(f"accounts/{stranger.account.pk}{below}")
        assert problem_of(another, 404)["code"] == "account_not_found"
        for number in (987_654_321, 2**63, 10**40):
            assert caller.get(f"accounts/{number}{below}").content == another.content


def test_the_desks_own_accounts_are_nobodys(caller: Caller) -> None:
    from accounts.ledger import system_account
    from accounts.models import AccountKind

    funding = system_account(AccountKind.EXTERNAL_FUNDING)
    assert caller.get(f"accounts/{funding.pk}").status_code == 404


def test_entries_tell_what_changed_the_balance(caller: Caller, stranger: Caller) -> None:
    credit(caller.account, -ETHER)
    credit(stranger.account, 5)
    entries = json_of(caller.get(f"accounts/{caller.account.pk}/entries"))
    assert entries["next"] is None
    told = [(entry["amount_in_wei"], entry["balance_after_in_wei"], entry["kind"]) for entry in entries["results"]]
    assert told == [
        (str(-ETHER), str(99 * ETHER), "adjustment"),
        (str(100 * ETHER), str(100 * ETHER), "adjustment"),
    ]
    assert set(entries["results"][0]) == {
        "id",
        "amount_in_wei",
        "balance_after_in_wei",
        "journal_id",
        "kind",
        "source",
        "description",
        "created_at",
    }


def test_entries_come_in_pages_at_one_price(caller: Caller, django_assert_num_queries: Any) -> None:
    for number in range(1, 5):
        credit(caller.account, number)
    path = f"accounts/{caller.account.pk}/entries"
    first = json_of(caller.get(path, limit=3))
    second = json_of(caller.client.get(first["next"]))
    assert [entry["amount_in_wei"] for entry in first["results"]] == ["4", "3", "2"]
    assert [entry["amount_in_wei"] for entry in second["results"]] == ["1", str(100 * ETHER)]
    for limit in (1, 5):
        with django_assert_num_queries(2):  # the account, and the entries with their journals
            caller.get(path, limit=limit)


def test_a_cursor_fits_its_own_list_only(caller: Caller) -> None:
    make_account(caller.user)
    following = json_of(caller.get("accounts", limit=1))["next"]
    cursor = following.partition("cursor=")[2]
    assert problem_of(caller.get(f"accounts/{caller.account.pk}/entries", cursor=cursor), 422)["code"] == "bad_cursor"
