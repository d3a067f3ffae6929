"""What the cache remembers is gone when it changes, though the cache is full, or can't be reached for a while."""

import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from django.db import transaction as db_transaction
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from accounts import cache_barriers, cache_debts
from accounts.cache import CacheCommands
from accounts.cache_barriers import raise_barriers
from accounts.cache_debts import Debts, Forgetting
from tests.caches import PREFIX
from txnsite.stack.errors import StackError
from txnsite.stack.process import wait_for
from txnsite.stack.valkey import Valkey, tell_valkey

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "transaction:7"
OLD = {"id": 7, "stage": "ACCEPTED"}
BARRIER_SECONDS = 90


@pytest.fixture
def commands(own_valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> Iterator[CacheCommands]:
    """This process's commands, to a cache that remembers an old state and that nobody else uses."""
    client = Redis.from_url(own_valkey.url)
    commands = CacheCommands(client, PREFIX)
    monkeypatch.setattr(cache_barriers, "cache_commands", lambda: commands)
    assert commands.write_all({KEY: OLD}, 60)
    yield commands
    client.close()


@pytest.fixture
def reader(own_valkey: Valkey) -> Iterator[CacheCommands]:
    """The commands of another process, which has no trouble with the cache."""
    client = Redis.from_url(own_valkey.url)
    yield CacheCommands(client, PREFIX)
    client.close()


class Trouble:
    """A network that lets nothing of one process through, until it is over."""

    def __init__(self, commands: CacheCommands, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_over = threading.Event()
        for name in ("_write_all", "_forget"):
            monkeypatch.setattr(commands, name, self._in_the_way_of(getattr(commands, name)))

    def _in_the_way_of(self, script: Any) -> Any:
        def run(*args: Any) -> Any:
            if not self.is_over.is_set():
                raise RedisConnectionError
            return script(*args)

        return run


def make_full(server: Valkey) -> None:
    tell_valkey(server.port, "CONFIG SET maxmemory 1")
    with pytest.raises(StackError, match="OOM"):
        tell_valkey(server.port, "SET other 1")


class TestFull:
    def test_a_full_cache_tells_nothing_old_even_before_the_commit(
        self, commands: CacheCommands, reader: CacheCommands, own_valkey: Valkey
    ) -> None:
        make_full(own_valkey)
        with db_transaction.atomic():
            raise_barriers([KEY], BARRIER_SECONDS)
            assert reader.read([KEY]).get(KEY) != OLD
        assert reader.read([KEY]) == {}

    def test_nor_one_that_learns_our_commands_only_now(
        self, commands: CacheCommands, reader: CacheCommands, own_valkey: Valkey
    ) -> None:
        tell_valkey(own_valkey.port, "SCRIPT FLUSH")
        make_full(own_valkey)
        with db_transaction.atomic():
            raise_barriers([KEY], BARRIER_SECONDS)
            assert reader.read([KEY]).get(KEY) != OLD
        assert reader.read([KEY]) == {}


class TestOutOfReach:
    def test_it_is_cleared_as_soon_as_it_can_be_reached(
        self, commands: CacheCommands, reader: CacheCommands, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        trouble = Trouble(commands, monkeypatch)
        with db_transaction.atomic():
            assert not raise_barriers([KEY], BARRIER_SECONDS)
        assert reader.read([KEY]) == {KEY: OLD}, "nobody could tell it"
        trouble.is_over.set()
        wait_for(lambda: reader.read([KEY]) == {}, what="the old state to go", timeout_seconds=10)

    def test_a_barrier_is_taken_away_too_when_the_trouble_came_after_it(
        self, commands: CacheCommands, reader: CacheCommands, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with db_transaction.atomic():
            assert raise_barriers([KEY], BARRIER_SECONDS)
            trouble = Trouble(commands, monkeypatch)
        assert "barrier" in reader.read([KEY])[KEY]
        trouble.is_over.set()
        wait_for(lambda: reader.read([KEY]) == {}, what="the barrier to go", timeout_seconds=10)

    def test_the_barrier_of_a_later_writer_stays(
        self, commands: CacheCommands, reader: CacheCommands, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        trouble = Trouble(commands, monkeypatch)
        with db_transaction.atomic():
            raise_barriers([KEY, "other"], BARRIER_SECONDS)
        later = {"barrier": "of another"}
        assert reader.write_all({KEY: later, "other": OLD}, BARRIER_SECONDS)
        trouble.is_over.set()
        wait_for(lambda: "other" not in reader.read(["other"]), what="the rest to be cleared", timeout_seconds=10)
        assert reader.read([KEY]) == {KEY: later}

    def test_what_is_rolled_back_is_left_to_run_out(self, commands: CacheCommands, reader: CacheCommands) -> None:
        with db_transaction.atomic():
            raise_barriers([KEY], BARRIER_SECONDS)
            db_transaction.set_rollback(True)
        assert "barrier" in reader.read([KEY])[KEY]


class TestDebts:
    """`Debts` alone, with somebody who takes what is owed, or doesn't."""

    def pay(self, batch: Mapping[str, Forgetting]) -> None:
        if self.is_down:
            raise RedisConnectionError
        self.paid += batch

    @pytest.fixture
    def debts(self) -> Debts:
        self.is_down = True
        self.paid: list[str] = []
        return Debts(self.pay)

    def owe(self, debts: Debts, *keys: str, seconds: int = 60) -> None:
        debts.owe({key: Forgetting(b"1", b"", seconds) for key in keys})

    def test_it_is_paid_once_and_the_thread_ends(self, debts: Debts) -> None:
        self.owe(debts, "one", "two")
        self.is_down = False
        wait_for(lambda: debts._thread is None, what="the thread's end", timeout_seconds=10)
        assert self.paid == ["one", "two"]
        self.owe(debts, "three")
        wait_for(lambda: debts._thread is None, what="the next one's end", timeout_seconds=10)
        assert self.paid == ["one", "two", "three"]

    def test_what_nobody_insists_on_is_not_owed(self, debts: Debts) -> None:
        self.owe(debts, "one", seconds=0)
        assert debts._thread is None
        assert debts._owed == {}

    def test_after_its_time_it_is_given_up(self, debts: Debts) -> None:
        self.owe(debts, "one", seconds=1)
        wait_for(lambda: debts._thread is None, what="the thread's end", timeout_seconds=10)
        assert (self.paid, debts._owed) == ([], {})

    def test_what_is_owed_anew_while_it_is_paid_is_paid_again(self, debts: Debts) -> None:
        self.is_down = False
        pay = debts._pay

        def pay_and_owe(batch: Mapping[str, Forgetting]) -> None:
            debts._pay = pay
            pay(batch)
            self.owe(debts, "one")

        debts._pay = pay_and_owe
        self.owe(debts, "one")
        wait_for(lambda: debts._thread is None, what="the thread's end", timeout_seconds=10)
        assert self.paid == ["one", "one"]

    def test_of_too_many_the_newest_are_kept(self, debts: Debts, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cache_debts, "OWED_MAX", 2)
        self.owe(debts, "one", "two", "three")
        self.owe(debts, "two")
        self.owe(debts, "four")
        self.is_down = False
        wait_for(lambda: debts._thread is None, what="the thread's end", timeout_seconds=10)
        assert self.paid == ["two", "four"]
