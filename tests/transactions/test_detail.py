"""What is told about a transaction comes from the cache, and is never older than the last commit."""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections
from django.db import transaction as db_transaction
from django.test import override_settings
from pytest_django import DjangoAssertNumQueries

from accounts.cache import cache_commands
from tests.caches import PREFIX, other_process, raw_cache, seconds_left, take_cache_down, value_of
from tests.desk import NOW, Desk, make_address
from transactions import detail as detail_module
from transactions.detail import Detail, read_detail, wait_for_hash
from transactions.models import Block, Transaction
from transactions.services.moves import move_transactions
from transactions.states import Stage

pytestmark = pytest.mark.django_db(transaction=True)


def read(payment: Transaction | int) -> Detail:
    detail = read_detail(payment if isinstance(payment, int) else payment.pk)
    assert detail is not None
    return detail


def key_of(payment: Transaction) -> str:
    return f"transaction:{payment.pk}"


def reject(payment: Transaction) -> None:
    """Change a payment as the services do: in one database transaction that announces it."""
    with db_transaction.atomic():
        change(payment)


def change(payment: Transaction) -> None:
    """Make the change, within a database transaction that the caller ends."""
    columns = {"status": "FAILED", "failure_reason": "rejected", "settled_at": NOW}
    assert move_transactions([payment.pk], old=[Stage.ACCEPTED], new=Stage.SETTLED, constants=columns)


class TestCached:
    def test_the_second_reader_asks_no_database(
        self, desk: Desk, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        payment = desk.accept()
        first = read(payment)
        with django_assert_num_queries(0):
            assert read(payment) == first
        assert 55 < seconds_left(key_of(payment)) <= 60

    def test_a_missing_one_is_remembered_as_missing_for_half_a_minute(
        self, desk: Desk, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        missing = desk.accept().pk + 1
        assert read_detail(missing) is None
        with django_assert_num_queries(0):
            assert read_detail(missing) is None
        assert 25 < seconds_left(f"transaction:{missing}") <= 30

    def test_a_missing_one_that_comes_to_be_is_there_at_once(self, desk: Desk) -> None:
        missing = desk.accept().pk + 1
        assert read_detail(missing) is None
        payment = desk.accept()
        assert payment.pk == missing
        assert read(payment)["stage"] == "ACCEPTED"

    def test_confirmations_grow_without_the_row_being_read(
        self, desk: Desk, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        payment = desk.accept()
        desk.broadcast()
        desk.mine()
        assert read(payment)["confirmations"] == 1
        for expected in (2, 3):
            desk.mine()
            with django_assert_num_queries(0):
                assert (read(payment)["confirmations"], read(payment)["confirmations_required"]) == (expected, 10)

    def test_a_head_that_the_cache_has_lost_is_read_and_told_again(
        self, desk: Desk, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        payment = desk.accept()
        desk.broadcast()
        desk.mine(4)
        read(payment)
        raw_cache().delete(f"{PREFIX}{detail_module.HEAD_KEY}")
        with django_assert_num_queries(1):
            assert read(payment)["confirmations"] == 4
        with django_assert_num_queries(0):
            assert read(payment)["confirmations"] == 4

    def test_no_confirmation_is_told_before_a_block_is_known(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.mine(3)
        assert read(payment)["confirmations"] == 0
        desk.broadcast()
        desk.mine()
        Block.objects.all().delete()
        raw_cache().flushdb()
        assert read(payment)["confirmations"] == 0


class TestNeverStale:
    def test_each_step_of_a_life_is_told_at_once(self, desk: Desk) -> None:
        payment = desk.accept()
        told = []

        def tell() -> None:
            # Twice, so that the cache is warm before the next change.
            assert read(payment) == read(payment)
            detail = read(payment)
            told.append((detail["stage"], detail["wait_reason"], detail["confirmations"]))

        tell()
        with desk.chain.outage():
            desk.broadcast()
        tell()
        desk.chain.lose_answers()
        desk.broadcast()
        tell()
        desk.broadcast()
        tell()
        desk.mine(2)
        tell()
        desk.chain.reorg(2, back_to_pool=True)
        desk.follow()
        tell()
        desk.mine(10)
        tell()
        assert told == [
            ("ACCEPTED", "", 0),
            ("ACCEPTED", "node", 0),
            ("SIGNED", "node", 0),
            ("BROADCAST", "", 0),
            ("MINED", "", 2),
            ("BROADCAST", "", 0),
            ("SETTLED", "", 10),
        ]
        assert (read(payment)["status"], read(payment)["transaction_fee_blockchain_in_wei"]) == (
            "SUCCESSFUL",
            "42000000000000",
        )

    def test_a_rejection_is_told_at_once(self, desk: Desk) -> None:
        refusing = make_address()
        payment = desk.accept(to=refusing)
        read(payment)
        desk.chain.reverting.add(refusing)
        desk.broadcast()
        detail = read(payment)
        assert (detail["status"], detail["failure_reason"], detail["failure_detail"]) == (
            "FAILED",
            "rejected",
            "execution reverted",
        )

    def test_what_was_read_before_a_change_is_not_remembered_after_it(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The reader is slow: between its look at the database and its word to the cache, everything changes."""
        payment = desk.accept()
        self.meanwhile(monkeypatch, lambda: reject(payment))
        assert read(payment)["stage"] == "ACCEPTED", "as it was when it was read"
        assert read(payment)["stage"] == "SETTLED"

    def test_nor_what_was_read_while_a_change_is_not_yet_committed(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        payment = desk.accept()
        with Writer(payment) as writer:
            self.meanwhile(monkeypatch, writer.begin)
            assert read(payment)["stage"] == "ACCEPTED", "nothing is committed"
            assert read(payment)["stage"] == "ACCEPTED"
            writer.commit()
        assert read(payment)["stage"] == "SETTLED"

    def test_a_lease_does_not_lift_the_barrier_of_a_change_begun_meanwhile(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The reader has found nothing in the cache, and only then the change begins."""
        payment = desk.accept()
        commands = cache_commands()
        look = commands.read
        with Writer(payment) as writer:

            def find_nothing_then_begin(keys: Sequence[str]) -> dict[str, object]:
                found = look(keys)
                monkeypatch.setattr(commands, "read", look)
                writer.begin()
                return found

            monkeypatch.setattr(commands, "read", find_nothing_then_begin)
            assert read(payment)["stage"] == "ACCEPTED"
            writer.commit()
        assert read(payment)["stage"] == "SETTLED"

    def test_a_missing_one_read_before_it_came_to_be_is_not_remembered_as_missing(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        missing = desk.accept().pk + 1
        self.meanwhile(monkeypatch, lambda: desk.accept())
        assert read_detail(missing) is None
        assert read(missing)["stage"] == "ACCEPTED"

    def test_readers_during_a_change_do_not_remember_what_they_read(self, desk: Desk) -> None:
        payment = desk.accept()
        read(payment)
        with Writer(payment) as writer:
            writer.begin()
            assert read(payment)["stage"] == "ACCEPTED"
            assert "barrier" in value_of(key_of(payment))
            writer.commit()
        assert read(payment)["stage"] == "SETTLED"

    def test_a_writer_that_dies_after_its_commit_leaves_nothing_stale(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        payment = desk.accept()
        read(payment)
        monkeypatch.setattr(cache_commands(), "forget_unless", lambda *_, **__: None)
        reject(payment)
        assert read(payment)["stage"] == "SETTLED"
        assert seconds_left(key_of(payment)) > 60, "the barrier outlives whatever was remembered before it"

    def test_a_writer_that_gives_up_leaves_nothing_stale_either(self, desk: Desk) -> None:
        payment = desk.accept()
        read(payment)
        with Writer(payment) as writer:
            writer.begin()
            writer.give_up()
        assert read(payment)["stage"] == "ACCEPTED"
        reject(payment)
        assert read(payment)["stage"] == "SETTLED"

    def test_the_end_of_one_change_does_not_lift_the_barrier_of_the_next(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The first writer has committed but not yet told the cache when the second begins, commits and dies."""
        payment = desk.accept()
        commands = cache_commands()
        forget_unless = commands.forget_unless
        held_back: list[Callable[[], None]] = []

        def hold_back(*args: Any, **options: Any) -> None:
            held_back.append(lambda: forget_unless(*args, **options))

        monkeypatch.setattr(commands, "forget_unless", hold_back)
        with desk.chain.outage():
            desk.broadcast()
        with Writer(payment) as second:
            second.begin()
            for forget in held_back:
                forget()
            read(payment)
            monkeypatch.setattr(commands, "forget_unless", lambda *_, **__: None)
            second.commit()
        assert read(payment)["stage"] == "SETTLED"

    def test_a_barrier_that_the_cache_has_lost_before_the_commit_is_not_missed(self, desk: Desk) -> None:
        """The cache is emptied, restarted, or needs the memory, and a reader remembers what is about to change."""
        payment = desk.accept()
        with Writer(payment) as writer:
            writer.begin()
            raw_cache().flushdb()
            assert read(payment)["stage"] == "ACCEPTED"
            assert value_of(key_of(payment))["stage"] == "ACCEPTED"
            writer.commit()
        assert read(payment)["stage"] == "SETTLED"

    def test_a_reader_that_died_with_its_lease_stops_nobody(self, desk: Desk) -> None:
        payment = desk.accept()
        cache_commands().write_if_absent(f"transaction:{payment.pk}", {"lease": "of the dead"}, 10)
        assert read(payment)["stage"] == "ACCEPTED"
        reject(payment)
        assert read(payment)["stage"] == "SETTLED"

    def meanwhile(self, monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
        """Let something happen right after the next look at the database."""
        look = detail_module._from_database

        def look_then_happen(transaction_id: int) -> Detail | None:
            detail = look(transaction_id)
            monkeypatch.setattr(detail_module, "_from_database", look)
            happens()
            return detail

        monkeypatch.setattr(detail_module, "_from_database", look_then_happen)


class TestWithoutCache:
    def test_everything_is_read_from_the_database(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        take_cache_down(monkeypatch)
        with caplog.at_level(logging.WARNING, "accounts.cache"):
            payment = desk.accept()
            assert read(payment)["stage"] == "ACCEPTED"
            assert read(payment)["stage"] == "ACCEPTED"
            assert read_detail(payment.pk + 1) is None
        assert [record.message for record in caplog.records] == [
            "The cache does not answer (ConnectionError); going on without it."
        ], "once, and then it is left alone"
        desk.run_to_the_end()
        assert read(payment)["status"] == "SUCCESSFUL"
        desk.assert_books_balance()

    def test_one_that_fails_one_writer_still_tells_other_readers_the_truth(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """This process leaves the cache alone after a failure; all others go on reading from it."""
        payment = desk.accept()
        read(payment)
        monkeypatch.setattr(cache_commands(), "_silent_until", float("inf"))
        reject(payment)
        monkeypatch.undo()
        reader = other_process()
        cached = reader.read(detail_module.detail_keys(payment.pk))
        told = read_detail(payment.pk, cached)
        assert told is not None
        assert told["stage"] == "SETTLED"

    def test_it_is_tried_again_after_a_moment(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        payment = desk.accept()
        take_cache_down(monkeypatch)
        assert read(payment)["stage"] == "ACCEPTED"
        assert not cache_commands().is_up
        monkeypatch.undo()
        assert cache_commands().is_up
        read(payment)
        with django_assert_num_queries(0):
            read(payment)


class TestWaitForHash:
    def test_one_that_has_a_hash_is_told_at_once(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        payment.refresh_from_db()
        detail = wait_for_hash(payment.pk, 3600)
        assert detail is not None
        assert detail["transaction_hash"] == payment.transaction_hash

    def test_one_that_failed_will_have_none(self, desk: Desk) -> None:
        payment = desk.accept()
        reject(payment)
        detail = wait_for_hash(payment.pk, 3600)
        assert detail is not None
        assert (detail["status"], detail["transaction_hash"]) == ("FAILED", None)

    def test_for_one_that_waits_for_people_nobody_waits(self, desk: Desk) -> None:
        detail = wait_for_hash(desk.accept_for_review().pk, 3600)
        assert detail is not None
        assert (detail["stage"], detail["transaction_hash"]) == ("REVIEW", None)

    def test_it_waits_for_the_broadcaster(self, desk: Desk) -> None:
        payment = desk.accept()

        def wait() -> Detail | None:
            waiting.set()
            try:
                return wait_for_hash(payment.pk, 30)
            finally:
                connections.close_all()

        waiting = threading.Event()
        with ThreadPoolExecutor(1) as thread:
            answer = thread.submit(wait)
            assert waiting.wait(20)
            desk.broadcast()
            detail = answer.result(timeout=40)
        assert detail is not None
        assert detail["transaction_hash"]

    def test_and_tells_what_there_is_when_the_time_is_over(self, desk: Desk) -> None:
        payment = desk.accept()
        detail = wait_for_hash(payment.pk, 0.01)
        assert detail is not None
        assert (detail["stage"], detail["transaction_hash"]) == ("ACCEPTED", None)

    def test_none_of_that_number(self, desk: Desk) -> None:
        assert wait_for_hash(10**9, 3600) is None


@override_settings(CONFIRMATIONS=3)
def test_how_many_confirmations_are_required_is_the_setting(desk: Desk) -> None:
    assert read(desk.accept())["confirmations_required"] == 3


class Writer:
    """Another process that changes a payment in a database transaction which the test begins and ends."""

    def __init__(self, payment: Transaction) -> None:
        self._payment = payment
        self._commits = True
        self._thread = ThreadPoolExecutor(1)
        self._begun, self._may_commit = threading.Event(), threading.Event()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self._may_commit.set()
        self._thread.shutdown()

    def begin(self) -> None:
        """Make the change, and don't commit it."""
        self._done = self._thread.submit(self._write)
        assert self._begun.wait(20)

    def commit(self) -> None:
        self._may_commit.set()
        self._done.result(timeout=20)

    def give_up(self) -> None:
        """Roll the change back."""
        self._commits = False
        self._may_commit.set()
        with pytest.raises(ZeroDivisionError):
            self._done.result(timeout=20)

    def _write(self) -> None:
        try:
            with db_transaction.atomic():
                change(self._payment)
                self._begun.set()
                assert self._may_commit.wait(20)
                if not self._commits:
                    raise ZeroDivisionError
        finally:
            connections.close_all()
