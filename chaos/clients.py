"""Clients: programs that pay and look, and repeat under the same idempotency key until they know."""

import threading
from collections.abc import Iterator, Sequence
from itertools import count
from random import Random
from time import monotonic, sleep, time

from chaos.api import NO_ANSWER, Api
from chaos.cast import COSTS_MORE, POOR_AMOUNT_IN_WEI, REVERTS, REVERTS_AT_TIMES, Cast, Payer, recipient
from chaos.rows import all_are_mined
from chaos.stack import DATABASE, Stack
from chaos.told import Answer, Order, Told

_LOCKED = "account_locked"
AMOUNT_MAX_IN_WEI = 10**15
_PROBE_SECONDS = 0.1
_SPECIAL_RECIPIENTS = (REVERTS, REVERTS_AT_TIMES, COSTS_MORE)
_SPECIAL_SHARE = 0.12
RESOLVE_SECONDS = 120.0
"""How long after the rain a client goes on asking what became of its last payment."""


def is_definite(answer: Answer) -> bool:
    """Say whether an answer tells what became of the request; all others mean: ask again."""
    if answer.status == NO_ANSWER or answer.status >= 500 or answer.status == 429:
        return False
    return answer.body.get("code") != _LOCKED


class Client(threading.Thread):
    """One program with a token of its own that pays from its accounts, and looks at what it was told."""

    pause_seconds = 0.3
    # Some give up early, while the first request is still under way, and ask again: two at once under one key.
    patience_seconds: Sequence[float] = (0.4, 3.0, 8.0)

    def __init__(self, name: str, payer: Payer, port: int, told: Told, rng: Random, numbers: Iterator[int]) -> None:
        super().__init__(name=name, daemon=True)
        self._payer = payer
        self._api = Api(port, payer.token)
        self._told = told
        self._rng = rng
        self._numbers = numbers
        self._over = threading.Event()
        self._give_up_at = float("inf")
        self._paid: list[tuple[Order, int]] = []

    def run(self) -> None:
        while not self._over.wait(self._rng.uniform(0, 2 * self.pause_seconds)):
            self.pay(self.new_order())
            self._look_around()
        self._api.close()

    def finish(self) -> None:
        """Order nothing more, but find out what became of the last order."""
        self._give_up_at = monotonic() + RESOLVE_SECONDS
        self._over.set()

    def new_order(self) -> Order:
        """Make up a payment, mostly to an address that is used once."""
        special = self._rng.choice(_SPECIAL_RECIPIENTS) if self._rng.random() < _SPECIAL_SHARE else None
        return self._order(self._rng.randrange(1, AMOUNT_MAX_IN_WEI), special)

    def _order(self, amount_in_wei: int, to_address: str | None = None) -> Order:
        """Note a payment as ordered; without an address, to one that nobody else is paid at."""
        number = next(self._numbers)
        order = Order(
            client=self.name,
            key=f"{self.name}-{number}",
            account_id=self._rng.choice(self._payer.account_ids),
            to_address=to_address or recipient(number),
            amount_in_wei=amount_in_wei,
        )
        self._told.order(order)
        return order

    def pay(self, order: Order) -> int | None:
        """Ask until the answer is definite; return the payment's id, or nothing when it was refused, or time is up."""
        while monotonic() < self._give_up_at:
            answer = self.ask(order)
            if answer.is_acceptance:
                self._paid.append((order, answer.body["id"]))
                return int(answer.body["id"])
            if is_definite(answer):
                return None
            sleep(self._rng.uniform(0.05, 0.4))
        return None

    def ask(self, order: Order) -> Answer:
        """Ask for a payment once."""
        body = {
            "user_account_id": order.account_id,
            "to_public_address": order.to_address,
            "transaction_amount_in_wei": str(order.amount_in_wei),
        }
        sent_at = time()
        status, told = self._api.call(
            "POST",
            "/transactions",
            body,
            timeout_seconds=self._rng.choice(self.patience_seconds),
            headers={"Idempotency-Key": order.key},
        )
        return self._told.answer("pay", order.key, sent_at, status, told)

    def _look_around(self) -> None:
        """Look at an account, at a payment new or old, and now and then at a list, or ask for a payment again."""
        self._look("balance", "/accounts", self._rng.choice(self._payer.account_ids))
        if not self._paid:
            return
        recent = self._paid[-20:] if self._rng.random() < 0.7 else self._paid
        order, payment_id = self._rng.choice(recent)
        self._look("look", "/transactions", payment_id)
        if self._rng.random() < 0.05:
            self.ask(order)
        if self._rng.random() < 0.05:
            self._look_through_list()

    def _look_through_list(self) -> None:
        """Look at the newest payments; each that is listed counts as looked at."""
        sent_at = time()
        _, body = self._api.call(
            "GET", "/transactions?limit=20", timeout_seconds=self._rng.choice(self.patience_seconds)
        )
        for listed in body.get("results", ()):
            self._told.answer("look", str(listed["id"]), sent_at, 200, listed)

    def _look(self, kind: str, path: str, subject: int) -> None:
        sent_at = time()
        status, body = self._api.call(
            "GET", f"{path}/{subject}", timeout_seconds=self._rng.choice(self.patience_seconds)
        )
        self._told.answer(kind, str(subject), sent_at, status, body)


class PoorClient(Client):
    """One of several programs that share an account which can't pay for all that they want."""

    pause_seconds = 1.5

    def new_order(self) -> Order:
        """Make up a payment of always the same amount."""
        return self._order(POOR_AMOUNT_IN_WEI)


class Probe(Client):
    """The program that finds out how long the desk takes to work again: it pays, and waits for the chain to say so."""

    patience_seconds = (1.0,)

    def give_up(self) -> None:
        """Wait no longer, now and from now on."""
        self._over.set()
        self._give_up_at = 0.0

    def recover(self, stack: Stack, since: float, seconds_max: float) -> float | None:
        """Return how many seconds after `since` the desk worked again; nothing when it took longer than it may.

        It works when a payment ordered now is in a block, and the desk knows the same of all that were accepted before.

        :param since: a time of `monotonic`.
        """
        order = self._order(1)
        self._give_up_at = since + seconds_max
        payment_id = None if self._over.is_set() else self.pay(order)
        while payment_id is not None and monotonic() < self._give_up_at:
            is_paid = stack.anvil.balance(order.to_address) >= order.amount_in_wei
            if is_paid and all_are_mined(stack.postgres.url_of(DATABASE), payment_id):
                return monotonic() - since
            sleep(_PROBE_SECONDS)
        return None


def make_clients(cast: Cast, port: int, told: Told, seed: int) -> tuple[list[Client], Probe]:
    """Return the clients that make the rain, and the probe."""
    numbers = count(1)

    def rng(name: str) -> Random:
        return Random(f"{seed}-{name}")

    clients = [Client(payer.name, payer, port, told, rng(payer.name), numbers) for payer in cast.payers]
    clients += [PoorClient(name, cast.poor, port, told, rng(name), numbers) for name in ("poor-1", "poor-2")]
    return clients, Probe("probe", cast.probe, port, told, rng("probe"), numbers)
