"""A message that is done doesn't stand in the way of others, even when the broker can't be told."""

from collections.abc import Iterator
from typing import Any

import pytest
from kombu import Connection, Consumer, Producer, Queue

from txnsite.broker import Transport
from txnsite.celery import app
from txnsite.stack.valkey import Valkey

QUEUE = Queue("work")


@pytest.fixture
def broker(own_valkey: Valkey) -> Iterator[Connection]:
    with Connection(own_valkey.url_of(0), transport_options={"max_retries": 1}) as connection:
        yield connection


def test_the_workers_use_it() -> None:
    assert app.conf.broker_url.startswith("redis://")
    with app.connection_for_read() as connection:
        assert isinstance(connection.transport, Transport)


def test_a_worker_takes_more_after_an_acknowledgement_that_was_lost(broker: Connection, own_valkey: Valkey) -> None:
    channel: Any = broker.channel()
    producer = Producer(channel)
    for number in (1, 2):
        producer.publish(number, routing_key=QUEUE.name, declare=[QUEUE])
    taken = []
    with Consumer(channel, [QUEUE], callbacks=[lambda body, message: taken.append((body, message))]) as consumer:
        consumer.qos(prefetch_count=1)
        broker.drain_events(timeout=5)
        assert not channel.qos.can_consume()
        own_valkey.stop()
        with pytest.raises(broker.connection_errors):
            taken[0][1].ack()
        assert channel.qos.can_consume()
        # What Consumer and Connection say to the broker as they leave.
        own_valkey.start()
