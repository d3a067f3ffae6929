"""What staff are told of by itself: nodes that are not well, payments that will not go on without people."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from accounts.keys import UnsignedTransfer, forget_signers, load_signer, sign_transfers
from accounts.models import Alert
from accounts.services.alerts import acknowledge_alert
from tests.desk import ETHER, GWEI, NOW, Desk, make_address, make_officer, write_keystore
from transactions.chain import NodeState, NodeTrouble
from transactions.models import Block, Transaction, Wallet
from transactions.services.standstill import watch_standstill
from transactions.services.sweep import order_move
from transactions.services.wallet_care import add_wallet, resume
from transactions.services.wallets import pause_wallet
from transactions.services.watch import watch_keys, watch_nodes, watch_payments, watch_retired_wallets

LATER = NOW + dt.timedelta(minutes=6)


def open_alerts() -> list[tuple[str, str]]:
    return list(Alert.objects.filter(resolved_at=None).order_by("id").values_list("kind", "subject"))


class TestNodes:
    def test_none_answers_until_one_does(self, desk: Desk) -> None:
        watch_nodes(NOW, chain=desk.chain)
        assert open_alerts() == []
        with desk.chain.outage():
            watch_nodes(NOW, chain=desk.chain)
        assert open_alerts() == [("node", "all nodes")]
        watch_nodes(NOW, chain=desk.chain)
        assert open_alerts() == []

    def test_one_of_several_is_set_aside(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        good = NodeState(1, "one:8545", None, "")
        bad = NodeState(2, "two:8545", NodeTrouble.BEHIND, "7 blocks behind")
        monkeypatch.setattr(desk.chain, "node_states", lambda: [good, bad])
        watch_nodes(NOW, chain=desk.chain)
        assert open_alerts() == [("node", "two:8545")]
        assert "behind" in Alert.objects.get().message
        monkeypatch.setattr(desk.chain, "node_states", lambda: [good, NodeState(2, "two:8545", None, "")])
        watch_nodes(NOW, chain=desk.chain)
        assert open_alerts() == []

    @pytest.mark.parametrize("left", [1, 2])
    def test_one_that_was_taken_out_of_the_list(self, desk: Desk, monkeypatch: pytest.MonkeyPatch, left: int) -> None:
        nodes = [NodeState(place, f"node {place}", NodeTrouble.DOWN, "") for place in (1, 2, 3)]
        monkeypatch.setattr(desk.chain, "node_states", lambda: nodes)
        with desk.chain.outage():
            watch_nodes(NOW, chain=desk.chain)
            told = [("node", "all nodes"), *(("node", f"node {place}") for place in (1, 2, 3))]
            assert open_alerts() == told
            monkeypatch.setattr(desk.chain, "node_states", lambda: nodes[:left])
            watch_nodes(NOW, chain=desk.chain)
        # Of a single node the alert about all of them tells.
        assert open_alerts() == (told[:3] if left == 2 else told[:1])


class TestStandstill:
    @pytest.fixture
    def made_at(self, desk: Desk, settings: Settings) -> dt.datetime:
        """When the newest block that the desk has walked, and the chain has, was made."""
        settings.STANDSTILL_AFTER_SECONDS = 300
        desk.mine()
        return dt.datetime.fromtimestamp(Block.objects.latest("number").timestamp, dt.UTC)

    def test_no_new_block_until_one_comes(self, desk: Desk, made_at: dt.datetime) -> None:
        watch_standstill(made_at + dt.timedelta(seconds=300), chain=desk.chain)
        assert open_alerts() == []
        late = made_at + dt.timedelta(seconds=301)
        watch_standstill(late, chain=desk.chain)
        assert open_alerts() == [("payment_stuck", "no new block")]
        assert Alert.objects.get().message == (
            f"The desk has walked to no block after {Block.newest_number()}, made {made_at:%Y-%m-%d %H:%M} UTC: "
            "payments are accepted, and none becomes final. No node knows a newer one: a block explorer says whether "
            "the chain goes on without them."
        )
        desk.mine()
        watch_standstill(late, chain=desk.chain)
        assert open_alerts() == []

    def test_blocks_that_are_there_and_not_walked(self, desk: Desk, made_at: dt.datetime) -> None:
        head = desk.chain.mine(30)
        watch_standstill(made_at + dt.timedelta(seconds=301), chain=desk.chain)
        assert open_alerts() == [("payment_stuck", "no new block")]
        assert Alert.objects.get().message.endswith(
            f"Nodes know block {head.number}: the log of the workers of queue money says what is in the way."
        )

    def test_that_no_node_answers_is_another_alert(self, desk: Desk, made_at: dt.datetime) -> None:
        late = made_at + dt.timedelta(seconds=301)
        with desk.chain.outage():
            watch_standstill(late, chain=desk.chain)
            assert open_alerts() == []
        watch_standstill(late, chain=desk.chain)
        with desk.chain.outage():
            watch_standstill(late, chain=desk.chain)
            watch_nodes(late, chain=desk.chain)
        assert open_alerts() == [("payment_stuck", "no new block"), ("node", "all nodes")]

    def test_not_before_a_first_block_was_walked(self, desk: Desk, settings: Settings) -> None:
        settings.STANDSTILL_AFTER_SECONDS = 300
        Block.objects.all().delete()
        watch_standstill(LATER, chain=desk.chain)
        assert open_alerts() == []

    def test_not_on_a_chain_that_makes_blocks_on_demand(
        self, desk: Desk, made_at: dt.datetime, settings: Settings
    ) -> None:
        settings.STANDSTILL_AFTER_SECONDS = 0
        watch_standstill(made_at + dt.timedelta(days=9), chain=desk.chain)
        assert open_alerts() == []


class TestPayments:
    def test_those_that_are_flagged_until_they_are_final(self, desk: Desk) -> None:
        payments = desk.accept_many(12)
        Transaction.objects.update(needs_attention=True)
        watch_payments(NOW)
        assert open_alerts() == [("payment_stuck", "flagged")]
        message = Alert.objects.get().message
        assert f"#{payments[0].pk}, " in message
        assert f"#{payments[10].pk}" not in message
        assert ", …" in message
        desk.run_to_the_end()
        watch_payments(NOW)
        assert open_alerts() == []

    @pytest.mark.parametrize("reason", ["key", "wallet", "wallet_funds"])
    def test_those_that_wait_for_what_only_staff_can_give(self, desk: Desk, reason: str) -> None:
        desk.accept_many(3)
        Transaction.objects.update(wait_reason=reason)
        watch_payments(NOW + dt.timedelta(minutes=4))
        assert open_alerts() == []
        watch_payments(LATER)
        assert open_alerts() == [("payment_stuck", f"waiting: {reason}")]
        assert Alert.objects.get().message.startswith("3 payments have waited for more than 5 minutes: ")
        Transaction.objects.update(wait_reason="")
        watch_payments(LATER)
        assert open_alerts() == []

    def test_all_that_an_unknown_transaction_may_have_paid_marked_so_or_not(self, desk: Desk) -> None:
        desk.accept_many(3)
        Transaction.objects.filter(pk=Transaction.objects.earliest("pk").pk).update(wait_reason="unclear")
        Wallet.objects.update(unknown_since=NOW)
        watch_payments(NOW + dt.timedelta(minutes=4))
        assert open_alerts() == []
        watch_payments(LATER)
        assert open_alerts() == [("payment_stuck", "waiting: unclear")]
        assert Alert.objects.get().message.startswith("3 payments have waited for more than 5 minutes: ")
        Wallet.objects.update(unknown_since=None)
        watch_payments(LATER)
        assert open_alerts() == []

    def test_sweeps_that_do_not_end(self, desk: Desk) -> None:
        new = desk.add_wallet()
        order_move(desk.wallet, new, 1, 10**15, NOW)
        watch_payments(NOW + dt.timedelta(minutes=59))
        assert open_alerts() == []
        watch_payments(NOW + dt.timedelta(minutes=61))
        assert open_alerts() == [("payment_stuck", "sweeps")]
        desk.run_to_the_end()
        watch_payments(NOW + dt.timedelta(minutes=61))
        assert open_alerts() == []

    @pytest.mark.parametrize("reason", ["node", "network_fee", "recipient", "in_flight"])
    def test_not_what_ends_by_itself(self, desk: Desk, reason: str) -> None:
        desk.accept()
        Transaction.objects.update(wait_reason=reason)
        watch_payments(LATER)
        assert open_alerts() == []


class TestRetiredWallets:
    @pytest.fixture
    def retired(self, desk: Desk) -> Wallet:
        """A wallet that was replaced by the desk's, and is empty."""
        wallet = desk.add_wallet(balance_in_wei=0)
        columns = {"retired_at": NOW, "paused_at": NOW, "paused_reason": "x", "draining_at": NOW}
        Wallet.objects.filter(pk=wallet.pk).update(replaced_by=desk.wallet, **columns)
        return wallet

    def pay_in(self, desk: Desk, wallet: Wallet, amount_in_wei: int) -> None:
        desk.pay_in(wallet.address, amount_in_wei)
        desk.mine()
        desk.take_in()
        desk.mine(12)

    def test_what_staff_have_to_tell_apart_stays_an_alert(self, desk: Desk, retired: Wallet) -> None:
        Wallet.objects.filter(pk=retired.pk).update(unknown_since=NOW)
        pause_wallet(retired, "Nonce 0 was used", NOW, again=True)
        watch_retired_wallets(NOW)
        assert open_alerts() == [("wallet_paused", retired.address)]
        Wallet.objects.filter(pk=retired.pk).update(unknown_since=None)
        watch_retired_wallets(NOW)
        assert open_alerts() == []

    def test_what_is_gone_and_comes_back_is_an_alert_again(self, desk: Desk, retired: Wallet) -> None:
        for _ in range(2):
            Wallet.objects.filter(pk=retired.pk).update(unknown_since=NOW)
            pause_wallet(retired, "Nonce 0 waits", NOW, again=True)
            watch_retired_wallets(NOW)
            assert open_alerts() == [("wallet_paused", retired.address)]
            Wallet.objects.filter(pk=retired.pk).update(unknown_since=None)
            watch_retired_wallets(NOW)
            assert open_alerts() == []

    def test_one_that_was_paid_to_until_staff_resume_it(self, desk: Desk, retired: Wallet) -> None:
        watch_retired_wallets(NOW)
        assert open_alerts() == []
        self.pay_in(desk, retired, 5 * ETHER)
        watch_retired_wallets(NOW)
        assert open_alerts() == [("wallet_paused", retired.address)]
        assert Alert.objects.get().message == (
            "It is retired and holds 5 ETH: somebody pays to it still. Put its key back, resume it and rotate it again."
        )
        resume(actor=make_officer(), wallet_id=retired.pk, reason="Paid to", now=NOW)
        watch_retired_wallets(NOW)
        assert open_alerts() == []

    def test_one_that_holds_less_again(self, desk: Desk, retired: Wallet, settings: Settings) -> None:
        self.pay_in(desk, retired, 5 * ETHER)
        watch_retired_wallets(NOW)
        settings.SWEEP_MIN_IN_WEI = 5 * ETHER + 1
        watch_retired_wallets(NOW)
        assert open_alerts() == []

    def test_not_for_what_is_not_worth_moving(self, desk: Desk, retired: Wallet, settings: Settings) -> None:
        settings.SWEEP_MIN_IN_WEI = ETHER
        self.pay_in(desk, retired, ETHER - 1)
        watch_retired_wallets(NOW)
        assert open_alerts() == []
        self.pay_in(desk, retired, 1)
        watch_retired_wallets(NOW)
        assert open_alerts() == [("wallet_paused", retired.address)]

    def test_not_for_wallets_that_pay(self, desk: Desk) -> None:
        watch_retired_wallets(NOW)
        assert open_alerts() == []


class TestKeysWithoutAWallet:
    @pytest.fixture(autouse=True)
    def keystore_dir(self, tmp_path: Path, settings: Settings) -> Iterator[Path]:
        """A keystore directory of the test's own, set before the desk is made."""
        settings.KEYSTORE_DIR = tmp_path / "keystore"
        forget_signers()
        yield settings.KEYSTORE_DIR
        forget_signers()

    @pytest.fixture
    def key(self, desk: Desk) -> str:
        """The address of a key that is here and no wallet's."""
        address = write_keystore(77)
        desk.chain.set_balance(address, 100 * ETHER)
        return address

    def send(self, desk: Desk, address: str, nonce: int) -> None:
        transfer = UnsignedTransfer(31337, nonce, make_address(), ETHER, 21_000, 100 * GWEI, 10 * GWEI)
        [signed] = sign_transfers(load_signer(address), [transfer])
        desk.chain.put_back(signed.raw)
        desk.mine()

    def test_one_that_has_sent_transactions_until_it_is_a_wallet(self, desk: Desk, key: str) -> None:
        self.send(desk, key, 0)
        self.send(desk, key, 1)
        watch_keys(NOW, chain=desk.chain)
        assert open_alerts() == [("nonce_drift", f"{key} has no wallet")]
        assert Alert.objects.get().message.startswith(
            f"The key of {key} is here, it is no wallet, and it has sent 2 transactions: "
        )
        add_wallet(actor=make_officer(), address=key, chain=desk.chain)
        watch_keys(NOW, chain=desk.chain)
        assert open_alerts() == []

    def test_it_does_not_come_and_go_with_the_machine_that_looks(
        self, desk: Desk, key: str, keystore_dir: Path, tmp_path: Path, settings: Settings
    ) -> None:
        self.send(desk, key, 0)
        for place in 2 * [keystore_dir, tmp_path / "another machine's"]:
            settings.KEYSTORE_DIR = place
            forget_signers()
            watch_keys(NOW, chain=desk.chain)
        assert Alert.objects.count() == 1
        assert len(open_alerts()) == 1

    def test_once_acknowledged_not_until_it_sends_more(self, desk: Desk, key: str) -> None:
        self.send(desk, key, 0)
        watch_keys(NOW, chain=desk.chain)
        acknowledge_alert(actor=make_officer(), alert_id=Alert.objects.get().pk, now=NOW)
        watch_keys(NOW, chain=desk.chain)
        assert open_alerts() == []
        self.send(desk, key, 1)
        watch_keys(NOW, chain=desk.chain)
        assert open_alerts() == [("nonce_drift", f"{key} has no wallet")]

    def test_not_one_that_has_sent_nothing_nor_a_wallets(self, desk: Desk, key: str) -> None:
        desk.accept()
        desk.broadcast()
        desk.mine()
        watch_keys(NOW, chain=desk.chain)
        assert open_alerts() == []

    def test_a_node_that_is_down_says_nothing(self, desk: Desk, key: str) -> None:
        self.send(desk, key, 0)
        watch_keys(NOW, chain=desk.chain)
        with desk.chain.outage():
            watch_keys(NOW, chain=desk.chain)
        assert len(open_alerts()) == 1
