"""The desk is at rest when nothing is under way and all that came is credited; and then no sweep begins."""

from types import SimpleNamespace
from typing import cast

import psycopg
import pytest
from django.db import connection
from django.utils import timezone
from django_celery_beat.models import PeriodicTask, PeriodicTasks

from chaos.settling import Settling
from chaos.stack import Stack
from tasks.schedules import create_default_schedules
from tests.desk import Desk
from transactions.models import Block
from txnsite.stack.anvil import AnvilError

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def desk() -> Desk:
    return Desk()


class Pool:
    """A node whose head and pool are as a test says."""

    def __init__(self) -> None:
        self.waiting = 0
        self.head = 0

    def rpc(self, method: str) -> dict[str, str]:
        assert method == "txpool_status"
        return {"pending": hex(self.waiting), "queued": "0x9"}

    def block_number(self) -> int:
        return self.head


class Down(Pool):
    def rpc(self, method: str) -> dict[str, str]:
        raise AnvilError(method, -1, "down")


def settling_of(pool: Pool) -> Settling:
    parameters = connection.get_connection_params()
    names = {"dbname", "user", "password", "host", "port"}
    url = psycopg.conninfo.make_conninfo(**{name: parameters[name] for name in names & parameters.keys()})
    postgres = SimpleNamespace(url_of=lambda database: url)
    return Settling(cast(Stack, SimpleNamespace(anvil=pool, postgres=postgres)))


def test_a_desk_at_rest(desk: Desk) -> None:
    desk.mine()
    desk.take_in()
    pool = Pool()
    pool.head = Block.newest_number() or 0
    assert settling_of(pool).is_over()


def test_not_while_a_payment_is_under_way(desk: Desk) -> None:
    desk.accept()
    assert not settling_of(Pool()).is_over()


def test_not_while_something_waits_in_the_pool(desk: Desk) -> None:
    desk.mine()
    desk.take_in()
    pool = Pool()
    settling = settling_of(pool)
    pool.waiting = 1
    assert not settling.is_over()
    pool.waiting = 0
    assert settling.is_over()


def test_not_before_the_last_block_was_walked_and_taken_in(desk: Desk) -> None:
    desk.mine()
    desk.take_in()
    pool = Pool()
    pool.head = (Block.newest_number() or 0) + 1
    settling = settling_of(pool)
    assert not settling.is_over()
    desk.mine()
    assert not settling.is_over()
    desk.take_in()
    assert settling.is_over()
    pool.head += 1
    assert settling.is_over(), "later blocks bring nothing"


def test_not_before_all_that_came_is_credited(desk: Desk) -> None:
    desk.pay_in(desk.add_deposit_address().address)
    desk.mine()
    desk.take_in()
    pool = Pool()
    pool.head = Block.newest_number() or 0
    settling = settling_of(pool)
    assert not settling.is_over()
    desk.mine(20)
    desk.take_in()
    assert settling.is_over()


def test_nobody_can_tell_while_the_node_is_down(desk: Desk) -> None:
    assert not settling_of(Down()).is_over()


def test_no_sweeps_are_ordered_any_more() -> None:
    create_default_schedules()
    before = timezone.now()
    settling_of(Down()).is_over()
    off = PeriodicTask.objects.filter(enabled=False).values_list("name", flat=True)
    assert list(off) == ["Sweep deposits"]
    assert PeriodicTasks.last_change() >= before, "beat looks at its schedules"
