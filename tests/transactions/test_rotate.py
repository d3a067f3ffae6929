"""Rotating a hot wallet's key: each step, each refusal, and a death at each point."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from accounts.keys import create_keystore, files, forget_signers, list_keystores
from accounts.models import AuditEvent
from tests.desk import NOW, Desk, make_address, make_user, stages
from transactions.chain import use_chain
from transactions.exceptions import WalletStateError
from transactions.models import Wallet
from transactions.services import wallet_care
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
