"""Deposits and their addresses over the API."""

from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from tests.api.callers import Caller, books, json_of, problem_of
from tests.deposits import SENDER, block_hash, credit_to, make_deposit, undo_from, walk_to
from tests.desk import ETHER, freeze, write_deposit_seed
from transactions.models import Deposit, Wallet


@pytest.fixture(autouse=True)
def seed(tmp_path: Path, settings: Settings) -> Path:
    directory = settings.KEYSTORE_DIR = tmp_path / "keystore"
    write_deposit_seed()
    return directory


def address_path(caller: Caller) -> str:
    return f"accounts/{caller.account.pk}/deposit-address"


def ask_for_address(caller: Caller, account_id: int | None = None) -> Any:
    number = caller.account.pk if account_id is None else account_id
    return caller.client.post(f"/api/v1/accounts/{number}/deposit-address")


# --- The address ------------------------------------------------------------------------------------------------------
def test_an_address_is_made_once(caller: Caller) -> None:
    assert problem_of(caller.get(address_path(caller)), 404)["code"] == "deposit_address_not_found"
    made = json_of(ask_for_address(caller), 201)
    wallet = Wallet.objects.get(credits=caller.account)
    assert made.pop("created_at").endswith("Z")
    assert made == {
        "account_id": caller.account.pk,
        "address": wallet.address,
        "chain_id": 31337,
        "uri": f"ethereum:{wallet.address}@31337",
        "confirmations_required": 10,
    }
    before = books()
    again = json_of(ask_for_address(caller), 200)
    assert again["address"] == wallet.address
    assert json_of(caller.get(address_path(caller))) == again
    assert books() == before


def test_a_frozen_account_gets_one_too(caller: Caller) -> None:
    freeze(caller.account)
    assert ask_for_address(caller).status_code == 201


def test_a_desk_without_a_seed_says_so_and_makes_nothing(caller: Caller, seed: Path) -> None:
    for file in seed.iterdir():
        file.unlink()
    before = books()
    problem = problem_of(ask_for_address(caller), 409)
    assert problem["code"] == "deposits_not_set_up"
    assert "seed" in problem["detail"]
    assert books() == before


def test_a_seed_that_can_not_be_read_is_our_fault(caller: Caller, seed: Path) -> None:
    for file in seed.iterdir():
        file.write_text("nonsense")
    assert problem_of(ask_for_address(caller), 503)["code"] == "key_file"
    assert not Wallet.objects.exists()


def test_anothers_account_and_none_are_the_same_answer(caller: Caller, stranger: Caller) -> None:
    ask_for_address(stranger)
    before = books()
    for number in (stranger.account.pk, 987_654_321, 2**63, 0):
        for answer in (
            caller.get(f"accounts/{number}/deposit-address"),
            caller.get(f"accounts/{number}/deposits"),
            ask_for_address(caller, number),
        ):
            assert problem_of(answer, 404)["code"] == "account_not_found"
    assert books() == before


# --- Deposits ---------------------------------------------------------------------------------------------------------
def deposits(caller: Caller, **query: Any) -> Any:
    return json_of(caller.get(f"accounts/{caller.account.pk}/deposits", **query))


def test_an_account_without_an_address_has_none(caller: Caller) -> None:
    assert deposits(caller) == {"results": [], "next": None}


def test_a_deposit_is_told_from_its_block_to_its_credit_and_back(caller: Caller) -> None:
    row = make_deposit(caller.account, ETHER + 1, block_number=5)
    walk_to(7)
    (told,) = deposits(caller)["results"]
    seen_at = told.pop("seen_at")
    assert seen_at == "2026-01-02T03:04:05Z"
    assert told == {
        "id": row.pk,
        "account_id": caller.account.pk,
        "status": "waiting",
        "amount_in_wei": "1000000000000000001",
        "from_public_address": SENDER,
        "to_public_address": Wallet.objects.get(credits=caller.account).address,
        "transaction_hash": row.transaction_hash,
        "block_number": 5,
        "block_hash": block_hash(5),
        "confirmations": 3,
        "confirmations_required": 10,
        "credited_at": None,
    }
    walk_to(14)
    credit_to(5)
    (told,) = deposits(caller)["results"]
    assert (told["status"], told["confirmations"], told["credited_at"]) == ("credited", 10, "2026-01-02T03:04:05Z")
    undo_from(5)
    (told,) = deposits(caller)["results"]
    assert (told["status"], told["confirmations"], told["credited_at"]) == ("gone", 0, None)
    assert (told["block_number"], told["block_hash"]) == (None, None)


def test_nobody_sees_anothers(caller: Caller, stranger: Caller) -> None:
    make_deposit(stranger.account)
    make_deposit(caller.account)
    mine = Deposit.objects.get(wallet__credits=caller.account)
    assert [row["id"] for row in deposits(caller)["results"]] == [mine.pk]


def test_they_come_in_pages_at_one_price(caller: Caller, django_assert_num_queries: Any) -> None:
    rows = [make_deposit(caller.account, number) for number in range(1, 5)]
    # Token, account, its address, the list, the head.
    with django_assert_num_queries(5):
        first = deposits(caller, limit=3)
    second = json_of(caller.client.get(first["next"]))
    assert [row["id"] for row in first["results"] + second["results"]] == [row.pk for row in reversed(rows)]
    assert second["next"] is None


def test_cursors_of_other_lists_and_unknown_parameters_are_refused(caller: Caller) -> None:
    path = f"accounts/{caller.account.pk}/deposits"
    assert problem_of(caller.get(path, cursor="bm9uZTox"), 422)["code"] == "bad_cursor"
    assert problem_of(caller.get(path, status="waiting"), 422)["errors"][0]["code"] == "unknown_parameter"
