"""The Redis transport of kombu, made to go on when an acknowledgement gets lost.

kombu counts a message as being worked on until the broker has confirmed that it is done. Where that answer is lost (a
connection that breaks at the wrong moment), the message stays counted, and a worker that has its whole prefetch counted
so fetches nothing any more, without a word and without end (kombu 5.6.2, `kombu.transport.redis.QoS.ack`).
"""

from kombu.transport import TRANSPORT_ALIASES, redis, virtual


class QoS(redis.QoS):
    """Forgets a message that is done also when the broker can't be told.

    The broker gives it out once more after its visibility timeout: late, expired by then, and to tasks that may run
    twice anyway.
    """

    def ack(self, delivery_tag: str) -> None:
        try:
            super().ack(delivery_tag)
        except BaseException:
            virtual.QoS.ack(self, delivery_tag)
            raise


class Channel(redis.Channel):
    QoS = QoS


class Transport(redis.Transport):
    Channel = Channel


def use_for_redis_urls() -> None:
    """Let every connection to a redis:// or rediss:// broker be one of these."""
    name = f"{Transport.__module__}:{Transport.__name__}"
    TRANSPORT_ALIASES.update(redis=name, rediss=name)
