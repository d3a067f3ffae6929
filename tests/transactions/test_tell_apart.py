"""Staff tell what an unknown transaction was; or that none of it is ours, where no node can tell what it was."""

import datetime as dt
import uuid

import pytest
from django.db.models import F
from django.utils import timezone

from accounts.exceptions import ReasonRequiredError
from accounts.models import AuditEvent
from tests.desk import ETHER, GWEI, NOW, Desk, make_address, make_user, stages
from tests.transactions.test_found import come
from tests.transactions.test_nonces import STRANGER, go_on, send_elsewhere
from transactions.chain import ChainUnavailableError, NonceCount
from transactions.exceptions import NonceNotUnknownError, NotTheSamePaymentError
from transactions.models import Transaction, Wallet
from transactions.services.found import book_missing
from transactions.services.nonces import PATIENCE, note_strangers
from transactions.services.reserves import prove_reserves
from transactions.services.tell_apart import find_untold, identify_nonce, pass_over
from transactions.services.wallet_care import pause, resume


def pause_wallet(desk: Desk) -> None:
    pause(actor=make_user(), wallet_id=desk.wallet.pk, reason="maintenance", now=NOW)


def resume_wallet(desk: Desk) -> None:
    resume(actor=make_user(), wallet_id=desk.wallet.pk, reason="told", now=NOW)


def actions() -> list[str]:
    return list(AuditEvent.objects.order_by("at").values_list("action", flat=True))


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
        return desk.identify(
            actor=make_user(),
            wallet_id=desk.wallet.pk,
            payment_id=None if payment is None else payment.pk,
            reason="looked it up",
            now=NOW,
        )

    def test_it_was_this_payment_which_then_is_settled_and_not_sent(self, desk: Desk) -> None:
        payment = self.lose_the_memory(desk)
        assert self.identify(desk, payment) == self.hash
        resume_wallet(desk)
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
        resume_wallet(desk)
        desk.run_to_the_end()
        payment.refresh_from_db()
        assert (payment.status, payment.nonce) == ("SUCCESSFUL", 1)
        assert len(desk.chain.paid(payment.to_public_address)) == 2, "as staff have said: the first was not ours"
        desk.assert_books_balance()

    def test_why_staff_have_paused_the_wallet_is_not_forgotten(self, desk: Desk) -> None:
        pause_wallet(desk)
        payment = self.lose_the_memory(desk)
        desk.mine()
        desk.wallet.refresh_from_db()
        assert f"#{payment.pk}" in desk.wallet.paused_reason
        self.identify(desk, payment)
        desk.mine(2)
        desk.wallet.refresh_from_db()
        assert desk.wallet.paused_reason.startswith("maintenance ")

    def test_what_is_sent_twice_tells_no_other_one(self, desk: Desk) -> None:
        """The answer was lost, and the next one pays the same."""
        payment = self.lose_the_memory(desk)
        again = send_elsewhere(desk, 1, to=payment.to_public_address, value_in_wei=3 * ETHER)
        desk.mine()
        self.identify(desk, None)
        with pytest.raises(NonceNotUnknownError, match="changed meanwhile"):
            identify_nonce(
                actor=make_user(),
                wallet_id=desk.wallet.pk,
                transaction_hash=self.hash,
                payment_id=None,
                reason="sent again",
                now=NOW,
                chain=desk.chain,
            )
        resume_wallet(desk)
        desk.broadcast()
        desk.wallet.refresh_from_db()
        assert again in desk.wallet.paused_reason
        assert len(desk.chain.paid(payment.to_public_address)) == 2

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
        pause_wallet(desk)
        with pytest.raises(NonceNotUnknownError, match="No node"):
            self.identify(desk, None)
        with desk.chain.outage(), pytest.raises(ChainUnavailableError):
            self.identify(desk, None)


def wait_for_staff(desk: Desk) -> str:
    """Let the desk see what there is, lose its patience, and return why the wallet is paused."""
    desk.follow()
    desk.broadcast()
    long_ago = timezone.now() - PATIENCE - dt.timedelta(seconds=1)
    assert Wallet.objects.filter(untold_since__isnull=False).update(untold_since=long_ago)
    desk.chain.mine(empty=True)
    desk.follow()
    desk.broadcast()
    desk.wallet.refresh_from_db()
    return desk.wallet.paused_reason.removeprefix("Found by the desk:\n")


def say_none_of_ours(desk: Desk, *, reason: str = "looked into it") -> range:
    nonces = find_untold(wallet_id=desk.wallet.pk, chain=desk.chain).nonces
    pass_over(actor=make_user(), wallet_id=desk.wallet.pk, nonces=nonces, reason=reason, chain=desk.chain)
    return nonces


def differences(desk: Desk) -> list[str]:
    """Return what the proof of reserves finds."""
    proof = prove_reserves(chain=desk.chain)
    assert proof.holdings is not None, proof.not_compared
    return [difference.rule for difference in proof.report.differences]


class TestPassOver:
    """EIP-7702: an authorization uses up a nonce without a transaction; a pool's transaction may never be mined."""

    def test_a_nonce_that_an_authorization_has_used_holds_nothing_up_for_ever(self, desk: Desk) -> None:
        payments = [desk.accept(2 * ETHER), desk.accept(3 * ETHER, to=make_address())]
        desk.chain.use_up_nonce(desk.wallet.address)
        assert wait_for_staff(desk) == (
            "No node can tell what used nonce 0: one that keeps older blocks has to be asked."
        )
        with pytest.raises(NonceNotUnknownError):
            desk.identify(actor=make_user(), wallet_id=desk.wallet.pk, payment_id=None, reason="x", now=NOW)
        assert say_none_of_ours(desk) == range(1)
        resume_wallet(desk)
        desk.run_to_the_end()
        assert [desk.chain.paid(payment.to_public_address) for payment in payments] == [[2 * ETHER], [3 * ETHER]]
        assert sorted(row.nonce or 0 for row in Transaction.objects.filter(status="SUCCESSFUL")) == [1, 2]
        desk.assert_books_balance()
        event = AuditEvent.objects.get(action="wallet.nonces_passed_over")
        assert (event.reason, event.details) == (
            "looked into it",
            {"first_nonce": 0, "last_nonce": 0, "gone": False},
        )

    @pytest.mark.django_db(transaction=True)
    def test_what_was_passed_over_is_no_difference_and_what_it_has_moved_is_one_until_it_is_written_off(
        self, desk: Desk
    ) -> None:
        """An authorization lets somebody else's transaction take what the wallet has."""
        desk.accept()
        desk.run_to_the_end()
        payment = desk.accept(2 * ETHER, to=make_address())
        desk.chain.use_up_nonce(desk.wallet.address)
        wait_for_staff(desk)
        say_none_of_ours(desk)
        resume_wallet(desk)
        desk.run_to_the_end()
        go_on(desk, 12)
        assert desk.chain.paid(payment.to_public_address) == [2 * ETHER]
        assert differences(desk) == []

        come(desk, desk.wallet, -ETHER)
        go_on(desk, 12)
        assert [each.partition(" at block")[0] for each in differences(desk)] == ["its balance"]
        book_missing(
            actor=make_user(),
            wallet_id=desk.wallet.pk,
            amount_in_wei=ETHER,
            reason="taken",
            request_id=str(uuid.uuid4()),
            now=NOW,
            chain=desk.chain,
        )
        assert differences(desk) == []

    def test_what_waits_in_a_pool_is_replaced(self, desk: Desk) -> None:
        """A stranger's transaction that no block takes, by whoever has the key."""
        desk.chain.base_fee_per_gas_in_wei = 200 * GWEI
        payment = desk.accept(2 * ETHER)
        send_elsewhere(desk, 0, tip_in_wei=GWEI)
        assert "(1 of them), and no block takes them" in wait_for_staff(desk)
        assert say_none_of_ours(desk) == range(1)
        resume_wallet(desk)
        desk.run_to_the_end()
        desk.assert_paid_once([payment])
        assert desk.chain.paid(STRANGER) == []
        assert set(Transaction.objects.values_list("kind", "nonce", "status")) == {
            ("fill", 0, "SUCCESSFUL"),
            ("payment", 1, "SUCCESSFUL"),
        }
        desk.assert_books_balance()

    def test_what_is_passed_over_before_the_desk_has_seen_it_is_replaced_too(self, desk: Desk) -> None:
        desk.chain.base_fee_per_gas_in_wei = 200 * GWEI
        pause_wallet(desk)
        strangers = [send_elsewhere(desk, nonce, tip_in_wei=GWEI) for nonce in range(2)]
        assert say_none_of_ours(desk) == range(2)
        resume_wallet(desk)
        payment = desk.accept(2 * ETHER)
        desk.run_to_the_end()
        assert Transaction.objects.filter(kind="fill", status="SUCCESSFUL").count() == 2
        assert not {tx.hash for tx, _ in desk.chain.mined} & set(strangers)
        desk.assert_paid_once([payment])

    def test_many_authorizations_are_passed_over_at_once(self, desk: Desk) -> None:
        for _ in range(3):
            desk.chain.use_up_nonce(desk.wallet.address)
        known = send_elsewhere(desk, 3)
        desk.mine()
        assert "nonce 0" in wait_for_staff(desk)
        assert say_none_of_ours(desk) == range(3)
        resume_wallet(desk)
        desk.accept(2 * ETHER)
        desk.run_to_the_end()
        assert Transaction.objects.get(nonce=3).transaction_hash == known

    def test_one_wrong_count_is_no_life_sentence(self, desk: Desk) -> None:
        payment = desk.accept(2 * ETHER)
        note_strangers(desk.wallet, NonceCount(0, 5_000), timezone.now())
        assert "(5000 of them), and no node has them any more" in wait_for_staff(desk)
        assert say_none_of_ours(desk) == range(5_000)
        resume_wallet(desk)
        desk.run_to_the_end()
        desk.assert_paid_once([payment])

    def test_new_ones_every_four_minutes_put_no_staff_off(self, desk: Desk) -> None:
        for _ in range(2):
            desk.chain.use_up_nonce(desk.wallet.address)
            desk.follow()
            desk.broadcast()
            desk.wallet.refresh_from_db()
            assert desk.wallet.paused_at is None
            earlier = dt.timedelta(minutes=4)
            Wallet.objects.update(untold_since=F("untold_since") - earlier, unknown_since=F("unknown_since") - earlier)
        desk.broadcast()
        desk.wallet.refresh_from_db()
        assert desk.wallet.paused_at is not None

    def test_if_it_is_mined_all_the_same_it_is_booked(self, desk: Desk) -> None:
        desk.chain.base_fee_per_gas_in_wei = 200 * GWEI
        hash_ = send_elsewhere(desk, 0)
        wait_for_staff(desk)
        say_none_of_ours(desk)
        resume_wallet(desk)
        payment = desk.accept(2 * ETHER)
        desk.broadcast()
        assert {tx.nonce: tx.hash for tx in desk.chain.pool.values()}[0] == hash_, "it offers more than the no-op"
        desk.chain.base_fee_per_gas_in_wei = GWEI
        desk.run_to_the_end()
        assert desk.chain.paid(STRANGER) == [7 * ETHER]
        assert Transaction.objects.get(nonce=0).transaction_hash == hash_
        assert desk.chain.paid(payment.to_public_address) == [2 * ETHER]
        desk.assert_books_balance()

    def test_what_no_node_has_any_more_may_come_back_until_staff_say_that_it_will_not(self, desk: Desk) -> None:
        payment = desk.accept(2 * ETHER)
        hash_ = send_elsewhere(desk, 0, to=payment.to_public_address, value_in_wei=2 * ETHER)
        desk.chain.mine(empty=True)
        desk.follow()
        desk.chain.drop(hash_)
        assert wait_for_staff(desk) == (
            "Transactions that this desk does not know were seen from nonce 0 on (1 of them), and no node has them any "
            "more: they may come back."
        )
        assert stages([payment]) == ["ACCEPTED"]
        assert say_none_of_ours(desk) == range(1)
        resume_wallet(desk)
        desk.run_to_the_end()
        desk.assert_paid_once([payment])
        assert not Transaction.objects.filter(kind="fill").exists(), "its nonce was given out"
        desk.assert_books_balance()

    def test_a_retired_wallets_key_in_a_strangers_hands_holds_up_no_other_wallet_for_ever(self, desk: Desk) -> None:
        second = desk.add_wallet()
        Wallet.objects.filter(pk=desk.wallet.pk).update(
            replaced_by=second, draining_at=NOW, paused_at=NOW, retired_at=NOW, paused_reason="Replaced; retired."
        )
        payment = desk.accept(2 * ETHER)
        desk.chain.base_fee_per_gas_in_wei = 200 * GWEI
        stranger = send_elsewhere(desk, 0)
        assert "no block takes them" in wait_for_staff(desk)
        say_none_of_ours(desk)
        for _ in range(12):
            desk.broadcast()
            desk.chain.mine(only=[hash_ for hash_ in desk.chain.pool if hash_ != stranger])
            desk.follow()
        assert stages([payment]) == ["SETTLED"]

    def test_what_a_node_can_tell_is_told_and_not_passed_over(self, desk: Desk) -> None:
        payment = desk.accept(2 * ETHER)
        send_elsewhere(desk, 0, to=payment.to_public_address, value_in_wei=2 * ETHER)
        desk.mine()
        desk.broadcast()
        with pytest.raises(NonceNotUnknownError, match="can tell"):
            say_none_of_ours(desk)

    def test_it_is_refused_where_nothing_is_unknown_or_no_more(self, desk: Desk) -> None:
        with pytest.raises(NonceNotUnknownError, match="paused"):
            say_none_of_ours(desk)
        pause_wallet(desk)
        with pytest.raises(NonceNotUnknownError, match="no transaction of it that this desk does not know"):
            say_none_of_ours(desk)
        with desk.chain.outage(), pytest.raises(ChainUnavailableError):
            say_none_of_ours(desk)
        desk.chain.use_up_nonce(desk.wallet.address)
        with pytest.raises(ReasonRequiredError):
            say_none_of_ours(desk, reason=" ")
        stale = say_none_of_ours(desk)
        desk.chain.use_up_nonce(desk.wallet.address)
        with pytest.raises(NonceNotUnknownError, match="changed meanwhile"):
            pass_over(actor=make_user(), wallet_id=desk.wallet.pk, nonces=stale, reason="again", chain=desk.chain)
        desk.wallet.refresh_from_db()
        assert desk.wallet.next_nonce == 1
