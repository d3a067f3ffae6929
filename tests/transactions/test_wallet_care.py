"""What staff do about wallets: pause, drain, resume, tell transactions apart; and the watch over their balances."""

import datetime as dt

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django.fixtures import Settings

from accounts.exceptions import ReasonRequiredError
from accounts.keys import KeyNotFoundError
from accounts.models import Alert, AuditEvent
from tests.desk import ETHER, NOW, Desk, make_address, make_user, stages, write_keystore
from tests.transactions.test_nonces import send_elsewhere
from transactions.chain import ChainUnavailableError, use_chain
from transactions.exceptions import NonceNotUnknownError, NotTheSamePaymentError, WalletStateError
from transactions.models import Transaction, Wallet
from transactions.services import wallet_care
from transactions.services.wallet_care import add_wallet, identify_nonce, watch_balances

DO = {"pause": wallet_care.pause, "drain": wallet_care.drain, "resume": wallet_care.resume}


def do(desk: Desk, what: str, reason: str = "maintenance") -> Wallet:
    return DO[what](actor=make_user(), wallet_id=desk.wallet.pk, reason=reason, now=NOW)


def why(desk: Desk) -> str:
    desk.wallet.refresh_from_db()
    return desk.wallet.paused_reason


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


class TestIdentify:
    def lose_the_memory(self, desk: Desk) -> Transaction:
        """A payment was paid, and the database, restored from a backup, takes it for unsent."""
        payment = desk.accept(3 * ETHER)
        self.hash = send_elsewhere(
            desk, 0, to=payment.to_public_address, value_in_wei=payment.transaction_amount_in_wei
        )
        desk.mine()
        desk.broadcast()
        desk.wallet.refresh_from_db()
        assert desk.wallet.paused_at is not None
        return payment

    def identify(self, desk: Desk, payment: Transaction | None) -> str:
        return identify_nonce(
            actor=make_user(),
            wallet_id=desk.wallet.pk,
            payment_id=None if payment is None else payment.pk,
            reason="looked it up",
            now=NOW,
            chain=desk.chain,
        )

    def test_it_was_this_payment_which_then_is_settled_and_not_sent(self, desk: Desk) -> None:
        payment = self.lose_the_memory(desk)
        assert self.identify(desk, payment) == self.hash
        do(desk, "resume")
        later = desk.accept(now=timezone.now() + dt.timedelta(seconds=1))
        desk.run_to_the_end()
        payment.refresh_from_db()
        assert (payment.status, payment.transaction_hash, payment.nonce) == ("SUCCESSFUL", self.hash, 0)
        desk.assert_paid_once([payment, later])
        desk.assert_books_balance()
        assert actions() == ["wallet.nonce_identified", "wallet.resumed"]

    def test_it_was_none_of_ours_and_the_payment_goes_out(self, desk: Desk) -> None:
        payment = self.lose_the_memory(desk)
        self.identify(desk, None)
        do(desk, "resume")
        desk.run_to_the_end()
        payment.refresh_from_db()
        assert (payment.status, payment.nonce) == ("SUCCESSFUL", 1)
        assert len(desk.chain.paid(payment.to_public_address)) == 2, "as staff have said: the first was not ours"
        desk.assert_books_balance()

    def test_why_staff_have_paused_the_wallet_is_not_forgotten(self, desk: Desk) -> None:
        do(desk, "pause", "Key leaked: never resume")
        payment = self.lose_the_memory(desk)
        desk.mine()
        assert f"#{payment.pk}" in why(desk)
        self.identify(desk, payment)
        desk.mine(2)
        assert why(desk).startswith("Key leaked: never resume ")

    def test_another_payment_is_refused(self, desk: Desk) -> None:
        self.lose_the_memory(desk)
        other = desk.accept(2 * ETHER)
        with pytest.raises(NotTheSamePaymentError):
            self.identify(desk, other)
        desk.wallet.refresh_from_db()
        assert (desk.wallet.next_nonce, stages([other])) == (0, ["ACCEPTED"])
        assert actions() == []

    def test_there_is_nothing_to_tell_apart(self, desk: Desk) -> None:
        with pytest.raises(NonceNotUnknownError, match="paused"):
            self.identify(desk, None)
        do(desk, "pause")
        with pytest.raises(NonceNotUnknownError, match="No node"):
            self.identify(desk, None)
        with desk.chain.outage(), pytest.raises(ChainUnavailableError):
            self.identify(desk, None)


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
