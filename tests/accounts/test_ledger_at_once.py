"""Many sessions that post to the same accounts at once: nobody's entry is lost, and nobody waits for ever."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections

from accounts.exceptions import AlreadyPostedError, HoldNotHeldError, InsufficientFundsError
from accounts.ledger import place_hold, post
from accounts.models import Account, AccountKind, Hold, Journal, JournalKind
from tests.accounts.ledger_words import account, journal
from tests.books import assert_books_balance
from tests.desk import NOW, make_account

pytestmark = pytest.mark.django_db(transaction=True)

THREADS = 8


def at_once(work: Callable[[int], object]) -> list[object]:
    """Run work(0), work(1), … in sessions of their own that start together; return results, or errors' classes."""
    start = threading.Barrier(THREADS)

    def run(number: int) -> object:
        start.wait(20)
        try:
            return work(number)
        except Exception as error:
            return type(error)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(run, range(THREADS)))


def adjustment(one: Account, other: Account, amount_in_wei: int, source: str) -> None:
    entries = (one, -amount_in_wei), (other, amount_in_wei)
    post(now=NOW, journals=[journal(*entries, source=source, kind=JournalKind.ADJUSTMENT)])


def test_each_entry_knows_the_balance_after_it() -> None:
    user, outside = make_account(balance_in_wei=1_000), account(AccountKind.EXTERNAL_FUNDING)

    def work(number: int) -> None:
        for step in range(10):
            adjustment(user, outside, 1, f"{number}-{step}")

    assert at_once(work) == [None] * THREADS
    user.refresh_from_db()
    assert user.current_balance_in_wei == user.available_balance_in_wei == 1_000 - 10 * THREADS
    assert_books_balance()


def test_transfers_in_opposite_directions_do_not_block_each_other_for_ever() -> None:
    one, other = make_account(balance_in_wei=1_000), make_account(balance_in_wei=1_000)

    def work(number: int) -> None:
        for step in range(10):
            pair = (one, other) if number % 2 else (other, one)
            adjustment(*pair, 1, f"{number}-{step}")

    assert at_once(work) == [None] * THREADS
    one.refresh_from_db()
    assert one.current_balance_in_wei == 1_000
    assert_books_balance()


def test_one_event_is_posted_by_one_of_them() -> None:
    user, outside = make_account(balance_in_wei=1_000), account(AccountKind.EXTERNAL_FUNDING)
    answers = at_once(lambda _: adjustment(user, outside, 7, "the same"))
    assert sorted(answers, key=str) == sorted([None, *[AlreadyPostedError] * (THREADS - 1)], key=str)
    user.refresh_from_db()
    assert user.current_balance_in_wei == 993
    assert Journal.objects.filter(source="the same").count() == 1
    assert_books_balance()


def test_one_hold_is_resolved_by_one_of_them() -> None:
    user, outside = make_account(balance_in_wei=1_000), account(AccountKind.EXTERNAL_FUNDING)
    place_hold(account_id=user.pk, amount_in_wei=100, kind="test", source="1", now=NOW)

    def work(number: int) -> None:
        if number % 2:
            post(now=NOW, release_holds=["1"], hold_kind="test")
        else:
            entries = (user, -100), (outside, 100)
            drafts = [journal(*entries, source=f"s{number}", kind=JournalKind.ADJUSTMENT)]
            post(now=NOW, journals=drafts, settle_holds=["1"], hold_kind="test")

    answers = at_once(work)
    assert sorted(answers, key=str) == sorted([None, *[HoldNotHeldError] * (THREADS - 1)], key=str)
    user.refresh_from_db()
    settled = Hold.objects.get(source="1").status == "settled"
    assert user.current_balance_in_wei == user.available_balance_in_wei == (900 if settled else 1_000)
    assert_books_balance()


def test_holds_never_share_a_wei() -> None:
    user = make_account(balance_in_wei=25)

    def work(number: int) -> None:
        place_hold(account_id=user.pk, amount_in_wei=10, kind="test", source=str(number), now=NOW)

    answers = at_once(work)
    assert sorted(answers, key=str) == sorted([None, None, *[InsufficientFundsError] * (THREADS - 2)], key=str)
    user.refresh_from_db()
    assert user.available_balance_in_wei == 5
    assert Hold.objects.count() == 2
    assert_books_balance()
