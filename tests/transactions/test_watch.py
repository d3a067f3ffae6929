"""What staff are told of by itself: nodes that are not well, payments that will not go on without people."""

import datetime as dt

import pytest
from pytest_django.fixtures import Settings

from accounts.models import Alert
from tests.desk import ETHER, NOW, Desk, make_officer
from transactions.chain import NodeState, NodeTrouble
from transactions.models import Transaction, Wallet
from transactions.services.sweep import order_move
from transactions.services.wallet_care import resume
from transactions.services.watch import watch_nodes, watch_payments, watch_retired_wallets

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

    @pytest.mark.parametrize("reason", ["key", "wallet", "wallet_funds", "unclear"])
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
