"""The same account from many threads at once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import connection
from django.http import HttpResponse

from accounts.models import Hold
from tests.api.callers import Caller, json_of
from tests.books import assert_books_balance
from tests.desk import ETHER, FEE, make_account
from transactions.models import Transaction

pytestmark = pytest.mark.django_db(transaction=True)
THREADS = 8


def at_once(ask: Callable[[int], HttpResponse]) -> list[HttpResponse]:
    """Return the answers to requests that all start at the same moment."""
    start = Barrier(THREADS)

    def run(number: int) -> HttpResponse:
        try:
            start.wait(10)
            return ask(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(run, range(THREADS)))


def test_one_key_sent_many_times_at_once_is_one_payment() -> None:
    caller = Caller()
    answers = at_once(lambda _: caller.pay(key="order-17"))
    locked = [answer for answer in answers if answer.status_code == 409]
    first = [answer for answer in answers if answer.status_code == 201]
    replayed = [answer for answer in answers if answer.status_code == 200]
    assert len(first) == 1
    assert len(first) + len(replayed) + len(locked) == THREADS
    assert {answer.content for answer in replayed} <= {first[0].content}
    assert all(answer["Idempotency-Replayed"] == "true" for answer in replayed)
    assert Transaction.objects.count() == Hold.objects.count() == 1
    assert_books_balance()


def test_one_key_sent_many_times_at_once_without_a_cache_is_one_payment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock in the cache only spares the database; without it the database alone must hold."""
    caller = Caller()
    monkeypatch.setattr("accounts.cache.CacheCommands._try", lambda *_, **__: None)
    monkeypatch.setattr("accounts.cache.CacheCommands.is_up", False)
    answers = at_once(lambda _: caller.pay(key="order-17"))
    assert sorted(answer.status_code for answer in answers) == [200] * (THREADS - 1) + [201]
    assert len({answer.content for answer in answers}) == 1
    assert Transaction.objects.count() == Hold.objects.count() == 1
    assert_books_balance()


def test_no_more_is_paid_than_there_is() -> None:
    caller = Caller()
    account = make_account(caller.user, balance_in_wei=3 * (ETHER + FEE))
    answers = at_once(lambda _: caller.pay(user_account_id=account.pk))
    accepted = [json_of(answer, 201)["id"] for answer in answers if answer.status_code == 201]
    refused = [json_of_problem(answer) for answer in answers if answer.status_code != 201]
    assert 1 <= len(accepted) == len(set(accepted)) <= 3
    assert set(refused) <= {"insufficient_funds", "account_locked"}
    account.refresh_from_db()
    assert account.available_balance_in_wei == (3 - len(accepted)) * (ETHER + FEE)
    assert_books_balance()


def json_of_problem(response: HttpResponse) -> str:
    """Return a problem's code."""
    return str(response.json()["code"])  # type: ignore[attr-defined]
