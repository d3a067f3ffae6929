"""Rotating a hot wallet's key: each step, each refusal, and a death at each point."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from pytest_django.fixtures import Settings

from accounts import locks
from accounts.keys import create_keystore, files, forget_signers, list_keystores, load_signer
from accounts.models import Alert, AlertKind, AuditEvent
from accounts.services.alerts import raise_alert
from tests.desk import ETHER, GWEI, NOW, Crash, Desk, dies, make_address, make_user, stages
from tests.transactions.test_nonces import send_elsewhere
from transactions.chain import use_chain
from transactions.exceptions import WalletStateError
from transactions.models import Transaction, Wallet
from transactions.services import rotate, wallet_care
from transactions.services.rotate import Standing, rotate_key


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
            "1 of its transactions are not final yet.",
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
        assert run(desk, reason="").words == ("1 of its transactions are not final yet.",)
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
        assert actions() == ["wallet.draining", "wallet.replaced"]

    def test_what_can_not_be_rotated(self, desk: Desk, keystore_dir: Path) -> None:
        second = desk.add_wallet()
        wallet_care.drain(actor=make_user(), wallet_id=second.pk, reason="x", now=NOW)
        refusals: list[tuple[dict[str, Any], str]] = [
            ({"reason": " "}, "reason"),
            ({"to_address": desk.wallet.address}, "can't take over"),
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

    def test_without_a_node_no_key_is_made(self, desk: Desk, keystore_dir: Path) -> None:
        with desk.chain.outage(), pytest.raises(Exception, match="node is down"):
            run(desk)
        assert list_keystores(keystore_dir) == [desk.wallet.address]


DUST = 2 * rotate.FEE_MARGIN * 21_000 * 3 * GWEI
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
        assert run(desk, to_address=second.address).words[-1] == "1 of its transactions are not final yet."
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

    def test_not_when_something_left_it_just_now(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        desk.mine()
        begin = rotate._retire

        def late(wallet: Wallet, *others: Any) -> bool:
            Wallet.objects.filter(pk=wallet.pk).update(next_nonce=1)
            return begin(wallet, *others)

        monkeypatch.setattr(rotate, "_retire", late)
        assert run(desk).words[-1] == "Something has left it, or come to it, just now."
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
            "Its key is still in WALLET_PRIVATE_KEYS (environment): take it out there, and restart the workers of queue "
            "money."
        )
        assert old(desk).retired_at == NOW

    def test_who_pays_to_it_afterwards_loses_nothing(self, desk: Desk, keystore_dir: Path) -> None:
        run(desk)
        wallet_care.resume(actor=make_user(), wallet_id=desk.wallet.pk, reason="a late payment", now=NOW)
        assert (old(desk).paused_at, old(desk).retired_at, old(desk).draining_at) == (None, None, NOW)
        with pytest.raises(WalletStateError, match="was replaced by"):
            wallet_care.resume(actor=make_user(), wallet_id=desk.wallet.pk, reason="pay again", now=NOW)
        (retired,) = (keystore_dir / "retired").iterdir()
        retired.rename(keystore_dir / retired.name)
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
