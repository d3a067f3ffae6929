"""Programs that call the API in tests, and the books that a refused request must leave alone."""

import json
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Model
from django.http import HttpResponse
from django.test import Client

from accounts.models import Account, AuditEvent, Entry, Hold, Journal, User
from accounts.services.tokens import create_token
from tests.desk import ETHER, RECIPIENT, make_account, make_user
from transactions.models import Attempt, Transaction

BOOKS: tuple[type[Model], ...] = (Account, Journal, Entry, Hold, Transaction, Attempt, AuditEvent)
PAYMENTS = "/api/v1/transactions"


def books() -> dict[str, list[dict[str, Any]]]:
    """Return every row of every table that a payment may touch."""
    return {model.__name__: list(model._default_manager.order_by("pk").values()) for model in BOOKS}


@dataclass
class Caller:
    """A user's program with its token, and an account of 100 ether to pay from."""

    user: User = field(default_factory=make_user)

    def __post_init__(self) -> None:
        self.account = make_account(self.user, balance_in_wei=100 * ETHER)
        self.token = create_token(user=self.user, name="tests").text
        self.client = Client(headers={"Authorization": f"Bearer {self.token}"})

    def payment(self, **changes: Any) -> dict[str, Any]:
        """Return the body of a good payment of 1 ether, with changes."""
        return {
            "user_account_id": self.account.pk,
            "to_public_address": RECIPIENT,
            "transaction_amount_in_wei": str(ETHER),
            **changes,
        }

    def pay(
        self, body: Any = None, *, key: str | None = None, prefer: str | None = None, **changes: Any
    ) -> HttpResponse:
        """Ask for a payment; a body that is text or bytes is sent as it is."""
        headers = {"Idempotency-Key": key, "Prefer": prefer}
        sent = self.payment(**changes) if body is None else body
        return self.client.post(  # type: ignore[return-value]
            PAYMENTS,
            sent if isinstance(sent, str | bytes) else json.dumps(sent),
            content_type="application/json",
            headers={name: value for name, value in headers.items() if value is not None},
        )

    def get(self, path: str, **query: Any) -> HttpResponse:
        """Ask for what is below /api/v1/."""
        return self.client.get(f"/api/v1/{path}", query)  # type: ignore[return-value]


def problem_of(response: Any, status: int) -> dict[str, Any]:
    """Return the problem that a response tells, having checked that it is one."""
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = json.loads(response.content)
    assert problem["status"] == status
    assert problem["type"] == f"/api/v1/problems/{problem['code']}"
    assert problem["title"]
    assert problem["detail"]
    return problem


def json_of(response: Any, status: int = 200) -> dict[str, Any]:
    """Return the JSON of a response, having checked its status."""
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/json"
    content: dict[str, Any] = json.loads(response.content)
    return content
