"""The money queue's tasks: each starts one service, and nothing that is down keeps it from the rest of its work."""

import datetime as dt
import logging
from collections.abc import Iterator

import pytest
from celery import Task
from django.utils import timezone
from kombu.exceptions import OperationalError
from pytest_django.fixtures import Settings

from accounts.cache import cache_commands
from accounts.models import Alert
from tasks import money
from tests.brokers import Message, broker_at, waiting
from tests.desk import NOW, Desk, make_officer, stages
from transactions.chain import ChainUnavailableError, use_chain
from transactions.models import Block, Transaction, Wallet
from transactions.services.cancel import cancel_transaction
from txnsite.celery import app

NOWHERE = "redis://127.0.0.1:1/0"
TASKS: "list[Task[..., object]]" = [
    money.broadcast,
    money.follow,
    money.expire_payments,
    money.sweep_overdue,
    money.watch_wallets,
    money.reconcile_transaction,
    money.resume_retired,
]


@pytest.fixture(autouse=True)
def _chain_of_the_desk(desk: Desk) -> Iterator[None]:
    use_chain(desk.chain)
    yield
    use_chain(None)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_each_is_known_to_workers_and_goes_to_the_money_queue(task: "Task[..., object]") -> None:
    assert task.name in app.tasks
    assert app.amqp.router.route({}, task.name)["queue"].name == "money"
    assert task.acks_late


def test_a_newer_sender_may_say_more_than_this_worker_understands(desk: Desk) -> None:
    payment = desk.accept()
    money.broadcast(batch=5)
    money.follow(reason="new")
    money.sweep_overdue(limit=3)
    assert money.reconcile_transaction(payment.pk, tries=2) == "BROADCAST"


class TestBroadcast:
    def test_it_sends_what_waits(self, desk: Desk) -> None:
        payments = desk.accept_many(3)
        money.broadcast()
        assert stages(payments) == ["BROADCAST"] * 3

    def test_a_payment_accepted_while_it_runs_can_nudge_anew(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        cache_commands().write_if_absent(money.NUDGED_KEY, 1, 60)
        free: list[bool] = []
        monkeypatch.setattr(
            money, "broadcast_payments", lambda: free.append(cache_commands().write_if_absent(money.NUDGED_KEY, 1, 60))
        )
        money.broadcast()
        assert free == [True]


class TestFollow:
    def test_it_takes_in_the_newest_block(self, desk: Desk) -> None:
        payments = desk.accept_many(2)
        desk.broadcast()
        desk.chain.mine()
        money.follow()
        assert stages(payments) == ["MINED"] * 2
        assert waiting("money") == []

    def test_it_wakes_the_broadcaster_for_what_no_nudge_was_heard_for(self, desk: Desk) -> None:
        desk.accept()
        money.follow()
        assert waiting("money") == [Message("tasks.money.broadcast", [], expires=True)]

    def test_and_for_what_is_to_be_replaced(self, desk: Desk, settings: Settings) -> None:
        settings.REPLACE_AFTER_BLOCKS = 2
        desk.accept()
        desk.broadcast()
        for _ in range(2):
            desk.chain.mine(empty=True)
            desk.follow()
        money.follow()
        assert waiting("money") == [Message("tasks.money.broadcast", [], expires=True)]

    def test_a_chain_that_holds_nothing_of_what_was_recorded_is_an_alert(self, desk: Desk) -> None:
        desk.chain.mine(9)
        money.follow()
        Block.objects.filter(number__lt=5).delete()
        desk.chain.reorg(6)
        for _ in range(2):
            money.follow()
        assert list(Alert.objects.values_list("kind", "subject", "times_seen")) == [
            ("deep_reorg", "all recorded blocks", 2)
        ]

    def test_what_was_called_off_while_it_may_have_been_paid_ends_once_that_is_clear(self, desk: Desk) -> None:
        payment = desk.accept()
        Wallet.objects.update(unknown_since=NOW)
        cancel_transaction(actor=make_officer(), transaction_id=payment.pk, now=NOW)
        with desk.chain.outage():
            money.follow()
            assert stages([payment]) == ["ACCEPTED"]
            Wallet.objects.update(unknown_since=None)
            money.follow()
        assert stages([payment]) == ["SETTLED"]

    def test_and_for_what_was_signed_but_never_sent(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.chain.lose_answers()
        desk.broadcast()
        assert stages([payment]) == ["SIGNED"]
        money.follow()
        assert [message.task for message in waiting("money")] == ["tasks.money.broadcast"]

    def test_a_node_that_is_down_is_no_error_of_the_task(self, desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
        desk.accept()
        with desk.chain.outage(), caplog.at_level(logging.WARNING, "tasks.money"):
            money.follow()
        assert "The chain can't be followed now" in caplog.text
        assert len(waiting("money")) == 1, "the broadcaster is woken all the same"

    def test_a_broker_that_is_down_does_not_keep_it_from_following(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        mined = desk.accept()
        desk.broadcast()
        desk.chain.mine()
        desk.accept()
        with broker_at(NOWHERE, monkeypatch), caplog.at_level(logging.WARNING, "tasks.money"):
            money.follow()
        assert "The broker does not answer" in caplog.text
        assert stages([mined]) == ["MINED"]


class TestSweep:
    def test_a_look_is_started_at_each_that_is_overdue(self, desk: Desk) -> None:
        first, second, third = desk.accept_many(3)
        Transaction.objects.filter(pk=second.pk).update(next_check_at=None)
        money.sweep_overdue()
        assert waiting("money") == [
            Message("tasks.money.reconcile_transaction", [first.pk], expires=True),
            Message("tasks.money.reconcile_transaction", [third.pk], expires=True),
        ]
        assert list(Transaction.objects.order_by("pk").values_list("checks_done", flat=True)) == [1, 0, 1]
        money.sweep_overdue()
        assert len(waiting("money")) == 2, "claimed until the next check is due"

    def test_a_broker_that_is_down_costs_one_check_and_not_the_payment(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        payment = desk.accept()
        with broker_at(NOWHERE, monkeypatch), pytest.raises(OperationalError):
            money.sweep_overdue()
        payment.refresh_from_db()
        assert payment.next_check_at is not None
        assert payment.next_check_at > NOW
        desk.run_to_the_end()
        desk.assert_paid_once([payment])


@pytest.mark.django_db(transaction=True)
class TestReconcile:
    def test_it_tells_the_stage(self, desk: Desk) -> None:
        payment = desk.accept()
        assert money.reconcile_transaction(payment.pk) == "BROADCAST"
        desk.chain.mine(10)
        assert money.reconcile_transaction(payment.pk) == "SETTLED"
        desk.assert_books_balance()

    def test_a_short_fault_of_the_node_is_tried_again(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        payment = desk.accept()
        desk.broadcast()
        desk.chain.mine(10)
        view = desk.chain.view
        faults = [ChainUnavailableError(), ChainUnavailableError()]

        def fail_twice(*args: object, **kwargs: object) -> object:
            if faults:
                raise faults.pop()
            return view(*args, **kwargs)  # type: ignore[arg-type]

        monkeypatch.setattr(desk.chain, "view", fail_twice)
        assert money.reconcile_transaction.apply((payment.pk,)).get() == "SETTLED"

    def test_a_longer_one_is_left_to_the_watchdogs_next_check(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        desk.chain.asked.clear()
        with desk.chain.outage():
            result = money.reconcile_transaction.apply((payment.pk,))
        assert isinstance(result.result, ChainUnavailableError)
        assert desk.chain.asked == {"view": 4}
        assert stages([payment]) == ["BROADCAST"]


def test_a_sweep_that_the_broker_cuts_short_gives_the_looks_back(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    payments = desk.accept_many(3)
    Transaction.objects.update(next_check_at=NOW)
    sent: list[int] = []

    def publish(arguments: tuple[int], **_options: object) -> None:
        if sent:
            raise OperationalError
        sent.append(arguments[0])

    monkeypatch.setattr(money.reconcile_transaction, "apply_async", publish)
    with pytest.raises(OperationalError):
        money.sweep_overdue()

    looked_at = {row.pk: row.checks_done for row in Transaction.objects.all()}
    assert looked_at == {row.pk: int(row.pk in sent) for row in payments}
    assert Transaction.objects.filter(next_check_at__lte=timezone.now()).count() == 2


def test_the_watch_over_the_desk_looks_at_retired_wallets_too(desk: Desk) -> None:
    retired = desk.add_wallet()
    columns = {"retired_at": NOW, "paused_at": NOW, "paused_reason": "x", "draining_at": NOW}
    Wallet.objects.filter(pk=retired.pk).update(replaced_by=desk.wallet, **columns)
    money.watch_desk()
    assert Alert.objects.get(kind="wallet_paused").subject == retired.address


def test_expired_payments_are_called_off(desk: Desk, settings: Settings) -> None:
    settings.EXPIRE_AFTER_HOURS = 1
    payment = desk.accept(now=timezone.now() - dt.timedelta(hours=2))
    money.expire_payments()
    payment.refresh_from_db()
    assert payment.failure_reason == "expired"


def test_the_watch_over_the_desk_looks_for_a_standstill_too(desk: Desk, settings: Settings) -> None:
    desk.follow()
    settings.STANDSTILL_AFTER_SECONDS = 300
    money.watch_desk()
    assert Alert.objects.get(kind="payment_stuck").subject == "no new block"


def test_the_watch_over_the_desk_looks_at_keys_too(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[object] = []
    monkeypatch.setattr("transactions.services.watch.watch_keys", looked.append)
    money.watch_desk()
    assert len(looked) == 1
