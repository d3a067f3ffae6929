"""The queue's limit: full is full for new payments, and for nothing else."""

import pytest
from pytest_django.fixtures import Settings

from accounts.models import Alert, Hold
from tests.desk import NOW, Desk
from transactions.exceptions import QueueFullError
from transactions.models import Transaction
from transactions.services.queue import measure_queue


@pytest.fixture(autouse=True)
def ten(settings: Settings) -> None:
    settings.QUEUE_MAX = 10


def test_full_is_full_until_a_tenth_has_gone_out(desk: Desk) -> None:
    desk.accept_many(9)
    assert not measure_queue(NOW)
    first = desk.accept(key="first")
    assert measure_queue(NOW)
    assert list(Alert.objects.values_list("kind", "resolved_at")) == [("queue_full", None)]
    with pytest.raises(QueueFullError):
        desk.accept()
    assert (Transaction.objects.count(), Hold.objects.count()) == (10, 10)
    assert desk.ask(key="first").detail["id"] == first.pk, "what was accepted is told as ever"
    Transaction.objects.filter(pk=first.pk).update(stage="SIGNED", **signed(desk, 0))
    assert measure_queue(NOW), "nine of ten are still too many to open again"
    for nonce, row in enumerate(Transaction.objects.filter(stage="ACCEPTED")[:1], start=1):
        Transaction.objects.filter(pk=row.pk).update(stage="SIGNED", **signed(desk, nonce))
    assert not measure_queue(NOW)
    assert Alert.objects.get().resolved_at is not None
    desk.accept()


def signed(desk: Desk, nonce: int) -> dict[str, object]:
    return {"wallet": desk.wallet, "nonce": nonce, "transaction_hash": f"0x{nonce:064x}", "signed_at": NOW}


def test_no_limit(desk: Desk, settings: Settings) -> None:
    settings.QUEUE_MAX = 0
    desk.accept_many(12)
    assert not measure_queue(NOW)
    desk.accept()
