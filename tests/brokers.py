"""The broker as tests look at it from outside: what waits in a queue, and a broker that is elsewhere."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from django.conf import settings
from redis import Redis

from txnsite.celery import app


@dataclass(frozen=True)
class Message:
    """A task that waits for a worker."""

    task: str
    args: list[Any]
    expires: bool


def waiting(queue: str, url: str | None = None) -> list[Message]:
    """Return what waits in a queue, oldest first."""
    broker = Redis.from_url(url or settings.CELERY_BROKER_URL)
    try:
        raw: Any = broker.lrange(f"txnsite:{queue}", 0, -1)
    finally:
        broker.close()
    messages = [json.loads(one) for one in reversed(raw)]
    return [
        Message(
            one["headers"]["task"],
            json.loads(base64.b64decode(one["body"]))[0],
            one["headers"]["expires"] is not None,
        )
        for one in messages
    ]


@contextmanager
def broker_at(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this process publish to another broker inside of the `with` block."""
    with monkeypatch.context() as patch:
        patch.setenv("CELERY_BROKER_WRITE_URL", url)
        app._after_fork()  # type: ignore[attr-defined]
        yield
    app._after_fork()  # type: ignore[attr-defined]
