"""Leadership: one among several, for as long as it lives."""

from collections.abc import Iterator

import pytest
from django.db import connection

from accounts import locks
from accounts.locks import Leadership
from txnsite.stack.process import wait_for

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def candidates() -> Iterator[tuple[Leadership, Leadership]]:
    first, second = Leadership("beat"), Leadership("beat")
    yield first, second
    first.give_up()
    second.give_up()


def end_all_other_sessions() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_one_leads_and_goes_on_leading(candidates: tuple[Leadership, Leadership]) -> None:
    first, second = candidates
    assert [first.is_ours(), second.is_ours()] == [True, False]
    assert [first.is_ours(), second.is_ours()] == [True, False]


def test_another_leads_once_the_first_gives_up(candidates: tuple[Leadership, Leadership]) -> None:
    first, second = candidates
    assert first.is_ours()
    first.give_up()
    assert [second.is_ours(), first.is_ours()] == [True, False]


def test_a_lost_session_is_noticed_before_anything_is_led(candidates: tuple[Leadership, Leadership]) -> None:
    first, second = candidates
    assert first.is_ours()
    end_all_other_sessions()
    assert second.is_ours()
    assert not first.is_ours()
    assert not first.is_ours(), "it does not come back while another leads"
    second.give_up()
    assert first.is_ours()


def test_one_that_hangs_leads_no_more(
    candidates: tuple[Leadership, Leadership], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = candidates
    monkeypatch.setattr(locks, "LEADER_SILENT_SECONDS_MAX", 1)
    assert first.is_ours()
    assert not second.is_ours()
    wait_for(second.is_ours, what="the other to lead", timeout_seconds=15)
    assert not first.is_ours()


def test_names_do_not_meet(candidates: tuple[Leadership, Leadership]) -> None:
    first, _ = candidates
    other = Leadership("another")
    assert first.is_ours()
    assert other.is_ours()
    other.give_up()
