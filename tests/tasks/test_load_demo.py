"""The demo: users, an account with money that is paid into once, a wallet to pay from; however often it is loaded."""

import io
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from accounts.keys.deposits import SEED_NAME, XPUB_NAME
from accounts.models import Account
from tests.desk import ETHER, NOW
from transactions.models import Deposit, Wallet
from transactions.states import WalletRole
from txnsite.stack.anvil import Anvil

pytestmark = pytest.mark.django_db


@pytest.fixture
def keystore(tmp_path: Path, settings: Settings) -> Path:
    settings.DEBUG = True
    directory = settings.KEYSTORE_DIR = tmp_path / "keystore"
    return directory


def load() -> str:
    told = io.StringIO()
    call_command("load_demo", stdout=told)
    return told.getvalue()


def test_it_is_loaded_once(keystore: Path, anvil: Anvil) -> None:
    anvil.set_automine(True)
    told = load()
    account = Account.objects.get(owner__username="demo")
    paid_into = Wallet.objects.get(credits=account)
    hot = Wallet.objects.get(role=WalletRole.HOT)
    assert f"paid from {hot.address}, paid into at {paid_into.address}." in told
    assert account.current_balance_in_wei == 100 * ETHER
    assert anvil.balance(hot.address) == 1_000 * ETHER
    assert anvil.balance(paid_into.address) == 25 * ETHER // 10
    block = anvil.block_number()
    assert load() == told
    assert anvil.block_number() == block, "nothing was paid a second time"


def test_what_was_swept_is_not_paid_again(keystore: Path, anvil: Anvil) -> None:
    anvil.set_automine(True)
    load()
    wallet = Wallet.objects.get(role=WalletRole.DEPOSIT)
    anvil.rpc("anvil_setBalance", wallet.address, "0x0")
    Deposit.objects.create(
        wallet=wallet,
        transaction_hash="0x" + "ab" * 32,
        from_public_address=wallet.address,
        amount_in_wei=25 * ETHER // 10,
        block_number=1,
        block_hash="0x" + "cd" * 32,
        seen_at=NOW,
    )
    block = anvil.block_number()
    load()
    assert anvil.block_number() == block


def test_a_run_that_was_killed_while_it_made_the_seed_is_finished(keystore: Path, anvil: Anvil) -> None:
    anvil.set_automine(True)
    load()
    xpub = (keystore / XPUB_NAME).read_text()
    seed = (keystore / SEED_NAME).read_bytes()
    (keystore / XPUB_NAME).unlink()
    load()
    assert (keystore / XPUB_NAME).read_text() == xpub
    assert (keystore / SEED_NAME).read_bytes() == seed


def test_only_in_development(keystore: Path, settings: Settings) -> None:
    settings.DEBUG = False
    with pytest.raises(CommandError, match="well-known passwords"):
        load()
    assert not Account.objects.exists()
