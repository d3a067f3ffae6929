"""Many at once: 32 threads on one account, and on many."""

import threading
from collections.abc import Callable

import pytest
from django.db import connection

from accounts.exceptions import InsufficientFundsError
from accounts.models import Account, Hold
from tasks.submission import submit_payment
from tests.books import assert_books_balance
from tests.conftest import StartWorker
from tests.desk import ETHER, FEE, make_account, make_address
from tests.flows.conftest import LiveDesk
from transactions.exceptions import AccountLockedError
from transactions.models import Transaction

THREADS = 32


def in_threads(work: Callable[[int], None]) -> None:
    """Run work(0) … work(31) at the same time, and raise what any of them raised."""
    errors: list[BaseException] = []
    start = threading.Barrier(THREADS)

    def run(number: int) -> None:
        try:
            start.wait(timeout=20)
            work(number)
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    if errors:
        raise errors[0]


def submit(account: Account, amount_in_wei: int, to: str, key: str) -> int:
    """Submit as a client does that repeats a locked request with its key."""
    while True:
        try:
            return submit_payment(
                user_id=account.owner_id or 0,
                user_account_id=account.pk,
                to_public_address=to,
                amount_in_wei=amount_in_wei,
                idempotency_key=key,
            ).detail["id"]
        except AccountLockedError:
            continue


@pytest.mark.django_db(transaction=True)
def test_one_account_never_pays_more_than_it_has() -> None:
    affordable = 10
    account = make_account(balance_in_wei=affordable * (ETHER + FEE) + FEE)
    to = make_address()
    accepted, refused = [], []

    def work(number: int) -> None:
        try:
            accepted.append(submit(account, ETHER, to, f"key-{number}"))
        except InsufficientFundsError:
            refused.append(number)

    in_threads(work)

    account.refresh_from_db()
    assert (len(accepted), len(refused)) == (affordable, THREADS - affordable)
    assert account.available_balance_in_wei == FEE
    assert Transaction.objects.count() == Hold.objects.count() == affordable
    assert_books_balance()


@pytest.mark.django_db(transaction=True)
def test_one_key_is_one_payment_however_many_ask_at_once() -> None:
    account = make_account(balance_in_wei=100 * ETHER)
    to = make_address()
    ids: list[int] = []

    in_threads(lambda _: ids.append(submit(account, ETHER, to, "the same")))

    account.refresh_from_db()
    assert len(ids) == THREADS
    assert len(set(ids)) == Transaction.objects.count() == 1
    assert account.available_balance_in_wei == 99 * ETHER - FEE


def test_many_accounts_pay_at_once_and_every_payment_arrives(live_desk: LiveDesk, celery_worker: StartWorker) -> None:
    accounts = [make_account(balance_in_wei=10 * ETHER) for _ in range(THREADS)]
    addresses = [make_address() for _ in range(THREADS)]
    celery_worker("money", concurrency=2)

    def work(number: int) -> None:
        for payment in range(3):
            submit(accounts[number], ETHER + number, addresses[number], f"key-{payment}")

    in_threads(work)
    live_desk.run_to_the_end()

    live_desk.assert_paid_once(list(Transaction.objects.order_by("pk")))
    assert {Account.objects.get(pk=account.pk).current_balance_in_wei for account in accounts} == {
        10 * ETHER - 3 * (ETHER + number + FEE) for number in range(THREADS)
    }
