"""SIGKILL a worker at each point of the money path: one payment each, exact balances."""

import signal
from pathlib import Path

import pytest

from tests.brokers import waiting
from tests.conftest import StartWorker
from tests.desk import make_address
from tests.flows.conftest import LiveDesk
from transactions.models import Transaction
from transactions.states import Stage
from txnsite.stack.process import wait_for

BROADCASTING = ["broadcast.before_commit", "broadcast.saved", "broadcast.before_send", "broadcast.after_send"]
SETTLING = ["follow.mined", "follow.before_settle", "settle.before_commit", "settle.posted"]


@pytest.mark.parametrize("point", BROADCASTING + SETTLING)
def test_a_killed_worker_neither_loses_a_payment_nor_makes_it_twice(
    point: str, live_desk: LiveDesk, celery_worker: StartWorker, tmp_path: Path
) -> None:
    payments = live_desk.accept(5, [make_address() for _ in range(5)])
    doomed = celery_worker("money", env={"FAULT_POINTS": f"{point}=hang", "FAULT_DIR": str(tmp_path)})
    hanging = (tmp_path / point).exists

    live_desk.tick_until(hanging, f"a worker at {point}", mine=point in SETTLING)
    before = list(Transaction.objects.order_by("pk").values_list("stage", flat=True))
    doomed.process.send_signal(signal.SIGKILL)
    wait_for(lambda: not doomed.is_running, what="the worker's death", timeout_seconds=5)
    doomed.kill()

    celery_worker("money")
    live_desk.run_to_the_end()

    assert Stage.SETTLED not in before or point == "settle.posted"
    live_desk.assert_paid_once(payments)


def test_a_worker_that_is_stopped_puts_its_task_back_before_a_supervisor_kills_it(
    live_desk: LiveDesk, celery_worker: StartWorker, tmp_path: Path
) -> None:
    payments = live_desk.accept(1, [make_address()])
    busy = celery_worker("money", env={"FAULT_POINTS": "broadcast.saved=hang", "FAULT_DIR": str(tmp_path)})
    live_desk.tick_until((tmp_path / "broadcast.saved").exists, "a task that takes long")

    busy.process.ask_to_stop()
    busy.process.wait(busy.stop_timeout_seconds)
    assert "tasks.money.broadcast" in [message.task for message in waiting("money")]

    busy.kill()
    celery_worker("money")
    live_desk.run_to_the_end()
    live_desk.assert_paid_once(payments)


def test_a_killed_child_is_replaced_and_its_payments_go_on(
    live_desk: LiveDesk, celery_worker: StartWorker, tmp_path: Path
) -> None:
    payments = live_desk.accept(3, [make_address()])
    celery_worker("money", env={"FAULT_POINTS": "broadcast.saved=kill", "FAULT_DIR": str(tmp_path)})

    live_desk.tick_until((tmp_path / "broadcast.saved").exists, "a child that killed itself")
    live_desk.run_to_the_end()

    live_desk.assert_paid_once(payments)
