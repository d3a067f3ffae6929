"""Rotating a hot wallet's key: each step, each refusal, and a death at each point."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from pytest_django.fixtures import Settings

from accounts import locks
from accounts.keys import create_keystore, files, forget_signers, list_keystores, load_signer
from accounts.models import Account, AccountKind, Alert, AlertKind, AuditEvent
from accounts.services.alerts import raise_alert
from tests.desk import (
    ETHER,
    GWEI,
    NETWORK_FEE,
    NOW,
    WALLET_FUNDS,
    Crash,
    Desk,
    credit,
    dies,
    make_address,
    make_user,
    stages,
    write_keystore,
)
from tests.transactions.test_nonces import send_elsewhere
from transactions.chain import use_chain
from transactions.exceptions import WalletStateError
from transactions.models import Transaction, Wallet
from transactions.services import rotate, wallet_care
from transactions.services.pricing import FEE_MARGIN
from transactions.services.rotate import Standing, rotate_key
from transactions.services.sweep import order_move
from transactions.services.verify import check_books
from transactions.states import Kind, WalletRole


@pytest.fixture(autouse=True)
def keystore_dir(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A keystore directory of the test's own, whose files open at once; set before the desk is made."""
    monkeypatch.setattr(files, "KDF", {"kdf": "pbkdf2", "iterations": 1})
    settings.KEYSTORE_DIR = tmp_path / "keystore"
    settings.KEYSTORE_DIR.mkdir()
    forget_signers()
    yield settings.KEYSTORE_DIR
    forget_signers()


@pytest.fixture
def desk(keystore_dir: Path, db: None) -> Iterator[Desk]:
    desk = Desk()
    use_chain(desk.chain)
    yield desk
    use_chain(None)


def run(desk: Desk, *, reason: str = "yearly", **options: Any) -> Standing:
    """Run the command's one call once."""
    return rotate_key(actor=None, address=desk.wallet.address, reason=reason, now=NOW, chain=desk.chain, **options)


def old(desk: Desk) -> Wallet:
    return Wallet.objects.get(pk=desk.wallet.pk)


def new(desk: Desk) -> Wallet:
    replacement = old(desk).replaced_by
    assert replacement is not None
    return replacement


def run_to_the_end(desk: Desk) -> Standing:
    """Run the command until it is over, the desk doing its work in between."""
    for _ in range(10):
        standing = run(desk)
        if standing.is_over:
            return standing
        desk.run_to_the_end()
    raise AssertionError(f"not over: {standing}")


def actions() -> list[str]:
    return list(AuditEvent.objects.order_by("at", "id").values_list("action", flat=True))


class TestBegin:
    def test_a_new_wallet_takes_over_and_the_old_one_gets_nothing_more(self, desk: Desk, keystore_dir: Path) -> None:
        sent = desk.accept()
        desk.broadcast()
        standing = run(desk)
        assert not standing.is_over
        assert standing.words == (
            f"{new(desk)} takes over from {desk.wallet}, which gets no new payments. "
            f"Its key file is in {keystore_dir}: back it up now.",
            "1 of its transactions is not final yet.",
        )
        assert list_keystores(keystore_dir) == [desk.wallet.address, new(desk).address]
        assert (old(desk).draining_at, old(desk).paused_at, old(desk).retired_at) == (NOW, None, None)
        assert (new(desk).next_nonce, new(desk).draining_at) == (0, None)
        waiting = desk.accept()
        desk.broadcast()
        assert stages([sent, waiting]) == ["BROADCAST", "ACCEPTED"]
        assert actions() == ["wallet.draining", "wallet.replaced"]
        event = AuditEvent.objects.get(action="wallet.replaced")
        assert (event.reason, event.details, event.actor) == ("yearly", {"by": new(desk).address}, None)

    def test_again_it_goes_on_with_the_same_wallet_and_needs_no_reason(self, desk: Desk) -> None:
        desk.accept()
        desk.broadcast()
        run(desk)
        first = new(desk)
        assert run(desk, reason="").words == ("1 of its transactions is not final yet.",)
        assert new(desk) == first
        assert Wallet.objects.count() == 2
        assert len(actions()) == 2

    def test_a_key_that_is_there_takes_over(self, desk: Desk, keystore_dir: Path) -> None:
        address = create_keystore(keystore_dir, "only-for-tests")
        run(desk, to_address=address)
        assert new(desk).address == address
        assert len(list_keystores(keystore_dir)) == 2
        run(desk, to_address=address)
        with pytest.raises(WalletStateError, match="is being replaced by"):
            run(desk, to_address=make_address())

    def test_a_wallet_that_pays_already_takes_over(self, desk: Desk) -> None:
        second = desk.add_wallet()
        run(desk, to_address=second.address)
        assert new(desk) == second

    def test_one_that_is_drained_already_is_not_drained_again(self, desk: Desk) -> None:
        wallet_care.drain(actor=make_user(), wallet_id=desk.wallet.pk, reason="x", now=NOW)
        run(desk)
        assert actions()[:2] == ["wallet.draining", "wallet.replaced"]
        assert actions().count("wallet.draining") == 1

    def test_what_can_not_be_rotated(self, desk: Desk, keystore_dir: Path) -> None:
        second = desk.add_wallet()
        wallet_care.drain(actor=make_user(), wallet_id=second.pk, reason="x", now=NOW)
        refusals: list[tuple[dict[str, Any], str]] = [
            ({"reason": " "}, "reason"),
            ({"to_address": desk.wallet.address}, "^A key can't replace itself.$"),
            ({"to_address": second.address}, "can't take over"),
            ({"to_address": make_address()}, "There is no key for"),
        ]
        for options, words in refusals:
            with pytest.raises(Exception, match=words):
                run(desk, **options)
        with pytest.raises(WalletStateError, match="There is no hot wallet"):
            rotate_key(actor=None, address=make_address(), reason="x", now=NOW, chain=desk.chain)
        assert old(desk).replaced_by is None
        assert old(desk).draining_at is None
        assert Wallet.objects.count() == 2
        assert len(list_keystores(keystore_dir)) == 2

    def test_a_deposit_address_neither_is_rotated_nor_takes_over(self, desk: Desk) -> None:
        asset = Account.objects.create(kind=AccountKind.DEPOSIT_ADDRESS, name="Deposit address")
        deposit = Wallet.objects.create(
            role=WalletRole.DEPOSIT, address=write_keystore(9), account=asset, credits=desk.account
        )
        with pytest.raises(WalletStateError, match="can't take over"):
            run(desk, to_address=deposit.address)
        with pytest.raises(WalletStateError, match="There is no hot wallet"):
            rotate_key(actor=None, address=deposit.address, reason="x", now=NOW, chain=desk.chain)
        assert actions() == []

    def test_without_a_node_no_key_is_made(self, desk: Desk, keystore_dir: Path) -> None:
        with desk.chain.outage(), pytest.raises(Exception, match="node is down"):
            run(desk)
        assert list_keystores(keystore_dir) == [desk.wallet.address]


DUST = 2 * FEE_MARGIN * 21_000 * 3 * GWEI
"""Up to twice what is kept back for the fee at the fake chain's first prices (twice 1 gwei, and 1 of tip)."""


class TestRetire:
    """The end of a wallet that holds nothing worth moving."""

    @pytest.fixture(autouse=True)
    def nearly_empty(self, desk: Desk) -> None:
        desk.chain.set_balance(desk.wallet.address, DUST)

    def test_its_key_is_put_away_and_it_is_paused_for_good(self, desk: Desk, keystore_dir: Path) -> None:
        raise_alert(kind=AlertKind.WALLET_BALANCE_LOW, subject=desk.wallet.address, message="x", now=NOW)
        standing = run(desk)
        assert standing.is_over
        (retired,) = (keystore_dir / "retired").iterdir()
        assert standing.words[1:] == (
            "It keeps 0.000504 ETH, less than it would cost to move.",
            f"Its key file is {retired} now: keep it, somebody may still pay to {desk.wallet.address}.",
        )
        assert list_keystores(keystore_dir) == [new(desk).address]
        assert (old(desk).paused_at, old(desk).retired_at) == (NOW, NOW)
        assert old(desk).paused_reason == f"Replaced by {new(desk)}; its key is retired."
        assert not Alert.objects.filter(resolved_at=None).exists(), "it was meant to be so"
        assert actions() == ["wallet.draining", "wallet.replaced", "wallet.retired"]
        with pytest.raises(Exception, match="There is no key for"):
            load_signer(desk.wallet.address)

    def test_once_more_changes_nothing(self, desk: Desk) -> None:
        run(desk)
        before = Wallet.objects.values_list()
        standing = run(desk, reason="")
        assert standing.is_over
        assert "No file of its key" in standing.words[0]
        assert list(Wallet.objects.values_list()) == list(before)
        assert len(actions()) == 3

    def test_the_desk_pays_on_from_the_new_one(self, desk: Desk) -> None:
        run(desk)
        desk.chain.set_balance(new(desk).address, 5 * ETHER)
        payment = desk.accept()
        for _ in range(12):
            desk.broadcast()
            desk.mine()
        assert stages([payment]) == ["SETTLED"]
        assert Transaction.objects.get(pk=payment.pk).wallet == new(desk)

    def test_not_while_something_comes_to_it(self, desk: Desk) -> None:
        second = desk.add_wallet()
        desk.accept(to=desk.wallet.address)
        assert run(desk, to_address=second.address).words[-1] == "1 of its transactions is not final yet."
        assert old(desk).retired_at is None

    def test_not_while_it_is_paused(self, desk: Desk) -> None:
        wallet_care.pause(actor=make_user(), wallet_id=desk.wallet.pk, reason="to look at.", now=NOW)
        standing = run(desk)
        assert not standing.is_over
        assert standing.words[-1] == (
            f"{desk.wallet} is paused, so nothing can leave it: to look at. See to that and resume it."
        )
        assert old(desk).retired_at is None
        wallet_care.resume(actor=make_user(), wallet_id=desk.wallet.pk, reason="looked", now=NOW)
        assert run(desk).is_over

    def test_not_while_the_chain_counts_otherwise(self, desk: Desk) -> None:
        desk.chain.set_balance(desk.wallet.address, 8 * ETHER)
        send_elsewhere(desk, 0)
        desk.chain.set_balance(desk.wallet.address, DUST)
        assert run(desk).words[-1] == "The chain counts 1 of its transactions, the desk 0: being checked."
        assert old(desk).retired_at is None

    @pytest.mark.parametrize("what", ["left", "comes", "paused"])
    def test_not_when_something_has_happened_just_now(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch, what: str
    ) -> None:
        retire = rotate._retire

        def late(wallet: Wallet, *others: Any) -> bool:
            if what == "left":
                Wallet.objects.filter(pk=wallet.pk).update(next_nonce=1)
            elif what == "comes":
                desk.accept(to=wallet.address)
            else:
                wallet_care.pause(actor=make_user(), wallet_id=wallet.pk, reason="x", now=NOW)
            return retire(wallet, *others)

        monkeypatch.setattr(rotate, "_retire", late)
        assert run(desk).words[-1] == "Something has happened to it just now."
        assert old(desk).retired_at is None

    def test_a_key_from_the_environment_is_left_to_people(
        self, desk: Desk, keystore_dir: Path, settings: Settings
    ) -> None:
        (path,) = keystore_dir.iterdir()
        path.unlink()
        settings.WALLET_PRIVATE_KEYS = f"0x{2**160:064x}"
        forget_signers()
        standing = run(desk)
        assert standing.is_over
        assert standing.words[-1] == (
            "Its key is still in WALLET_PRIVATE_KEYS (environment): take it out there, "
            "and restart the workers of queue money."
        )
        assert old(desk).retired_at == NOW

    def test_who_pays_to_it_afterwards_loses_nothing(self, desk: Desk, keystore_dir: Path) -> None:
        run(desk)
        with pytest.raises(WalletStateError, match="its key has to be put back first. There is no key for 0x"):
            wallet_care.resume(actor=make_user(), wallet_id=desk.wallet.pk, reason="a late payment", now=NOW)
        assert (old(desk).paused_at, old(desk).retired_at) == (NOW, NOW)
        (retired,) = (keystore_dir / "retired").iterdir()
        retired.rename(keystore_dir / retired.name)
        wallet_care.resume(actor=make_user(), wallet_id=desk.wallet.pk, reason="a late payment", now=NOW)
        assert (old(desk).paused_at, old(desk).retired_at, old(desk).draining_at) == (None, None, NOW)
        with pytest.raises(WalletStateError, match="was replaced by"):
            wallet_care.resume(actor=make_user(), wallet_id=desk.wallet.pk, reason="pay again", now=NOW)
        assert run(desk).is_over
        assert list_keystores(keystore_dir) == [new(desk).address]

    @pytest.mark.parametrize(
        "step",
        ["create_keystore", "open_wallet", "record_audit", "_go_on", "_retire", "resolve_alert", "_put_key_away"],
    )
    @pytest.mark.parametrize("when", ["before", "after"])
    def test_a_run_that_dies_anywhere_is_finished_by_the_next(
        self, desk: Desk, keystore_dir: Path, monkeypatch: pytest.MonkeyPatch, step: str, when: str
    ) -> None:
        died = die_at(monkeypatch, step, when)
        with dies():
            run(desk)
        assert died()
        assert run(desk).is_over
        assert Wallet.objects.count() == 2
        assert (old(desk).retired_at, old(desk).draining_at) == (NOW, NOW)
        # What a run that died at the very moment left behind is a key that has, and gets, nothing.
        spare = {"create_keystore": when == "after", "open_wallet": True}.get(step, False)
        spare = spare or (step == "record_audit")
        assert len(list_keystores(keystore_dir)) == 1 + spare
        assert desk.wallet.address not in list_keystores(keystore_dir)
        assert sorted(set(actions())) == ["wallet.draining", "wallet.replaced", "wallet.retired"]
        assert len(actions()) == 3


def die_at(monkeypatch: pytest.MonkeyPatch, step: str, when: str) -> Callable[[], bool]:
    """Let the process die just before or after a step, once; return a function that says whether it did."""
    original = getattr(rotate, step)
    fired: list[bool] = []

    def dying(*args: Any, **kwargs: Any) -> Any:
        if fired:
            return original(*args, **kwargs)
        fired.append(True)
        if when == "after":
            original(*args, **kwargs)
        raise Crash(step)

    monkeypatch.setattr(rotate, step, dying)
    return lambda: bool(fired)


FEE_MAX = FEE_MARGIN * 21_000 * 3 * GWEI
"""What is kept back for the fee at the fake chain's first prices."""


def held(desk: Desk, wallet: Wallet) -> tuple[int, int]:
    """Return what a wallet holds by the chain and by the ledger."""
    wallet.account.refresh_from_db()
    on_chain = desk.chain.balances([wallet.address], block_number=None)[wallet.address]
    return on_chain, -wallet.account.current_balance_in_wei


class TestMove:
    def test_all_but_a_reserve_for_the_fee_goes_to_the_new_one(self, desk: Desk, keystore_dir: Path) -> None:
        payment = desk.accept()
        desk.broadcast()
        assert run(desk).words[-1] == "1 of its transactions is not final yet."
        desk.run_to_the_end()
        funds = WALLET_FUNDS - ETHER - NETWORK_FEE
        moved = Decimal(funds - FEE_MAX) / ETHER
        standing = run(desk)
        move = Transaction.objects.get(kind=Kind.SWEEP)
        assert standing.words == (f"Transaction #{move.pk} moves {moved} ETH to {new(desk)}.",)
        assert run(desk).words == ("1 of its transactions is not final yet.",), "it is ordered once"
        event = AuditEvent.objects.get(action="wallet.rest_moved")
        wanted = {"amount_in_wei": str(funds - FEE_MAX), "to": new(desk).address, "transaction": move.pk}
        assert event.details == wanted
        desk.run_to_the_end()
        assert run(desk).is_over
        left = FEE_MAX - NETWORK_FEE
        assert held(desk, old(desk)) == (left, left)
        assert held(desk, new(desk)) == (funds - FEE_MAX, funds - FEE_MAX)
        assert list_keystores(keystore_dir) == [new(desk).address]
        assert desk.chain.paid(payment.to_public_address) == [ETHER]
        desk.assert_books_balance()
        assert check_books().is_clean

    def test_payments_wait_for_the_move_and_then_go_out_from_the_new_one(self, desk: Desk) -> None:
        run(desk)
        payment = desk.accept()
        desk.run_to_the_end()
        assert Transaction.objects.get(pk=payment.pk).wallet == new(desk)
        assert run_to_the_end(desk).is_over
        desk.assert_books_balance()

    def test_to_whom_it_goes_in_the_end(self, desk: Desk) -> None:
        """The new wallet is replaced itself before the old one is empty."""
        payment = desk.accept()
        desk.broadcast()
        run(desk)
        second = new(desk)
        third = desk.add_wallet(balance_in_wei=0)
        rotate_key(
            actor=None, address=second.address, reason="again", to_address=third.address, now=NOW, chain=desk.chain
        )
        desk.run_to_the_end()
        assert run_to_the_end(desk).is_over
        assert Transaction.objects.get(kind=Kind.SWEEP).to_public_address == third.address
        assert old(desk).paused_reason == f"Replaced by {third}; its key is retired."
        assert stages([payment]) == ["SETTLED"]

    def test_a_move_that_no_block_takes_is_replaced_within_its_reserve(self, desk: Desk, settings: Settings) -> None:
        run(desk)
        desk.broadcast()
        desk.chain.base_fee_per_gas_in_wei = 4 * GWEI
        for _ in range(settings.REPLACE_AFTER_BLOCKS + 1):
            desk.chain.mine(empty=True)
            desk.follow()
        desk.broadcast()
        assert run_to_the_end(desk).is_over
        move = Transaction.objects.get(kind=Kind.SWEEP)
        assert move.attempts.count() == 2
        assert (move.transaction_fee_blockchain_in_wei or 0) <= FEE_MAX
        desk.assert_books_balance()

    @pytest.mark.parametrize("what", ["stolen", "dearer"])
    def test_a_move_that_can_not_be_paid_any_more_is_ordered_anew(self, desk: Desk, what: str) -> None:
        run(desk)
        first = Transaction.objects.get(kind=Kind.SWEEP)
        if what == "stolen":
            on_chain, _ = held(desk, old(desk))
            desk.chain.set_balance(desk.wallet.address, on_chain - ETHER)
            credit(desk.wallet.account, ETHER)
        else:
            desk.chain.base_fee_per_gas_in_wei = 20 * GWEI
        desk.broadcast()
        assert stages([first]) == ["ACCEPTED"]
        standing = run(desk)
        second = Transaction.objects.exclude(pk=first.pk).get(kind=Kind.SWEEP)
        assert standing.words[-1].startswith(f"Transaction #{second.pk} moves ")
        first.refresh_from_db()
        assert (first.failure_reason, first.failure_detail) == ("cancelled", "It can't be paid any more.")
        assert run(desk).words == ("1 of its transactions is not final yet.",), "the second one can be paid"
        assert run_to_the_end(desk).is_over
        desk.assert_books_balance()
        assert check_books().is_clean

    def test_nothing_is_moved_to_a_wallet_that_is_replaced(self, desk: Desk) -> None:
        """By a sweep, say, that chose its target just before."""
        second = desk.add_wallet()
        run(desk, to_address=second.address)
        desk.run_to_the_end()
        assert order_move(second, desk.wallet, ETHER, FEE_MAX, NOW) is None
        assert order_move(second, desk.add_wallet(), ETHER, FEE_MAX, NOW) is not None

    def test_what_came_after_the_move_is_moved_too(self, desk: Desk) -> None:
        run(desk)
        desk.run_to_the_end()
        on_chain, _ = held(desk, old(desk))
        desk.chain.set_balance(desk.wallet.address, on_chain + ETHER)
        credit(desk.wallet.account, -ETHER)
        assert "moves" in run(desk).words[-1]
        assert run_to_the_end(desk).is_over
        assert Transaction.objects.filter(kind=Kind.SWEEP).count() == 2
        desk.assert_books_balance()

    @pytest.mark.parametrize("step", ["order_move", "record_audit", "_retire", "_put_key_away"])
    @pytest.mark.parametrize("when", ["before", "after"])
    def test_a_run_that_dies_while_money_moves_moves_it_once(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch, step: str, when: str
    ) -> None:
        run_of_begin = desk.accept()
        desk.broadcast()
        run(desk)
        died = die_at(monkeypatch, step, when)
        for _ in range(3):
            desk.run_to_the_end()
            with dies():
                run(desk)
        assert died()
        assert run_to_the_end(desk).is_over
        assert Transaction.objects.filter(kind=Kind.SWEEP).count() == 1
        assert actions().count("wallet.rest_moved") == 1
        assert actions().count("wallet.retired") == 1
        assert stages([run_of_begin]) == ["SETTLED"]
        desk.assert_books_balance()


class TestCommand:
    @pytest.fixture(autouse=True)
    def nearly_empty(self, desk: Desk) -> None:
        desk.chain.set_balance(desk.wallet.address, DUST)

    def test_from_begin_to_end(self, desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
        desk.accept(to=desk.wallet.address)
        call_command(
            "rotate_key", desk.wallet.address.lower(), "--reason", "yearly", "--by", make_user("alice").username
        )
        said = capsys.readouterr().out.splitlines()
        assert said[-1] == "The rotation is not over: run this again in a while."
        assert {event.actor.username for event in AuditEvent.objects.all() if event.actor} == {"alice"}
        with pytest.raises(CommandError, match=r"^The rotation is not over\.$"):
            call_command("rotate_key", desk.wallet.address, "--finish")

    def test_it_waits_for_the_end(
        self, desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        waited: list[float] = []

        def rest(seconds: float) -> None:
            waited.append(seconds)
            Wallet.objects.filter(pk=desk.wallet.pk).update(paused_at=None, paused_reason="")

        monkeypatch.setattr("transactions.management.commands.rotate_key.time.sleep", rest)
        wallet_care.pause(actor=make_user(), wallet_id=desk.wallet.pk, reason="x", now=NOW)
        call_command("rotate_key", desk.wallet.address, "--reason", "yearly", "--wait", "--finish")
        said = capsys.readouterr().out
        assert waited == [5]
        assert said.count("is paused") == 1
        assert said.endswith("The rotation is over.\n")

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["0x12"], "not an Ethereum address"),
            ([make_address(5)], "There is no hot wallet"),
            ([make_address(5), "--by", "nobody"], "There is no active user “nobody”"),
            ([make_address(5), "--to", "0x"], "not an Ethereum address"),
        ],
    )
    def test_what_is_wrong_is_told(self, desk: Desk, arguments: list[str], words: str) -> None:
        with pytest.raises(CommandError, match=words):
            call_command("rotate_key", *arguments, "--reason", "x")

    def test_without_a_reason_or_a_node_nothing_begins(self, desk: Desk) -> None:
        with pytest.raises(CommandError, match="reason"):
            call_command("rotate_key", desk.wallet.address)
        with desk.chain.outage(), pytest.raises(CommandError, match="The node can't be asked"):
            call_command("rotate_key", desk.wallet.address, "--reason", "x")
        assert old(desk).replaced_by is None


@pytest.mark.django_db(transaction=True)
def test_one_rotation_at_a_time(desk: Desk) -> None:
    other = connections.create_connection("default")
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [locks._lock_id("rotate_key", 0)])
    try:
        with pytest.raises(WalletStateError, match="Another rotation"):
            run(desk)
    finally:
        other.close()
    assert old(desk).replaced_by is None
