"""When a node is set aside, for how long, and what the log says of it."""

import logging

import pytest

from tests.chain.scripted import Clock
from transactions.chain import ChainReplyError, ChainUnavailableError, NodeTrouble
from transactions.chain.health import Health

LABEL = "node 1 (example.org)"


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(number=1, label=LABEL, chain_id=31337, clock=clock)


def fail(health: Health) -> None:
    health.failed(ChainUnavailableError(f"{LABEL} does not answer: ReadTimeout"))


def test_a_new_node_is_checked_before_it_is_used(health: Health) -> None:
    assert (health.is_usable, health.answers, health.is_due) == (False, True, True)
    assert health.state.trouble is NodeTrouble.UNKNOWN
    assert health.found(31337)
    health.judge(0, 3)
    assert health.is_usable
    assert health.state.trouble is None


def test_each_failure_sets_it_aside_for_longer_and_never_for_long(health: Health, clock: Clock) -> None:
    shortest, longest = [], []
    for _ in range(8):
        fail(health)
        delay = health.due_at - clock()
        shortest.append(delay >= 0.5)
        longest.append(delay)
        assert not health.is_due
        clock.forward(delay)
        assert health.is_due
    assert all(shortest)
    assert all(delay <= limit for delay, limit in zip(longest, [1, 2, 4, 8, 10, 10, 10, 10], strict=True))
    assert all(delay >= 5 for delay in longest[4:])


def test_many_failures_are_no_larger_numbers(health: Health) -> None:
    for _ in range(5_000):
        fail(health)
    assert health.due_at <= 1_010


def test_one_success_makes_the_next_failure_the_first(health: Health, clock: Clock) -> None:
    for _ in range(8):
        fail(health)
    health.found(31337)
    health.judge(0, 3)
    assert health.is_usable
    health.served()
    fail(health)
    assert health.due_at - clock() <= 1


def test_a_look_alone_does_not_shorten_the_next_absence(health: Health, clock: Clock) -> None:
    for _ in range(5):
        fail(health)
    assert health.found(31337)
    health.judge(0, 3)
    fail(health)
    assert health.due_at - clock() >= 5


def test_after_a_failure_its_chain_id_counts_no_more(health: Health) -> None:
    health.found(31337)
    health.judge(0, 3)
    fail(health)
    assert not health.is_ours
    health.judge(0, 3)
    assert not health.is_usable, "a head says nothing while the chain is unknown"


@pytest.mark.parametrize(
    ("error", "trouble"),
    [(ChainUnavailableError("silence"), NodeTrouble.DOWN), (ChainReplyError("<html>"), NodeTrouble.CONFUSED)],
)
def test_what_is_wrong_with_it(health: Health, error: ChainUnavailableError, trouble: NodeTrouble) -> None:
    health.failed(error)
    assert (health.state.trouble, health.state.detail) == (trouble, str(error))
    assert (health.answers, health.is_usable) == (False, False)


def test_a_lag_is_judged_by_the_blocks(health: Health) -> None:
    health.found(31337)
    health.judge(3, 3)
    assert health.is_usable
    health.judge(4, 3)
    assert (health.is_usable, health.answers, health.is_due) == (False, True, True)
    assert (health.state.trouble, health.state.detail) == (NodeTrouble.BEHIND, f"{LABEL} is 4 blocks behind")
    health.judge(3, 3)
    assert health.is_usable


def test_another_chain_is_an_error_once_and_again_when_it_changes(
    health: Health, caplog: pytest.LogCaptureFixture
) -> None:
    for chain_id in (5, 5, 5, 31337, 5, 7, 7):
        assert health.found(chain_id) is (chain_id == 31337)
        health.judge(0, 3)
        assert health.is_usable is (chain_id == 31337)
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert errors == [f"{LABEL} is on chain {chain_id} and not on 31337." for chain_id in (5, 5, 7)]
    assert health.state.trouble is NodeTrouble.WRONG_CHAIN
    assert health.state.detail == f"{LABEL} is on chain 7"


def test_an_outage_is_two_lines_in_the_log(health: Health, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    health.found(31337)
    health.judge(0, 3)
    for _ in range(3):
        fail(health)
    health.found(31337)
    health.judge(0, 3)
    assert [record.getMessage() for record in caplog.records] == [
        f"{LABEL} is set aside: {LABEL} does not answer: ReadTimeout",
        f"{LABEL} is asked again.",
    ]
