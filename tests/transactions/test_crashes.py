"""A process that dies at any named point of the money path: the next one goes on, and each payment is made once.

Here the death is an exception; tests/flows/ kills real processes at the same points.
"""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from accounts.models import Account, Entry, Hold, Journal
from tests.books import assert_books_balance
from tests.desk import ETHER, Desk, crash_at, dies, make_account, make_address, stages
from tests.transactions import test_nonces, test_replace
from transactions.models import Attempt, Deposit, Transaction, Wallet
from transactions.services import intake, settle
from transactions.services.sweep import sweep_deposits

ROOT = Path(__file__).resolve().parents[2]

POINTS = [
    "broadcast.before_commit",
    "broadcast.saved",
    "broadcast.before_send",
    "broadcast.after_send",
    "follow.mined",
    "follow.before_settle",
    "settle.before_commit",
    "settle.posted",
]
DEPOSIT_POINTS = [
    "intake.claimed",
    "intake.fetched",
    "intake.before_commit",
    "intake.recorded",
    "deposits.before_commit",
    "deposits.credited",
    "deposits.taken_back",
    "sweep.before_commit",
    "sweep.ordered",
]


def test_every_point_in_the_source_is_tried() -> None:
    sources = [path.read_text() for path in (ROOT / "transactions").rglob("*.py")]
    found = {name for source in sources for name in re.findall(r'fault_point\("([^"]+)"\)', source)}
    assert found == {*POINTS, *DEPOSIT_POINTS, *test_replace.POINTS, *test_nonces.POINTS}


@pytest.mark.parametrize("point", POINTS)
def test_each_payment_is_made_once(desk: Desk, settings: Settings, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    settings.CHAIN_RPC_BATCH_SIZE = 3
    monkeypatch.setattr(settle, "CHUNK", 2)
    payments = desk.accept_many(5)
    refusing = make_address()
    failing = desk.accept(7, to=refusing)
    died = crash_at(monkeypatch, point)

    for _ in range(25):
        with dies():
            desk.broadcast()
        # It reverts only once it is on the chain.
        desk.chain.reverting.add(refusing)
        desk.chain.mine()
        with dies():
            desk.follow()
        desk.assert_books_balance()
        desk.chain.reverting.discard(refusing)

    assert died()
    assert stages([*payments, failing]) == ["SETTLED"] * 6
    desk.assert_paid_once(
        [*payments, *([] if Transaction.objects.get(pk=failing.pk).status == "FAILED" else [failing])]
    )
    assert Attempt.objects.count() == 6, "no payment was signed twice"
    assert Journal.objects.filter(kind="settlement").count() == 6
    desk.assert_books_balance()


@pytest.mark.parametrize("point", DEPOSIT_POINTS)
def test_each_deposit_is_credited_and_swept_once(
    desk: Desk, settings: Settings, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """Three deposits come, are taken back by a deep reorg once they were credited, come again, and are swept."""
    settings.CONFIRMATIONS = 4
    addresses = [desk.add_deposit_address(make_account()) for _ in range(3)]
    for number, wallet in enumerate(addresses, start=1):
        desk.pay_in(wallet.address, number * ETHER)
    died = crash_at(monkeypatch, point)
    now = timezone.now()

    for round_number in range(25):
        if round_number == 8:
            desk.chain.reorg(8, back_to_pool=True)
        desk.chain.mine()
        for step in (desk.follow, partial(desk.take_in, now), desk.broadcast):
            with dies():
                step()
        if round_number > 12:
            with dies():
                sweep_deposits(now, chain=desk.chain)
        # What a dead process has claimed is begun anew only after a while.
        now += intake.TRIED_AGAIN_AFTER
        assert_books_balance()

    assert died()
    desk.assert_books_balance()
    deposits = Deposit.objects.order_by("amount_in_wei").values_list("wallet", "amount_in_wei", "status", "credits")
    assert list(deposits.filter(wallet__in=addresses)) == [
        (wallet.pk, number * ETHER, "credited", 2) for number, wallet in enumerate(addresses, 1)
    ]
    sweeps = Transaction.objects.order_by("transaction_amount_in_wei")
    assert list(sweeps.values_list("kind", "wallet", "status")) == [
        ("sweep", wallet.pk, "SUCCESSFUL") for wallet in addresses
    ]
    moved = sweeps.values_list("transaction_hash", "transaction_amount_in_wei")
    arrived = deposits.filter(wallet=desk.wallet).values_list("transaction_hash", "amount_in_wei")
    assert list(arrived) == list(moved)
    assert Attempt.objects.count() == 3, "no sweep was signed twice"
    credited = Account.objects.filter(deposit_address__in=addresses).order_by("pk")
    assert list(credited.values_list("current_balance_in_wei", flat=True)) == [ETHER, 2 * ETHER, 3 * ETHER]


class Snapshot:
    """All rows that a settlement touches."""

    def __init__(self) -> None:
        models = (Account, Entry, Hold, Journal, Transaction)
        self.rows = [list(model.objects.order_by("pk").values_list()) for model in models]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Snapshot) and self.rows == other.rows

    __hash__ = None  # type: ignore[assignment]


@pytest.fixture
def dying_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], int]], None]:
    def run(point: str, step: Callable[[], int]) -> None:
        died = crash_at(monkeypatch, point)
        with dies():
            step()
        assert died()

    return run


DyingAt = Callable[[str, Callable[[], int]], None]


def test_before_the_commit_nothing_is_saved_and_nothing_sent(desk: Desk, dying_at: DyingAt) -> None:
    payments = desk.accept_many(2)
    dying_at("broadcast.before_commit", desk.broadcast)
    assert stages(payments) == ["ACCEPTED"] * 2
    assert not Attempt.objects.exists()
    assert Wallet.objects.get().next_nonce == 0
    assert not desk.chain.asked["send_raw"]


@pytest.mark.parametrize("point", ["broadcast.saved", "broadcast.before_send"])
def test_after_the_commit_the_saved_bytes_are_sent_by_the_next_one(desk: Desk, dying_at: DyingAt, point: str) -> None:
    payments = desk.accept_many(2)
    dying_at(point, desk.broadcast)
    assert stages(payments) == ["SIGNED"] * 2
    assert not desk.chain.pool
    saved = {attempt.hash for attempt in Attempt.objects.all()}
    assert desk.broadcast() == 2
    assert set(desk.chain.pool) == saved


def test_after_the_send_the_same_bytes_again_are_the_same_payment(desk: Desk, dying_at: DyingAt) -> None:
    payments = desk.accept_many(2)
    dying_at("broadcast.after_send", desk.broadcast)
    assert stages(payments) == ["SIGNED"] * 2
    sent = desk.chain.pool
    assert len(sent) == 2
    assert desk.broadcast() == 2
    assert desk.chain.pool == sent
    assert stages(payments) == ["BROADCAST"] * 2


def test_sent_mined_and_never_noted_is_found_by_the_follower_alone(desk: Desk, dying_at: DyingAt) -> None:
    payments = desk.accept_many(2)
    dying_at("broadcast.after_send", desk.broadcast)
    desk.mine()
    assert stages(payments) == ["MINED"] * 2
    desk.mine(9)
    assert stages(payments) == ["SETTLED"] * 2
    desk.assert_paid_once(payments)
    desk.assert_books_balance()


def test_a_settlement_that_did_not_commit_left_no_row(desk: Desk, dying_at: DyingAt) -> None:
    payments = desk.accept_many(3)
    desk.broadcast()
    desk.mine(9)
    desk.chain.mine()
    before = Snapshot()
    dying_at("settle.before_commit", desk.follow)
    assert Snapshot() == before
    assert stages(payments) == ["MINED"] * 3
    assert desk.follow() == 3
    desk.assert_books_balance()


def test_a_settlement_that_did_commit_is_not_made_again(desk: Desk, dying_at: DyingAt) -> None:
    payments = desk.accept_many(3)
    desk.broadcast()
    desk.mine(9)
    desk.chain.mine()
    dying_at("settle.posted", desk.follow)
    assert stages(payments) == ["SETTLED"] * 3
    before = Snapshot()
    assert desk.follow() == 0
    assert Snapshot() == before
    desk.assert_books_balance()
