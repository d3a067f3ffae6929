"""Nudges: one message for many payments, and no failure of cache or broker reaches the one who pays."""

import logging
import time

import pytest

from accounts.cache import cache_commands
from tasks import money, nudge
from tasks.nudge import nudge_broadcast
from tests.brokers import Message, broker_at, waiting
from tests.caches import seconds_left, take_cache_down
from tests.desk import Desk
from txnsite.stack.valkey import Valkey

NOWHERE = "redis://127.0.0.1:1/0"
NUDGE = Message("tasks.money.broadcast", [], expires=True)


@pytest.fixture(autouse=True)
def _not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nudge, "_silent_until", 0.0)


def test_many_are_one_message() -> None:
    for _ in range(10):
        nudge_broadcast()
    assert waiting("money") == [NUDGE]
    assert 0 <= seconds_left(money.NUDGED_KEY) <= 1, "and after a second another one may be sent"


def test_once_the_broadcaster_has_begun_the_next_one_is_a_new_message(desk: Desk) -> None:
    nudge_broadcast()
    desk.chain.down = True
    money.broadcast()
    nudge_broadcast()
    assert waiting("money") == [NUDGE] * 2


def test_without_a_cache_each_is_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    take_cache_down(monkeypatch)
    for _ in range(3):
        nudge_broadcast()
    assert waiting("money") == [NUDGE] * 3


def test_without_a_broker_nothing_is_raised_and_it_is_left_alone_for_a_while(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with broker_at(NOWHERE, monkeypatch), caplog.at_level(logging.WARNING, "tasks.nudge"):
        started = time.monotonic()
        for _ in range(5):
            cache_commands().forget([money.NUDGED_KEY])
            nudge_broadcast()
        assert time.monotonic() - started < 2
    assert [record.message for record in caplog.records] == [
        "The broker does not answer; payments go out with the follower's next tick."
    ]
    nudge_broadcast()
    assert waiting("money") == [], "still left alone"


def test_a_broker_that_was_restarted_is_nudged_again(monkeypatch: pytest.MonkeyPatch, own_valkey: Valkey) -> None:
    url = own_valkey.url_of(0)
    with broker_at(url, monkeypatch):
        nudge_broadcast()
        own_valkey.stop()
        for _ in range(2):
            cache_commands().forget([money.NUDGED_KEY])
            monkeypatch.setattr(nudge, "_silent_until", 0.0)
            nudge_broadcast()
        own_valkey.start()
        cache_commands().forget([money.NUDGED_KEY])
        monkeypatch.setattr(nudge, "_silent_until", 0.0)
        nudge_broadcast()
        assert waiting("money", url) == [NUDGE] * 2, "the one before the restart, kept on disk, and the one after"
