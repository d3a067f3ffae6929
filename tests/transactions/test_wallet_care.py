"""What staff do about wallets: pause, drain, resume, add; and the watch over their balances."""

import pytest
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from accounts.exceptions import ReasonRequiredError
from accounts.keys import KeyNotFoundError
from accounts.models import Alert, AuditEvent
from tests.desk import ETHER, NOW, Desk, make_address, make_user, stages, write_keystore
from transactions.chain import ChainUnavailableError, use_chain
from transactions.exceptions import WalletStateError
from transactions.models import Wallet
from transactions.services import wallet_care
from transactions.services.wallet_care import add_wallet, watch_balances

DO = {"pause": wallet_care.pause, "drain": wallet_care.drain, "resume": wallet_care.resume}


def do(desk: Desk, what: str, reason: str = "maintenance") -> Wallet:
    return DO[what](actor=make_user(), wallet_id=desk.wallet.pk, reason=reason, now=NOW)


def open_alerts() -> list[tuple[str, str]]:
    return list(Alert.objects.filter(resolved_at=None).order_by("kind").values_list("kind", "subject"))


def actions() -> list[str]:
    return list(AuditEvent.objects.order_by("at").values_list("action", flat=True))


class TestPauseDrainResume:
    def test_a_paused_wallet_signs_nothing_and_what_is_sent_goes_on(self, desk: Desk) -> None:
        sent = desk.accept()
        desk.broadcast()
        wallet = do(desk, "pause")
        assert (wallet.paused_at, wallet.paused_reason) == (NOW, "maintenance")
        assert open_alerts() == [("wallet_paused", desk.wallet.address)]
        waiting = desk.accept()
        desk.broadcast()
        desk.mine(10)
        assert stages([sent, waiting]) == ["SETTLED", "ACCEPTED"]
        wallet = do(desk, "resume")
        assert (wallet.paused_at, wallet.paused_reason) == (None, "")
        assert open_alerts() == []
        desk.run_to_the_end()
        desk.assert_paid_once([sent, waiting])
        assert actions() == ["wallet.paused", "wallet.resumed"]

    def test_a_draining_one_gets_nothing_new(self, desk: Desk) -> None:
        assert do(desk, "drain").draining_at == NOW
        payment = desk.accept()
        desk.broadcast()
        assert stages([payment]) == ["ACCEPTED"]
        assert do(desk, "resume").draining_at is None
        desk.broadcast()
        assert stages([payment]) == ["BROADCAST"]

    @pytest.mark.parametrize("steps", [["pause", "pause"], ["drain", "drain"], ["resume"]])
    def test_what_is_so_already_is_told(self, desk: Desk, steps: list[str]) -> None:
        for step in steps[:-1]:
            do(desk, step)
        before = actions()
        with pytest.raises(WalletStateError):
            do(desk, steps[-1])
        assert actions() == before

    @pytest.mark.parametrize("step", list(DO))
    def test_a_reason_is_needed(self, desk: Desk, step: str) -> None:
        with pytest.raises(ReasonRequiredError):
            do(desk, step, "  ")
        with pytest.raises(WalletStateError):
            DO[step](actor=make_user(), wallet_id=0, reason="x", now=NOW)
        assert actions() == []


class TestBalances:
    def test_too_little_is_an_alert_until_it_is_refilled(self, desk: Desk, settings: Settings) -> None:
        settings.WALLET_BALANCE_LOW_IN_WEI = 5 * ETHER
        second = desk.add_wallet()
        desk.chain.set_balance(second.address, 5 * ETHER - 1)
        for _ in range(2):
            watch_balances(NOW, chain=desk.chain)
        assert open_alerts() == [("wallet_balance_low", second.address)]
        with desk.chain.outage(), pytest.raises(ChainUnavailableError):
            watch_balances(NOW, chain=desk.chain)
        assert open_alerts() == [("wallet_balance_low", second.address)]
        desk.chain.set_balance(second.address, 5 * ETHER)
        watch_balances(NOW, chain=desk.chain)
        assert open_alerts() == []

    @pytest.mark.parametrize("what", ["pause", "drain"])
    def test_what_pays_nothing_needs_no_refill_until_it_is_resumed(
        self, desk: Desk, settings: Settings, what: str
    ) -> None:
        settings.WALLET_BALANCE_LOW_IN_WEI = 1_000_000 * ETHER
        low = ("wallet_balance_low", desk.wallet.address)
        watch_balances(NOW, chain=desk.chain)
        assert open_alerts() == [low]
        do(desk, what)
        # No node has to tell that.
        with desk.chain.outage(), pytest.raises(ChainUnavailableError):
            watch_balances(NOW, chain=desk.chain)
        assert low not in open_alerts()
        do(desk, "resume")
        watch_balances(NOW, chain=desk.chain)
        assert open_alerts() == [low]


class TestAdd:
    def test_an_empty_address_with_a_key_may_pay(self, desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
        address = write_keystore(7)
        use_chain(desk.chain)
        try:
            call_command("add_wallet", address, "--by", make_user("alice").username)
        finally:
            use_chain(None)
        assert capsys.readouterr().out == f"{address} may pay from now on.\n"
        added = Wallet.objects.get(address=address)
        assert (added.next_nonce, added.account.current_balance_in_wei) == (0, 0)
        event = AuditEvent.objects.get(action="wallet.added")
        assert (str(event.actor), event.target_id) == ("alice", str(added.pk))

    def test_what_it_holds_is_booked(self, desk: Desk) -> None:
        address = write_keystore(7)
        desk.chain.set_balance(address, 3 * ETHER)
        added = add_wallet(actor=None, address=address, chain=desk.chain)
        assert added.account.entries.get().amount_in_wei == -3 * ETHER
        desk.assert_books_balance()

    def test_what_can_not_pay_is_refused(self, desk: Desk) -> None:
        address = write_keystore(7)
        with pytest.raises(KeyNotFoundError):
            add_wallet(actor=None, address=make_address(), chain=desk.chain)
        with pytest.raises(WalletStateError, match="is a wallet already"):
            add_wallet(actor=None, address=desk.wallet.address, chain=desk.chain)
        with desk.chain.outage(), pytest.raises(ChainUnavailableError):
            add_wallet(actor=None, address=address, chain=desk.chain)
        assert Wallet.objects.get() == desk.wallet
        assert actions() == []

    @pytest.mark.parametrize(
        ("arguments", "words"), [(["0x1"], "not an Ethereum address"), (["--by", "x"], "no active")]
    )
    def test_the_command_tells_what_is_wrong(self, desk: Desk, arguments: list[str], words: str) -> None:
        address = [] if arguments[0].startswith("0x") else [write_keystore(7)]
        with pytest.raises(CommandError, match=words):
            call_command("add_wallet", *address, *arguments)
