"""The tasks that take in blocks: a chain of three steps a block, each tried again, a long way shown as a run."""

from collections.abc import Iterator

import celery
import pytest
from django.db import InterfaceError, OperationalError
from django.utils import timezone
from pytest_django.fixtures import Settings

from tasks import deposits
from tasks.catching_up import CATCHING_UP, show_catching_up
from tasks.models import TaskRun
from tests.brokers import broker_at, waiting
from tests.desk import Desk
from transactions.chain import ChainUnavailableError, use_chain
from transactions.models import Block, BlockContent, Deposit
from transactions.services import intake
from txnsite.celery import app

STEPS: "list[celery.Task[..., object]]" = [deposits.fetch_block, deposits.record_block, deposits.record_transfers]


@pytest.fixture(autouse=True)
def _chain_of_the_desk(desk: Desk) -> Iterator[None]:
    use_chain(desk.chain)
    yield
    use_chain(None)


@pytest.fixture
def eager() -> Iterator[None]:
    """Run tasks here and now, their retries and the tasks that follow them included."""
    app.conf.task_always_eager = True
    yield
    app.conf.task_always_eager = False


@pytest.mark.parametrize("task", [deposits.take_in_blocks, *STEPS], ids=lambda task: task.name)
def test_each_is_known_to_workers_and_goes_to_its_queue(task: "celery.Task[..., object]") -> None:
    assert task.name in app.tasks
    assert app.amqp.router.route({}, task.name)["queue"].name == "deposits"


@pytest.mark.parametrize("task", STEPS, ids=lambda task: task.name)
def test_each_step_is_tried_again_five_times_two_seconds_apart(task: "celery.Task[..., object]") -> None:
    assert (task.max_retries, task.default_retry_delay) == (5, 2)


@pytest.mark.django_db(transaction=True)
def test_a_step_ends_with_its_error_when_all_tries_failed(desk: Desk) -> None:
    desk.mine()
    block = Block.objects.latest("number")
    with desk.chain.outage():
        done = deposits.fetch_block.apply(args=(block.number, block.hash))
    assert isinstance(done.result, ChainUnavailableError)
    assert desk.chain.asked["block_body"] == 6


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
@pytest.mark.parametrize("task", STEPS, ids=lambda task: task.name)
def test_each_step_is_tried_again_when_the_database_fails(
    task: "celery.Task[..., object]", error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([error("the connection is closed"), error("the server is starting up"), None])

    def fail_twice(*_block: object) -> None:
        if answer := next(answers):
            raise answer

    monkeypatch.setattr(intake, task.__name__, fail_twice)
    assert task.apply(args=(1, "0x1")).successful()
    assert list(answers) == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("eager")
def test_all_walked_blocks_are_taken_in_by_their_three_steps(desk: Desk) -> None:
    desk.pay_in(desk.add_deposit_address().address)
    desk.mine(4)
    deposits.take_in_blocks()
    assert not Block.objects.filter(taken_in_at__isnull=True).exists()
    assert BlockContent.objects.count() == 5
    assert Deposit.objects.count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("eager")
def test_what_a_reorg_replaced_brings_nothing_and_waits_for_nothing(desk: Desk) -> None:
    desk.pay_in(desk.add_deposit_address().address)
    desk.mine()
    block = Block.objects.latest("number")
    deposits.fetch_block(block.number, block.hash)
    desk.chain.reorg(1)
    desk.mine()
    steps = celery.chain(
        deposits.record_block.si(block.number, block.hash), deposits.record_transfers.si(block.number, block.hash)
    )
    steps.apply_async()
    assert not Deposit.objects.exists()
    assert desk.chain.asked["receipts"] == 0


def test_bounded_groups(desk: Desk, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.INTAKE_BLOCKS_AT_ONCE = 3
    desk.mine(6)
    with broker_at(settings.CELERY_BROKER_URL, monkeypatch):
        deposits.take_in_blocks()
        deposits.take_in_blocks()
        assert len(waiting("deposits")) == 3


def test_a_broker_that_is_down_only_delays(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.mine()
    with broker_at("redis://127.0.0.1:1/0", monkeypatch):
        deposits.take_in_blocks()
    assert Block.objects.filter(taken_in_at__isnull=True).exists()


class TestCatchingUp:
    def test_a_few_blocks_are_no_run(self, db: None) -> None:
        show_catching_up(99)
        assert not TaskRun.objects.exists()

    def test_a_long_way_is_shown_from_its_beginning_to_its_end(self, db: None) -> None:
        show_catching_up(400)
        show_catching_up(300)
        run = TaskRun.objects.get()
        assert (run.name, run.total, run.processed, run.status) == (CATCHING_UP, 400, 100, "In Progress")
        show_catching_up(310)
        assert TaskRun.objects.get().processed == 100, "new blocks come meanwhile: it never goes back"
        show_catching_up(0)
        run.refresh_from_db()
        assert (run.status, run.processed) == ("Successful", 400)
        assert run.finished_at is not None
        show_catching_up(0)
        assert TaskRun.objects.count() == 1

    def test_the_next_long_way_is_a_run_of_its_own(self, db: None) -> None:
        for to_go in (400, 0, 200):
            show_catching_up(to_go)
        assert TaskRun.objects.count() == 2
        assert timezone.now() >= TaskRun.objects.latest("created_at").created_at
