"""A full queue over the API: come back later."""

from pytest_django.fixtures import Settings

from tests.api.callers import Caller, books, json_of, problem_of
from tests.desk import NOW
from transactions.services.queue import measure_queue


def test_a_full_queue_is_429_with_a_time_to_come_back(caller: Caller, settings: Settings) -> None:
    settings.QUEUE_MAX = 1
    first = json_of(caller.pay(key="first"), 201)
    assert measure_queue(NOW)
    before = books()
    response = caller.pay(key="second")
    assert problem_of(response, 429)["code"] == "queue_full"
    assert response["Retry-After"] == "5"
    assert books() == before
    assert json_of(caller.pay(key="first"))["id"] == first["id"]
