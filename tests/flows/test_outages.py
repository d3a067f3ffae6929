"""What is down comes back, and nothing was lost meanwhile: cache, broker, node."""

import contextlib
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import LiteralString

import pytest
from django.db import connection
from django.test import override_settings
from psycopg import sql

from tests.conftest import StartWeb, StartWorker
from tests.desk import ETHER, make_address
from tests.flows.conftest import LiveDesk
from transactions.models import Transaction
from transactions.states import Stage
from txnsite.celery import app
from txnsite.stack.anvil import Anvil
from txnsite.stack.process import wait_for
from txnsite.stack.valkey import Valkey

_LOST = "Connection to broker lost"
_READ_ONLY = "in a read-only transaction"


def pay(url: str, token: str, account_id: int, to: str, key: str) -> tuple[int, dict[str, object]]:
    """POST a payment of one ether and return status and body."""
    body = {"user_account_id": account_id, "to_public_address": to, "transaction_amount_in_wei": str(ETHER)}
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "Idempotency-Key": key}
    request = urllib.request.Request(
        f"{url}/api/v1/transactions", data=json.dumps(body).encode(), headers=headers, method="POST"
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        return response.status, json.load(response)


def get(url: str, token: str, payment_id: object) -> dict[str, object]:
    """GET a payment."""
    request = urllib.request.Request(
        f"{url}/api/v1/transactions/{payment_id}", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        answer: dict[str, object] = json.load(response)
        return answer


@pytest.mark.parametrize("down", ["CACHE_URL", "CELERY_BROKER_URL"])
def test_a_payment_is_accepted_while_cache_or_broker_is_down(
    down: str, live_desk: LiveDesk, start_web: StartWeb, celery_worker: StartWorker
) -> None:
    web = start_web(env={down: "redis://127.0.0.1:1/0"})
    to = make_address()

    status, body = pay(web.url, live_desk.token(), live_desk.account.pk, to, "while-down")
    again, same = pay(web.url, live_desk.token(), live_desk.account.pk, to, "while-down")

    assert (status, again) == (201, 200)
    assert same == body
    # Workers with everything up: as soon as it is back, the payment goes out.
    celery_worker("money")
    live_desk.run_to_the_end()
    live_desk.assert_paid_once([Transaction.objects.get()])


def test_a_payment_is_accepted_while_the_node_is_down(
    live_desk: LiveDesk, start_web: StartWeb, celery_worker: StartWorker, own_anvil: Anvil
) -> None:
    own_anvil.set_balance(live_desk.wallet.address, 1_000 * ETHER)
    live_desk.anvil = own_anvil
    environment = {"CHAIN_RPC_URLS": own_anvil.url, "CHAIN_RPC_TIMEOUT_SECONDS": "1"}
    web = start_web(env=environment)
    celery_worker("money", env=environment)
    own_anvil.stop()

    status, _ = pay(web.url, live_desk.token(), live_desk.account.pk, make_address(), "while-down")
    live_desk.tick_until(
        lambda: Transaction.objects.filter(wait_reason="node").exists(), "the payment to say what it waits for"
    )
    assert status == 201
    assert Transaction.objects.get().stage == Stage.ACCEPTED

    own_anvil.start()
    live_desk.run_to_the_end()
    live_desk.assert_paid_once([Transaction.objects.get()])


def test_running_processes_live_through_an_outage_of_cache_and_broker(
    live_desk: LiveDesk, start_web: StartWeb, celery_worker: StartWorker, own_valkey: Valkey
) -> None:
    broker = own_valkey.url_of(0)
    environment = {"CELERY_BROKER_URL": broker, "CACHE_URL": own_valkey.url_of(1)}
    web, worker = start_web(env=environment), celery_worker("money", env=environment)
    token, account, to = live_desk.token(), live_desk.account.pk, make_address()
    ids = [pay(web.url, token, account, to, "before")[1]["id"]]
    assert get(web.url, token, ids[0])["status"] == "PENDING"

    own_valkey.stop()
    status, body = pay(web.url, token, account, to, "during")
    ids.append(body["id"])
    assert status == 201
    assert get(web.url, token, ids[1])["status"] == "PENDING"

    own_valkey.start()
    status, body = pay(web.url, token, account, to, "after")
    ids.append(body["id"])
    assert status == 201

    def all_settled() -> bool:
        live_desk.anvil.mine()
        with app.connection_for_write(broker) as connection:
            app.send_task("tasks.money.follow", connection=connection, queue="money", expires=5)
        return not Transaction.objects.exclude(stage=Stage.SETTLED).exists()

    wait_for(all_settled, what="all payments final, by the same worker", timeout_seconds=60, every_seconds=0.3)
    assert worker.is_running
    assert [get(web.url, token, each)["status"] for each in ids] == ["SUCCESSFUL"] * 3
    live_desk.assert_paid_once(list(Transaction.objects.order_by("pk")))


def test_after_a_failover_nobody_stays_with_a_server_that_only_reads(
    live_desk: LiveDesk, start_web: StartWeb, celery_worker: StartWorker
) -> None:
    """All connections break, the next ones lead to a standby, and those after them to the new primary."""
    web, worker = start_web(env={"DATABASE_POOL": "1"}), celery_worker("money")
    token, account, to = live_desk.token(), live_desk.account.pk, make_address()
    assert pay(web.url, token, account, to, "before")[0] == 201

    tell_database("ALTER DATABASE {} SET default_transaction_read_only = on")
    break_connections()
    with pytest.raises(urllib.error.HTTPError) as refused:
        pay(web.url, token, account, to, "during")
    assert (refused.value.code, json.load(refused.value)["code"]) == (503, "database_unavailable")
    assert int(refused.value.headers["Retry-After"]) >= 1
    wait_for(lambda: _READ_ONLY in worker.logs, what="the worker's notice of it", timeout_seconds=20)

    tell_database("ALTER DATABASE {} RESET default_transaction_read_only")

    def is_accepted() -> bool:
        # Each of the web server's connections finds out by itself.
        with contextlib.suppress(urllib.error.HTTPError):
            return pay(web.url, token, account, to, "during")[0] == 201
        return False

    wait_for(is_accepted, what="a payment's acceptance", timeout_seconds=20, every_seconds=0.1)
    live_desk.run_to_the_end()
    assert worker.is_running
    live_desk.assert_paid_once(list(Transaction.objects.order_by("pk")))


def test_a_restart_of_the_database_costs_no_request(live_desk: LiveDesk, start_web: StartWeb) -> None:
    web = start_web(env={"DATABASE_POOL": "1"})
    token, account, to = live_desk.token(), live_desk.account.pk, make_address()
    for number in range(4):
        assert pay(web.url, token, account, to, f"before {number}")[0] == 201
    break_connections()
    for number in range(8):
        assert pay(web.url, token, account, to, f"after {number}")[0] == 201


def tell_database(statement: LiteralString) -> None:
    """Say something about the test's database, which counts for connections that are opened from now on."""
    with connection.cursor() as cursor:
        name = sql.Identifier(connection.settings_dict["NAME"])
        cursor.execute(sql.SQL(statement).format(name).as_string())


def break_connections() -> None:
    """End everybody's connections to the test's database but our own."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_a_worker_goes_on_after_its_broker_was_restarted_with_a_task_in_flight(
    live_desk: LiveDesk, celery_worker: StartWorker, own_valkey: Valkey, tmp_path: Path
) -> None:
    """The reason for Celery 5.6: a 5.7.0 worker dies of this (docs/adr/0001-celery-5.6.md)."""
    payments = live_desk.accept(1, [make_address()])
    broker = own_valkey.url_of(0)
    release = tmp_path / "release"
    worker = celery_worker(
        "money",
        concurrency=2,
        env={
            "CELERY_BROKER_URL": broker,
            "CELERY_RESULT_URL": own_valkey.url_of(2),
            "FAULT_POINTS": f"broadcast.saved=wait:{release}",
            "FAULT_DIR": str(tmp_path),
        },
    )
    with override_settings(CELERY_BROKER_URL=broker), app.connection_for_write(broker) as connection:
        app.send_task("tasks.money.broadcast", connection=connection, queue="money")
        wait_for((tmp_path / "broadcast.saved").exists, what="a task in flight", timeout_seconds=20)
        pid = worker.pid
        own_valkey.stop()
        wait_for(lambda: _LOST in worker.logs, what="the worker's notice of it", timeout_seconds=20)
        own_valkey.start()
        release.touch()

    def settled() -> bool:
        live_desk.anvil.mine()
        with app.connection_for_write(broker) as connection:
            app.send_task("tasks.money.follow", connection=connection, queue="money", expires=5)
        return Transaction.objects.get().stage == Stage.SETTLED

    wait_for(settled, what="the payment's end, by the same worker", timeout_seconds=60, every_seconds=0.3)
    assert worker.is_running
    assert worker.pid == pid
    live_desk.assert_paid_once(payments)
