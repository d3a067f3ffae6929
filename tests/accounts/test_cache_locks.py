"""Locks over three independent servers: two must agree, one may be down, and never do two hold one at once."""

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pytest_django import Settings
from redis import Redis
from redis.exceptions import TimeoutError as RedisTimeoutError

from accounts import cache_locks as module
from accounts.cache import PAUSE_SECONDS, CacheCommands, cache_commands
from accounts.cache_locks import CacheLocks, Lock, cache_locks, lock_client
from accounts.exceptions import LockHeldError
from tasks.submission import account_lock, submit_payment
from tests.desk import ETHER, RECIPIENT, Desk
from tests.processes import settings_say
from transactions.exceptions import AccountLockedError
from transactions.models import Transaction
from txnsite.stack.process import wait_for
from txnsite.stack.valkey import Valkey

KEY = "account-lock:7"
SECONDS = 3


@pytest.fixture(scope="module")
def _started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Valkey]]:
    folder = tmp_path_factory.mktemp("locks")
    trio = [Valkey(folder / str(n), log_path=folder / f"{n}.log", durable=False) for n in range(3)]
    for server in trio:
        server.start()
    yield trio
    for server in trio:
        server.kill()


@pytest.fixture
def trio(_started: list[Valkey]) -> list[Valkey]:
    """Three servers that know of no lock; a test may stop them."""
    for server in _started:
        if server.is_running:
            server.flush()
        else:
            server.start()
    return _started


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take no server for one that hangs only because the machine is busy."""
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 5.0)


def commands_of(servers: Sequence[Valkey]) -> list[CacheCommands]:
    return [CacheCommands(lock_client(server.url), "txnsite:", name=f"Lock server {server.port}") for server in servers]


def locks_of(servers: Sequence[Valkey]) -> CacheLocks:
    """Return the locks of one process."""
    return CacheLocks(commands_of(servers))


def holders(servers: Sequence[Valkey]) -> list[str | None]:
    """Return the token that each server holds."""
    return [commands.read([KEY]).get(KEY) for commands in commands_of(servers)]


def hold_as_another(*servers: Valkey) -> None:
    for commands in commands_of(servers):
        assert commands.take(KEY, "another", 60)


def take(locks: CacheLocks, wait_seconds: float = 0, *, seconds: int = SECONDS) -> Lock:
    lock = locks.acquire(KEY, seconds, wait_seconds)
    assert lock is not None
    return lock


class TestMajority:
    def test_all_servers_are_asked_and_all_are_told_when_it_is_free(self, trio: list[Valkey]) -> None:
        locks = locks_of(trio)
        lock = take(locks)
        assert holders(trio) == [lock.token] * 3
        locks.release(lock)
        assert holders(trio) == [None] * 3

    @pytest.mark.parametrize("down", range(3))
    def test_one_may_be_down(self, trio: list[Valkey], down: int) -> None:
        trio[down].kill()
        first, second = locks_of(trio), locks_of(trio)
        lock = take(first)
        with pytest.raises(LockHeldError):
            second.acquire(KEY, SECONDS, 0)
        first.release(lock)
        second.release(take(second))
        up = [server for number, server in enumerate(trio) if number != down]
        assert holders(up) == [None] * 2

    @pytest.mark.parametrize("others", range(3))
    def test_one_may_hold_a_dead_owners_token(self, trio: list[Valkey], others: int) -> None:
        hold_as_another(trio[others])
        locks = locks_of(trio)
        lock = take(locks)
        locks.release(lock)
        assert holders(trio) == ["another" if number == others else None for number in range(3)]

    @pytest.mark.parametrize("free", range(3))
    def test_a_minority_is_refused_and_leaves_nothing_behind(self, trio: list[Valkey], free: int) -> None:
        hold_as_another(*(server for number, server in enumerate(trio) if number != free))
        with pytest.raises(LockHeldError):
            locks_of(trio).acquire(KEY, SECONDS, 0)
        assert holders(trio) == [None if number == free else "another" for number in range(3)]

    def test_one_down_and_one_held_is_a_minority(self, trio: list[Valkey]) -> None:
        trio[0].kill()
        hold_as_another(trio[1])
        with pytest.raises(LockHeldError):
            locks_of(trio).acquire(KEY, SECONDS, 0)
        assert holders(trio[1:]) == ["another", None]

    @pytest.mark.parametrize("count", range(1, 6))
    def test_more_than_half_must_agree(self, count: int) -> None:
        """Counted on servers in memory, for one to five of them."""
        for granting in range(count + 1):
            servers: list[Any] = [_Server(number < granting) for number in range(count)]
            locks = CacheLocks(servers)
            if 2 * granting > count:
                assert locks.acquire(KEY, SECONDS, 0) is not None
            else:
                with pytest.raises(LockHeldError):
                    locks.acquire(KEY, SECONDS, 0)


class _Server:
    """A server that grants, refuses or is silent, and takes its time."""

    def __init__(self, answer: bool | None, clock: "_Clock | None" = None, takes_seconds: float = 0) -> None:
        self.answer, self.clock, self.takes_seconds = answer, clock, takes_seconds
        self.forgotten: list[str] = []

    def take(self, key: str, token: str, seconds: int) -> bool | None:
        if self.clock is not None:
            self.clock.now += self.takes_seconds
        return self.answer

    def forget_if(self, values: dict[str, str]) -> None:
        self.forgotten += values


class _Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class TestTime:
    def test_one_that_took_longer_than_it_lasts_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """3 s less 1 % and 2 ms of drift are 2.968 s; three servers share them."""
        for takes_seconds, is_taken in [(0.989, True), (0.99, False)]:
            clock = _Clock()
            monkeypatch.setattr(module, "time", clock)
            servers: list[Any] = [_Server(True, clock, takes_seconds) for _ in range(3)]
            locks = CacheLocks(servers)
            if is_taken:
                assert locks.acquire(KEY, SECONDS, 0) is not None
                assert [server.forgotten for server in servers] == [[]] * 3
            else:
                with pytest.raises(LockHeldError):
                    locks.acquire(KEY, SECONDS, 0)
                assert [server.forgotten for server in servers] == [[KEY]] * 3

    def test_one_whose_owner_died_runs_out(self, trio: list[Valkey]) -> None:
        locks_of(trio).acquire(KEY, 2, 0)
        locks = locks_of(trio)
        with pytest.raises(LockHeldError):
            locks.acquire(KEY, SECONDS, 0)
        take(locks, wait_seconds=20)

    def test_one_that_ran_out_and_is_anothers_now_is_not_freed(self, trio: list[Valkey]) -> None:
        first, second = locks_of(trio), locks_of(trio)
        old = take(first)
        for server in trio:
            server.flush()
        new = take(second)
        first.release(old)
        assert holders(trio) == [new.token] * 3

    def test_one_that_is_freed_in_time_is_waited_for(self, trio: list[Valkey]) -> None:
        first, second = locks_of(trio), locks_of(trio)
        lock = take(first)
        with ThreadPoolExecutor(1) as thread:
            waiting = thread.submit(take, second, 20)
            first.release(lock)
            assert waiting.result(20).token != lock.token


class TestFaults:
    def test_where_a_majority_is_down_it_is_done_without_and_at_once(self, trio: list[Valkey]) -> None:
        trio[0].kill()
        trio[2].kill()
        locks = locks_of(trio)
        started = time.monotonic()
        for _ in range(50):
            assert locks.acquire(KEY, SECONDS, 10) is None
        assert time.monotonic() - started < 10
        assert holders(trio[1:2]) == [None]

    def test_when_it_is_back_it_is_used_again(self, trio: list[Valkey], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("accounts.cache.PAUSE_SECONDS", 0.0)
        locks = locks_of(trio)
        locks.release(take(locks))
        for server in trio[1:]:
            server.kill()
        assert locks.acquire(KEY, SECONDS, 0) is None
        trio[1].start()
        take(locks)

    def test_one_that_hangs_costs_one_time_out_a_second(
        self, trio: list[Valkey], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.1)
        os.kill(trio[1].pid, signal.SIGSTOP)
        try:
            locks = locks_of(trio)
            started = time.monotonic()
            for _ in range(20):
                locks.release(take(locks))
            time_outs = [record for record in caplog.records if "does not answer (TimeoutError)" in record.message]
            assert 1 <= len(time_outs) <= 1 + (time.monotonic() - started) / PAUSE_SECONDS
        finally:
            os.kill(trio[1].pid, signal.SIGCONT)

    def test_a_try_made_again_because_its_answer_was_lost_knows_its_own_token(self, trio: list[Valkey]) -> None:
        """redis-py sends a command again over a new connection when the old one broke."""
        (commands,) = commands_of(trio[:1])
        assert [commands.take(KEY, token, SECONDS) for token in ("mine", "mine", "another's")] == [True, True, False]

    def test_lost_answers_let_nobody_else_in_and_run_out(
        self, trio: list[Valkey], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The lock is set at all three, and two of the answers never arrive."""
        mute = locks_of(trio)
        for commands in mute._servers[1:]:
            swallow_answers(monkeypatch, commands)
        assert mute.acquire(KEY, SECONDS, 0) is None, "too few answered: done without"
        first, *rest = holders(trio)
        assert first is None, "freed where it could be"
        assert None not in rest
        other = locks_of(trio)
        with pytest.raises(LockHeldError):
            other.acquire(KEY, SECONDS, 0)
        take(other, wait_seconds=20)


def swallow_answers(monkeypatch: pytest.MonkeyPatch, commands: CacheCommands) -> None:
    """Let every script be run by the server and its answer be lost."""
    client: Any = commands._client
    send = client.execute_command

    def execute(*args: Any, **options: Any) -> Any:
        send(*args, **options)
        raise RedisTimeoutError

    monkeypatch.setattr(client, "evalsha", lambda sha, *args: execute("EVALSHA", sha, *args))
    for script in (commands._take, commands._forget):
        client.script_load(script.script)


class TestMutualExclusion:
    """Each thread is a process of its own: with its own connections, and even with an order of servers of its own."""

    ENTRIES = 15

    @pytest.fixture
    def counter(self) -> "_Counter":
        return _Counter()

    def enter(self, trio: list[Valkey], number: int, counter: "_Counter") -> None:
        locks = locks_of(trio[number % 3 :] + trio[: number % 3])
        for _ in range(self.ENTRIES):
            # A thread of a busy machine may stand still for longer than a lock usually lasts.
            lock = take(locks, wait_seconds=60, seconds=30)
            counter.come_and_go()
            locks.release(lock)

    @pytest.mark.parametrize("down", [None, 0, 2])
    def test_two_never_hold_it_at_once(self, trio: list[Valkey], down: int | None, counter: "_Counter") -> None:
        if down is not None:
            trio[down].kill()
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda number: self.enter(trio, number, counter), range(8)))
        assert (counter.entries, counter.most_inside) == (8 * self.ENTRIES, 1)

    def test_also_when_a_server_dies_meanwhile(self, trio: list[Valkey], counter: "_Counter") -> None:
        with ThreadPoolExecutor(8) as threads:
            results = [threads.submit(self.enter, trio, number, counter) for number in range(8)]
            wait_for(lambda: counter.entries > 2 * self.ENTRIES, what="some entries", timeout_seconds=60)
            trio[1].kill()
            for result in results:
                result.result(60)
        assert (counter.entries, counter.most_inside) == (8 * self.ENTRIES, 1)


class _Counter:
    """How many are inside at once, and were at most."""

    def __init__(self) -> None:
        self._counting = threading.Lock()
        self._inside = 0
        self.entries = self.most_inside = 0

    def come_and_go(self) -> None:
        with self._counting:
            self.entries += 1
            self._inside += 1
            self.most_inside = max(self.most_inside, self._inside)
        # Long enough for another to come in, if it could.
        time.sleep(0.001)
        with self._counting:
            self._inside -= 1


class TestRoundTrips:
    @staticmethod
    def scripts_run(server: Valkey) -> int:
        stats: Any = Redis.from_url(server.url).info("commandstats")
        return int(stats.get("cmdstat_evalsha", {"calls": 0})["calls"])

    def test_one_to_take_it_and_one_to_free_it(self, trio: list[Valkey]) -> None:
        commands = CacheCommands(Redis.from_url(trio[0].url), "txnsite:")
        locks = CacheLocks([commands])
        locks.release(take(locks))
        before = self.scripts_run(trio[0])
        locks.release(take(locks))
        assert self.scripts_run(trio[0]) == before + 2

    def test_the_lock_is_freed_with_whatever_else_is_forgotten(self, trio: list[Valkey]) -> None:
        commands = CacheCommands(Redis.from_url(trio[0].url), "txnsite:")
        locks = CacheLocks([commands])
        locks.release(take(locks))
        commands.write_all({"one": 1}, 60)
        before = self.scripts_run(trio[0])
        with commands.forgetting_together():
            lock = take(locks)
            commands.forget_if({"one": 1})
            locks.release(lock)
        assert self.scripts_run(trio[0]) == before + 2
        assert commands.read(["one", KEY]) == {}


class TestSettings:
    @pytest.fixture
    def locked(self, trio: list[Valkey], settings: Settings) -> Iterator[list[Valkey]]:
        """The three servers, in the settings."""
        settings.LOCK_URLS = [server.url for server in trio]
        settings.ACCOUNT_LOCK_WAIT_SECONDS = 0.05
        cache_locks.cache_clear()
        yield trio
        cache_locks.cache_clear()

    def test_without_any_it_is_the_cache(self) -> None:
        assert cache_locks()._servers == (cache_commands(),)

    def test_a_payment_holds_its_accounts_lock_at_all_of_them(self, locked: list[Valkey], desk: Desk) -> None:
        key = f"account-lock:{desk.account.pk}"
        with account_lock(desk.account.pk):
            tokens = [commands.read([key])[key] for commands in commands_of(locked)]
            assert len(set(tokens)) == 1
            with pytest.raises(AccountLockedError), account_lock(desk.account.pk):
                pass
        assert [commands.read([key]) for commands in commands_of(locked)] == [{}] * 3

    def test_with_a_majority_down_it_is_accepted_all_the_same(self, locked: list[Valkey], desk: Desk) -> None:
        for server in locked[1:]:
            server.kill()
        self.pay(desk)
        assert Transaction.objects.count() == 1
        desk.assert_books_balance()

    def pay(self, desk: Desk) -> None:
        submit_payment(
            user_id=desk.account.owner_id or 0,
            user_account_id=desk.account.pk,
            to_public_address=RECIPIENT,
            amount_in_wei=ETHER,
            idempotency_key=None,
        )

    def test_no_log_shows_where_they_are(self, locked: list[Valkey], caplog: pytest.LogCaptureFixture) -> None:
        locked[1].kill()
        lock = cache_locks().acquire(KEY, SECONDS, 0)
        assert lock is not None
        cache_locks().release(lock)
        (line,) = [record.getMessage() for record in caplog.records]
        assert line == "Lock server 2 of 3 does not answer (ConnectionError); going on without it."


@pytest.fixture
def desk(db: None) -> Desk:
    return Desk()


@pytest.mark.parametrize("urls", ["http://one", "redis://a,redis://a", "redis://u:s3cret@a,b"])
def test_urls_that_can_not_be_right_are_refused_at_start_without_showing_them(urls: str) -> None:
    done = settings_say("settings.LOCK_URLS", LOCK_URLS=urls)
    assert done.returncode == 1
    assert "LOCK_URLS must be different redis:// or rediss:// URLs" in done.stderr
    assert "s3cret" not in done.stderr
    assert settings_say("settings.LOCK_URLS", LOCK_URLS="redis://a, rediss://b,").stdout == (
        "['redis://a', 'rediss://b']\n"
    )
