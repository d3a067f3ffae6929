"""Submitting a payment: the account's lock in the cache spares the database, and never stands in a payer's way."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from pytest_django.fixtures import Settings

from accounts.cache import cache_commands
from accounts.exceptions import InsufficientFundsError
from accounts.models import Account, Hold
from tasks import nudge
from tasks.submission import account_lock, submit_payment
from tests.brokers import broker_at, waiting
from tests.caches import PREFIX, raw_cache, seconds_left, take_cache_down, value_of
from tests.desk import ETHER, FEE, RECIPIENT, Desk, make_account
from transactions.exceptions import AccountLockedError
from transactions.models import Transaction
from transactions.services.accept import Acceptance

NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture(autouse=True)
def _not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nudge, "_silent_until", 0.0)


def submit(account: Account, *, amount_in_wei: int = ETHER, key: str | None = None) -> Acceptance:
    return submit_payment(
        user_id=account.owner_id or 0,
        user_account_id=account.pk,
        to_public_address=RECIPIENT,
        amount_in_wei=amount_in_wei,
        idempotency_key=key,
    )


def lock_key(account: Account) -> str:
    return f"account-lock:{account.pk}"


def is_locked(account: Account) -> bool:
    return bool(raw_cache().exists(PREFIX + lock_key(account)))


def lock_as_another(account: Account, seconds: int = 60) -> None:
    raw_cache().set(PREFIX + lock_key(account), '"another owner"', ex=seconds)


def nothing_moved(account: Account) -> bool:
    account.refresh_from_db()
    untouched = account.available_balance_in_wei == account.current_balance_in_wei
    return untouched and not Transaction.objects.exists() and not Hold.objects.exists()


class TestAccepted:
    def test_for_one_that_waits_for_approval_nobody_is_woken(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        woken: list[int] = []
        monkeypatch.setattr("tasks.submission.nudge_broadcast", lambda: woken.append(1))
        desk.set_policy(approval_above_in_wei=ETHER)
        assert submit(desk.account, amount_in_wei=ETHER + 1).detail["stage"] == "REVIEW"
        assert woken == []
        submit(desk.account, amount_in_wei=ETHER)
        assert woken == [1]

    def test_it_is_accepted_the_lock_is_free_and_the_broadcaster_is_woken(self, desk: Desk) -> None:
        acceptance = submit(desk.account, key="k")
        payment = Transaction.objects.get()
        assert (acceptance.detail["id"], acceptance.replayed) == (payment.pk, False)
        assert not is_locked(desk.account)
        assert [message.task for message in waiting("money")] == ["tasks.money.broadcast"]
        desk.account.refresh_from_db()
        assert desk.account.available_balance_in_wei == 99 * ETHER - FEE
        desk.assert_books_balance()

    def test_a_replay_wakes_nobody(self, desk: Desk) -> None:
        submit(desk.account, key="k")
        raw_cache().flushdb()
        before = len(waiting("money"))
        assert submit(desk.account, key="k").replayed
        assert len(waiting("money")) == before

    def test_a_refused_one_frees_the_lock_and_wakes_nobody(self, desk: Desk) -> None:
        with pytest.raises(InsufficientFundsError):
            submit(desk.account, amount_in_wei=1_000 * ETHER)
        assert not is_locked(desk.account)
        assert waiting("money") == []
        assert nothing_moved(desk.account)


class TestLocked:
    def test_a_lock_held_by_another_refuses_and_moves_nothing(self, desk: Desk, settings: Settings) -> None:
        settings.ACCOUNT_LOCK_WAIT_SECONDS = 0.05
        lock_as_another(desk.account)
        with pytest.raises(AccountLockedError) as refusal:
            submit(desk.account)
        assert (refusal.value.code, refusal.value.retry_after_seconds) == ("account_locked", 1)
        assert nothing_moved(desk.account)
        assert waiting("money") == []
        assert value_of(lock_key(desk.account)) == "another owner", "freed by its owner only"

    def test_it_is_a_lock_of_one_account(self, desk: Desk, settings: Settings) -> None:
        settings.ACCOUNT_LOCK_WAIT_SECONDS = 0.05
        lock_as_another(make_account())
        assert submit(desk.account).detail["stage"] == "ACCEPTED"

    def test_one_that_is_freed_in_time_is_waited_for(self, desk: Desk, settings: Settings) -> None:
        settings.ACCOUNT_LOCK_WAIT_SECONDS = 20
        taken, wanted = threading.Event(), threading.Event()

        def hold() -> None:
            with account_lock(desk.account.pk):
                taken.set()
                assert wanted.wait(20)

        with ThreadPoolExecutor(1) as thread:
            held = thread.submit(hold)
            assert taken.wait(20)
            assert is_locked(desk.account)
            wanted.set()
            assert submit(desk.account).detail["stage"] == "ACCEPTED"
            held.result(timeout=20)

    def test_one_whose_owner_died_runs_out(self, desk: Desk, settings: Settings) -> None:
        with account_lock(desk.account.pk):
            assert 0 < seconds_left(lock_key(desk.account)) <= 10
        settings.ACCOUNT_LOCK_WAIT_SECONDS = 20
        raw_cache().set(PREFIX + lock_key(desk.account), "the dead", px=50)
        assert submit(desk.account).detail["stage"] == "ACCEPTED"

    def test_one_that_ran_out_and_is_anothers_now_is_not_freed(self, desk: Desk) -> None:
        with account_lock(desk.account.pk):
            lock_as_another(desk.account)
        assert value_of(lock_key(desk.account)) == "another owner"

    def test_two_payments_of_one_account_are_never_inside_at_once(self, desk: Desk, settings: Settings) -> None:
        settings.ACCOUNT_LOCK_WAIT_SECONDS = 20
        inside, most = [0], [0]
        counting = threading.Lock()

        def enter(_: int) -> None:
            with account_lock(desk.account.pk):
                with counting:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                with counting:
                    inside[0] -= 1

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(enter, range(40)))
        assert most == [1]


class TestOutages:
    """Accepted, and quickly, whatever is down; sent with the follower's next tick."""

    def assert_accepted_and_paid(self, desk: Desk) -> None:
        started = time.monotonic()
        acceptances = [submit(desk.account, key=f"k{number}") for number in range(3)]
        assert time.monotonic() - started < 2
        assert [acceptance.replayed for acceptance in acceptances] == [False] * 3
        assert submit(desk.account, key="k0").detail == acceptances[0].detail
        desk.run_to_the_end()
        desk.assert_paid_once(list(Transaction.objects.all()))
        desk.assert_books_balance()

    def test_without_cache(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        take_cache_down(monkeypatch)
        self.assert_accepted_and_paid(desk)

    def test_without_broker(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        with broker_at(NOWHERE, monkeypatch):
            self.assert_accepted_and_paid(desk)

    def test_without_node(self, desk: Desk) -> None:
        with desk.chain.outage():
            submit(desk.account)
            desk.broadcast()
        self.assert_accepted_and_paid(desk)

    def test_without_any_of_them(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        take_cache_down(monkeypatch)
        with broker_at(NOWHERE, monkeypatch), desk.chain.outage():
            assert submit(desk.account).detail["stage"] == "ACCEPTED"
        monkeypatch.undo()
        desk.run_to_the_end()
        desk.assert_paid_once([Transaction.objects.get()])


def test_what_is_forgotten_together_within_another_is_forgotten_at_the_outer_end() -> None:
    commands = cache_commands()
    commands.write_all({"one": 1, "two": 2}, 9)
    with commands.forgetting_together():
        with commands.forgetting_together():
            commands.forget_if({"one": 1})
        commands.forget_if({"two": 2})
        assert commands.read(["one", "two"]) == {"one": 1, "two": 2}
    assert commands.read(["one", "two"]) == {}
