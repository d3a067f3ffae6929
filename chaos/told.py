"""What clients asked for and what they were told: the record that is held against the desk at the end."""

import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

# Of a payment's detail, what can turn out to be untrue.
_KEPT = (
    "id",
    "user_account_id",
    "status",
    "stage",
    "to_public_address",
    "transaction_amount_in_wei",
    "transaction_fee_total_in_wei",
    "transaction_hash",
    "block_number",
    "current_balance_in_wei",
    "available_balance_in_wei",
    "code",
    "detail",
)


@dataclass(frozen=True, slots=True)
class Order:
    """One payment that a client wants made, once, under one idempotency key."""

    client: str
    key: str
    account_id: int
    to_address: str
    amount_in_wei: int


@dataclass(frozen=True, slots=True)
class Answer:
    """One request and what was answered; times are seconds of the epoch.

    :param kind: `pay` (the subject is an order's key), `look` (a payment's id, alone or in a list) or `balance` (an
        account's id).
    :param status: the HTTP status; 0 when there was no answer, and nobody knows what became of the request.
    """

    kind: str
    subject: str
    sent_at: float
    answered_at: float
    status: int
    body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_acceptance(self) -> bool:
        return self.kind == "pay" and self.status in (200, 201)


class Told:
    """Everything that was asked and answered, in the order of the answers. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.orders: dict[str, Order] = {}
        self.answers: list[Answer] = []

    def order(self, order: Order) -> None:
        """Note what a client is about to ask for."""
        with self._lock:
            self.orders[order.key] = order

    def answer(self, kind: str, subject: str, sent_at: float, status: int, body: Mapping[str, Any]) -> Answer:
        """Note an answer that has just come, or will not."""
        kept = {name: body[name] for name in _KEPT if name in body}
        answer = Answer(kind, subject, sent_at, time.time(), status, kept)
        with self._lock:
            self.answers.append(answer)
        return answer

    def acceptances(self) -> list[Answer]:
        """Return the answers that said that a payment is accepted."""
        with self._lock:
            return [answer for answer in self.answers if answer.is_acceptance]

    def as_json(self) -> dict[str, Any]:
        with self._lock:
            return {
                "orders": [asdict(order) for order in self.orders.values()],
                "answers": [asdict(answer) for answer in self.answers],
            }
