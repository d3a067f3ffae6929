"""Nonces: what sets a wallet's row and the chain apart is found and mended, and never becomes a second payment."""

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
from django.db import transaction as db_transaction
from django.utils import timezone
from pytest_django.fixtures import Settings

from accounts.keys import UnsignedTransfer, forget_signers, load_signer, sign_transfers
from accounts.models import Account, AccountKind, Alert
from tests.desk import ETHER, GWEI, NOW, Desk, crash_at, dies, make_address, make_officer, stages
from tests.transactions.test_sweep import forget_all_sent
from transactions.chain import ChainUnavailableError, NonceCount
from transactions.models import Attempt, Transaction, Wallet
from transactions.services.approvals import approve_payment
from transactions.services.broadcast import has_work
from transactions.services.cancel import cancel_transaction, cancel_wished
from transactions.services.sweep import sweep_deposits
from transactions.services.wallet_care import add_wallet, drain, pause, resume

POINTS = ["nonces.before_commit"]
STRANGER = make_address(2**101)


def send_elsewhere(
    desk: Desk, nonce: int, *, to: str = STRANGER, value_in_wei: int = 7 * ETHER, tip_in_wei: int = 10 * GWEI
) -> str:
    """Sign with the wallet's key behind the desk's back, as another program would; return the hash."""
    transfer = UnsignedTransfer(31337, nonce, to, value_in_wei, 21_000, 100 * GWEI, tip_in_wei)
    [signed] = sign_transfers(load_signer(desk.wallet.address), [transfer])
    desk.chain.put_back(signed.raw)
    return signed.hash


def too_busy(*_: object) -> Any:
    raise ChainUnavailableError("node 1 is too busy: request rate limited")


def go_on(desk: Desk, blocks: int = 5) -> None:
    for _ in range(blocks):
        desk.broadcast()
        desk.mine()
        desk.take_in()


def alerts() -> list[str]:
    return sorted(Alert.objects.filter(resolved_at=None).values_list("kind", flat=True))


def wallet(desk: Desk) -> Wallet:
    desk.wallet.refresh_from_db()
    return desk.wallet


class TestStrangers:
    def test_a_mined_one_is_booked_and_the_wallet_goes_on_after_it(self, desk: Desk) -> None:
        hash_ = send_elsewhere(desk, 0)
        desk.chain.mine()
        payment = desk.accept()
        desk.broadcast()
        assert wallet(desk).next_nonce == 1
        assert stages([payment]) == ["ACCEPTED"], "first the stranger is told apart"
        desk.broadcast()
        assert stages([payment]) == ["BROADCAST"]
        desk.run_to_the_end()
        stranger = Transaction.objects.get(kind="stranger")
        assert (stranger.transaction_hash, stranger.status, stranger.nonce) == (hash_, "SUCCESSFUL", 0)
        payment.refresh_from_db()
        assert (payment.status, payment.nonce) == ("SUCCESSFUL", 1)
        burned = stranger.transaction_fee_blockchain_in_wei
        assert burned
        entries = desk.wallet.account.entries.filter(journal__source=str(stranger.pk))
        assert [entry.amount_in_wei for entry in entries] == [7 * ETHER + burned]
        assert "nonce_drift" in alerts()
        assert desk.chain.paid(payment.to_public_address) == [payment.transaction_amount_in_wei]
        desk.assert_books_balance()

    def test_one_is_found_without_any_payment_to_send(self, desk: Desk) -> None:
        desk.mine()
        send_elsewhere(desk, 0)
        desk.mine()
        assert has_work()
        desk.broadcast()
        desk.mine(10)
        assert Transaction.objects.get().kind == "stranger"
        assert wallet(desk).next_nonce == 1
        desk.broadcast()
        assert wallet(desk).unknown_since is None
        desk.assert_books_balance()

    def test_one_that_still_waits_in_the_pool_holds_payments_up_until_it_is_told(self, desk: Desk) -> None:
        hash_ = send_elsewhere(desk, 0)
        payment = desk.accept()
        desk.broadcast()
        payment.refresh_from_db()
        assert (payment.stage, payment.wait_reason) == ("ACCEPTED", "unclear")
        assert list(desk.chain.pool) == [hash_]
        desk.run_to_the_end()
        desk.assert_books_balance()
        assert sorted(Transaction.objects.values_list("kind", "nonce", "status")) == [
            ("payment", 1, "SUCCESSFUL"),
            ("stranger", 0, "SUCCESSFUL"),
        ]

    def test_one_that_no_block_takes_is_told_to_staff(self, desk: Desk) -> None:
        send_elsewhere(desk, 0)
        later = desk.accept(now=timezone.now() + dt.timedelta(seconds=1))
        desk.broadcast()
        later.refresh_from_db()
        assert (later.stage, later.wait_reason) == ("ACCEPTED", "wallet"), "no wallet can be given it"
        assert wallet(desk).paused_at is None
        assert not alerts()
        Wallet.objects.update(untold_since=timezone.now() - dt.timedelta(minutes=6))
        desk.broadcast()
        assert wallet(desk).paused_reason == (
            "Found by the desk:\n"
            "Transactions that this desk does not know wait in the node's pool from nonce 0 on (1 of them), and no "
            "block takes them: whoever sent them has to replace them."
        )
        assert alerts() == ["wallet_paused"]
        later.refresh_from_db()
        assert (later.stage, later.wait_reason) == ("ACCEPTED", "wallet")

    def test_one_that_a_node_can_not_be_asked_about_is_told_to_staff(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        send_elsewhere(desk, 0)
        desk.mine()
        monkeypatch.setattr(desk.chain, "transactions_of", too_busy)
        desk.broadcast()
        assert wallet(desk).paused_at is None
        Wallet.objects.update(untold_since=timezone.now() - dt.timedelta(minutes=6))
        desk.broadcast()
        assert wallet(desk).paused_reason == (
            "Found by the desk:\n"
            "What used nonce 0 can't be told: a node that may know fails or is too busy, as the workers' log says. "
            "It has to be mended, or taken out of CHAIN_RPC_URLS."
        )
        assert alerts() == ["wallet_paused"]

    def test_one_wallets_that_a_node_can_not_be_asked_about_hold_up_nothing_else(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, search = desk.wallet, desk.chain.transactions_of
        paid, displaced = desk.accept(), desk.accept(2 * ETHER)
        desk.broadcast()
        [_, hash_] = desk.chain.pool
        desk.chain.drop(hash_)
        send_elsewhere(desk, 1)
        second = desk.add_wallet()
        pause(actor=make_officer(), wallet_id=second.pk, reason="x", now=NOW)
        monkeypatch.setattr(desk, "wallet", second)
        monkeypatch.setattr(
            desk.chain,
            "transactions_of",
            lambda address, nonces: too_busy() if address == first.address else search(address, nonces),
        )
        desk.mine(12)
        send_elsewhere(desk, 0)
        desk.mine()
        assert wallet(desk).next_nonce == 1, "it is booked all the same"
        assert stages([paid, displaced]) == ["SETTLED", "BROADCAST"]
        monkeypatch.setattr(desk.chain, "transactions_of", search)
        desk.mine(2)
        assert stages([displaced]) == ["SETTLED"]

    def test_a_wallet_that_is_resumed_looks_again_before_it_pays(self, desk: Desk) -> None:
        hash_ = send_elsewhere(desk, 0)
        payment = desk.accept()
        desk.broadcast()
        Wallet.objects.update(untold_since=timezone.now() - dt.timedelta(minutes=6))
        desk.broadcast()
        for _ in range(2):
            assert wallet(desk).paused_at is not None
            resume(actor=make_officer(), wallet_id=desk.wallet.pk, reason="Looked", now=timezone.now())
            desk.broadcast()
        assert list(desk.chain.pool) == [hash_], "it pauses again as long as no block has it"
        desk.mine()
        resume(actor=make_officer(), wallet_id=desk.wallet.pk, reason="Replaced", now=timezone.now())
        desk.run_to_the_end()
        assert desk.chain.paid(payment.to_public_address) == [payment.transaction_amount_in_wei]
        assert sorted(Transaction.objects.values_list("kind", "nonce")) == [("payment", 1), ("stranger", 0)]
        desk.assert_books_balance()

    def test_meanwhile_other_wallets_pay(self, desk: Desk) -> None:
        hash_ = send_elsewhere(desk, 0)
        second = desk.add_wallet()
        payment = desk.accept(now=timezone.now() + dt.timedelta(seconds=1))
        desk.broadcast()
        payment.refresh_from_db()
        assert (payment.stage, payment.wallet_id) == ("BROADCAST", second.pk)
        assert hash_ in desk.chain.pool

    def test_ours_in_the_pool_is_no_stranger(self, desk: Desk) -> None:
        desk.accept_many(3)
        desk.broadcast()
        desk.chain.mine(empty=True)
        desk.follow()
        assert wallet(desk).unknown_since is None
        assert not alerts()


class TestARestoredDatabase:
    """It has forgotten what was sent after the backup; the chain has not."""

    def forget_the_sending(self, desk: Desk, payment: Transaction) -> str:
        """Send a payment's twin from the desk's own wallet; to the restored database the payment is unsent."""
        return send_elsewhere(desk, 0, to=payment.to_public_address, value_in_wei=payment.transaction_amount_in_wei)

    def test_a_payment_that_may_have_been_paid_is_not_paid_again(self, desk: Desk) -> None:
        payment, other = desk.accept(3 * ETHER), desk.accept(2 * ETHER)
        self.forget_the_sending(desk, payment)
        desk.chain.mine()
        second = desk.add_wallet()
        for _ in range(3):
            desk.broadcast()
            desk.mine()
        assert stages([payment, other]) == ["ACCEPTED", "ACCEPTED"], "from no wallet"
        assert wallet(desk).paused_at is not None
        assert f"#{payment.pk}" in wallet(desk).paused_reason
        assert "wallet_paused" in alerts()
        assert len(desk.chain.mined) == 1
        second.refresh_from_db()
        assert (second.paused_at, second.next_nonce) == (None, 0)

    def test_nor_is_one_that_was_approved_after_the_backup(self, desk: Desk) -> None:
        """The backup was made before the verdict: to it the payment still waits, but the chain has it."""
        payment = desk.accept_for_review()
        self.forget_the_sending(desk, payment)
        desk.mine()
        desk.broadcast()
        assert f"#{payment.pk}" in wallet(desk).paused_reason
        approve_payment(actor=make_officer(), transaction_id=payment.pk, now=timezone.now())
        desk.add_wallet()
        for _ in range(3):
            desk.broadcast()
            desk.mine()
        assert stages([payment]) == ["ACCEPTED"]
        assert len(desk.chain.mined) == 1

    def test_nor_is_one_that_a_wallet_paid_which_was_made_after_the_backup(
        self, desk: Desk, settings: Settings
    ) -> None:
        settings.CONFIRMATIONS = 2
        payments = [desk.accept(number * ETHER) for number in (2, 3)]
        desk.mine(5)
        backup = db_transaction.savepoint()
        new = desk.add_wallet()
        drain(actor=make_officer(), wallet_id=desk.wallet.pk, reason="x", now=timezone.now())
        desk.run_to_the_end()
        assert set(Transaction.objects.values_list("wallet", "status")) == {(new.pk, "SUCCESSFUL")}
        desk.mine(5)
        db_transaction.savepoint_rollback(backup)

        restored = add_wallet(actor=make_officer(), address=new.address, chain=desk.chain)
        assert (restored.opened_at_block, restored.next_nonce) == (3, 0)
        go_on(desk)
        restored.refresh_from_db()
        assert f"#{payments[0].pk}" in restored.paused_reason
        for payment in payments:
            desk.identify(
                actor=make_officer(), wallet_id=restored.pk, payment_id=payment.pk, reason="Seen on the chain",
                now=timezone.now(),
            )  # fmt: skip
            resume(actor=make_officer(), wallet_id=restored.pk, reason="Told", now=timezone.now())
            go_on(desk)
        assert stages(payments) == ["SETTLED", "SETTLED"]
        desk.assert_paid_once(payments)

    def test_one_accepted_afterwards_goes_out_from_another_wallet(self, desk: Desk) -> None:
        payment = desk.accept(3 * ETHER)
        self.forget_the_sending(desk, payment)
        desk.chain.mine()
        second = desk.add_wallet()
        desk.broadcast()
        later = desk.accept(3 * ETHER, to=payment.to_public_address, now=timezone.now() + dt.timedelta(seconds=1))
        desk.broadcast()
        assert stages([payment, later]) == ["ACCEPTED", "BROADCAST"]
        later.refresh_from_db()
        assert later.wallet_id == second.pk

    @pytest.mark.parametrize("follower_first", [True, False])
    def test_nor_if_the_wallet_that_paid_it_is_paused_in_the_backup(self, desk: Desk, follower_first: bool) -> None:
        payment = desk.accept(3 * ETHER)
        desk.add_wallet()
        pause(actor=make_officer(), wallet_id=desk.wallet.pk, reason="for a while", now=NOW)
        self.forget_the_sending(desk, payment)
        desk.chain.mine()
        if follower_first:
            desk.follow()
        for _ in range(3):
            desk.broadcast()
            desk.mine()
        assert desk.chain.paid(payment.to_public_address) == [3 * ETHER]
        assert f"#{payment.pk}" in wallet(desk).paused_reason, "staff are told what to tell apart"
        assert wallet(desk).may_be_unclear
        desk.identify(actor=make_officer(), wallet_id=desk.wallet.pk, payment_id=payment.pk, reason="x", now=NOW)
        desk.run_to_the_end()
        assert desk.chain.paid(payment.to_public_address) == [3 * ETHER]
        assert stages([payment]) == ["SETTLED"]
        desk.assert_books_balance()

    def test_nor_if_that_wallets_key_can_not_be_opened_here(self, desk: Desk, settings: Settings) -> None:
        payment = desk.accept(3 * ETHER)
        self.forget_the_sending(desk, payment)
        desk.chain.mine()
        desk.add_wallet()
        forget_signers()
        [path] = settings.KEYSTORE_DIR.glob(f"*{desk.wallet.address[2:].lower()}")
        away = path.rename(settings.KEYSTORE_DIR.parent / path.name)
        try:
            desk.broadcast()
            desk.mine()
            desk.broadcast()
        finally:
            away.rename(path)
            forget_signers()
        assert desk.chain.paid(payment.to_public_address) == [3 * ETHER]
        assert stages([payment]) == ["ACCEPTED"]

    def test_nor_if_what_that_wallet_has_signed_is_refused_just_then(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = desk.accept(2 * ETHER)
        with monkeypatch.context() as patch:
            crash_at(patch, "broadcast.saved")
            with dies():
                desk.broadcast()
        payment = desk.accept(3 * ETHER, to=make_address())
        desk.chain.put_back(bytes(Attempt.objects.get(transaction=first).raw_transaction))
        send_elsewhere(desk, 1, to=payment.to_public_address, value_in_wei=3 * ETHER)
        desk.chain.mine()
        desk.add_wallet()
        desk.chain.refuse("too many requests")
        for _ in range(3):
            desk.broadcast()
            desk.mine()
        assert desk.chain.paid(payment.to_public_address) == [3 * ETHER]
        assert stages([payment]) == ["ACCEPTED"]

    def test_a_paused_wallets_transactions_that_are_nobodys_payment_hold_up_nothing_for_long(self, desk: Desk) -> None:
        """What a hand moved from it, say, when its key had leaked."""
        desk.add_wallet()
        payment = desk.accept(3 * ETHER)
        pause(actor=make_officer(), wallet_id=desk.wallet.pk, reason="leaked", now=NOW)
        for nonce in range(2):
            send_elsewhere(desk, nonce)
        desk.mine()
        assert (wallet(desk).next_nonce, wallet(desk).paused_reason) == (2, "leaked")
        desk.mine()
        assert wallet(desk).unknown_since is None
        assert desk.broadcast() == 1
        desk.run_to_the_end()
        assert stages([payment]) == ["SETTLED"]
        assert alerts().count("nonce_drift") == 2
        desk.assert_books_balance()

    def test_a_paused_wallets_transactions_are_not_looked_up_with_each_batch(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        desk.add_wallet()
        payment = desk.accept(3 * ETHER)
        pause(actor=make_officer(), wallet_id=desk.wallet.pk, reason="x", now=NOW)
        self.forget_the_sending(desk, payment)
        desk.chain.mine()
        with monkeypatch.context() as patch:
            patch.setattr(desk.chain, "transactions_of", lambda *_: pytest.fail("looked up"))
            desk.broadcast()
        desk.accept(now=timezone.now() + dt.timedelta(seconds=1))
        assert desk.broadcast() == 1
        assert stages([payment]) == ["ACCEPTED"]

    def test_a_deposit_address_that_nobody_can_explain_holds_up_no_payment(
        self, desk: Desk, settings: Settings
    ) -> None:
        settings.CONFIRMATIONS = 4
        address = desk.add_deposit_address()
        desk.pay_in(address.address, 5 * ETHER)
        desk.mine()
        desk.take_in()
        desk.mine(3)
        assert sweep_deposits(NOW, chain=desk.chain)
        desk.broadcast()
        forget_all_sent(address)
        desk.mine(2)
        payment = desk.accept()
        sweep_deposits(timezone.now(), chain=desk.chain)
        desk.chain.blocks_remembered = -1
        assert desk.broadcast() == 1
        address.refresh_from_db()
        assert address.unknown_since is not None
        assert stages([payment]) == ["BROADCAST"]

    def test_a_paused_wallet_beside_one_to_mend(self, desk: Desk) -> None:
        second = desk.add_wallet()
        pause(actor=make_officer(), wallet_id=second.pk, reason="x", now=NOW)
        send_elsewhere(desk, 0)
        desk.mine()
        desk.broadcast()
        payment = desk.accept()
        desk.broadcast()
        assert (wallet(desk).next_nonce, stages([payment])) == (2, ["BROADCAST"])


class TestDisplaced:
    def test_a_payment_whose_nonce_a_stranger_used_is_given_back_and_the_stranger_booked(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        send_elsewhere(desk, 0)
        [mined] = [tx for tx in desk.chain.pool.values() if tx.to_address == STRANGER]
        desk.chain.mine(only=[mined.hash])
        desk.mine(9)
        assert stages([payment]) == ["BROADCAST"]
        desk.mine(12)
        payment.refresh_from_db()
        assert (payment.status, payment.failure_reason, payment.transaction_hash) == ("FAILED", "displaced", mined.hash)
        desk.account.refresh_from_db()
        assert desk.account.available_balance_in_wei == 100 * ETHER
        funding = Account.objects.get(kind=AccountKind.EXTERNAL_FUNDING)
        assert funding.entries.filter(journal__kind="settlement").count() == 1
        assert alerts() == ["nonce_drift"]
        assert desk.chain.paid(payment.to_public_address) == []
        desk.assert_books_balance()

    def test_one_that_pays_the_same_is_the_payment(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        twin = send_elsewhere(desk, 0, to=payment.to_public_address, value_in_wei=payment.transaction_amount_in_wei)
        desk.chain.mine(only=[twin])
        desk.mine(25)
        payment.refresh_from_db()
        assert (payment.status, payment.transaction_hash) == ("SUCCESSFUL", twin)
        desk.assert_paid_once([payment])
        desk.assert_books_balance()

    def test_receipts_that_lag_explain_nothing(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        desk.chain.receipts_lag_blocks = 15
        desk.mine(14)
        assert Attempt.objects.count() == 1
        desk.chain.receipts_lag_blocks = 0
        desk.run_to_the_end()
        desk.assert_paid_once([payment])
        assert not alerts()


class TestSeenOnce:
    """A node may lag behind, or lose its pool, after it has told of a transaction: that says nothing of it."""

    def lose_and_find_again(self, desk: Desk, payment: Transaction) -> None:
        """What a lost desk has sent waits in the pool and is noted; the node restarts; a peer has it still."""
        send_elsewhere(desk, 0, to=payment.to_public_address, value_in_wei=payment.transaction_amount_in_wei)
        [lost] = desk.chain.pool
        raw = bytes(desk.chain.pool[lost].raw)
        desk.chain.mine(empty=True)
        desk.follow()
        desk.broadcast()
        assert wallet(desk).unknown_since is not None
        desk.chain.drop(lost)
        cancel_transaction(actor=make_officer(), transaction_id=self.called_off.pk, now=timezone.now())
        for _ in range(3):
            desk.broadcast()
            desk.mine()
            cancel_wished(timezone.now())
        desk.chain.put_back(raw)
        for _ in range(12):
            desk.broadcast()
            desk.mine()

    @pytest.mark.parametrize("is_called_off", [False, True])
    def test_what_the_node_has_forgotten_is_neither_paid_from_another_wallet_nor_given_back(
        self, desk: Desk, is_called_off: bool
    ) -> None:
        payment, other = desk.accept(2 * ETHER), desk.accept(3 * ETHER)
        self.called_off = payment if is_called_off else other
        desk.add_wallet(balance_in_wei=5_000 * ETHER)
        self.lose_and_find_again(desk, payment)
        assert desk.chain.paid(payment.to_public_address) == [2 * ETHER]
        assert stages([payment]) == ["ACCEPTED"], "staff have to tell"

    def test_an_answer_from_a_block_before_is_no_news(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        earlier, paid = desk.accept(2 * ETHER, to=make_address()), desk.accept(3 * ETHER, to=make_address())
        send_elsewhere(desk, 0, to=paid.to_public_address, value_in_wei=3 * ETHER)
        desk.mine()
        assert wallet(desk).unknown_since is not None, "the follower has seen it"
        terms = desk.chain.terms

        def behind(*args: Any) -> Any:
            answer = terms(*args)
            return replace(answer, nonces=dict.fromkeys(answer.nonces, NonceCount(0, 0)))

        with monkeypatch.context() as patch:
            patch.setattr(desk.chain, "terms", behind)
            desk.broadcast()
        for _ in range(15):
            desk.broadcast()
            desk.mine()
        assert desk.chain.paid(paid.to_public_address) == [3 * ETHER]
        assert stages([earlier, paid]) == ["ACCEPTED", "ACCEPTED"], "staff have to tell"


class TestGaps:
    def leave_a_gap(self, desk: Desk, count: int = 2) -> None:
        """As if the wallet was registered while a stranger's transactions waited, which then were dropped."""
        Wallet.objects.update(next_nonce=count)

    def test_nonces_that_nobody_used_are_filled_with_no_ops(self, desk: Desk) -> None:
        self.leave_a_gap(desk)
        payment = desk.accept()
        desk.broadcast()
        assert [(tx.nonce, tx.value_in_wei) for tx in desk.chain.pool.values()] == [(0, 0), (1, 0), (2, ETHER)]
        desk.run_to_the_end()
        assert list(Transaction.objects.order_by("nonce").values_list("kind", "status")) == [
            ("fill", "SUCCESSFUL"),
            ("fill", "SUCCESSFUL"),
            ("payment", "SUCCESSFUL"),
        ]
        desk.assert_paid_once([payment])
        desk.assert_books_balance()

    def test_a_nonce_of_ours_that_the_node_lost_is_no_gap(self, desk: Desk) -> None:
        payments = desk.accept_many(2)
        desk.broadcast()
        for hash_ in list(desk.chain.pool):
            desk.chain.drop(hash_)
        payments.append(desk.accept())
        desk.broadcast()
        assert not Transaction.objects.filter(kind="fill").exists()
        desk.mine()
        desk.run_to_the_end()
        desk.assert_paid_once(payments)

    def test_a_no_op_that_is_stuck_is_replaced(self, desk: Desk) -> None:
        self.leave_a_gap(desk, 1)
        payment = desk.accept()
        desk.broadcast()
        for _ in range(5):
            desk.chain.mine(empty=True)
            desk.follow()
        desk.broadcast()
        assert Attempt.objects.filter(transaction__kind="fill").count() == 2
        desk.run_to_the_end()
        desk.assert_paid_once([payment])
        desk.assert_books_balance()

    @pytest.mark.parametrize("point", [*POINTS, "broadcast.before_send", "broadcast.after_send"])
    def test_a_process_that_dies_while_it_fills(self, desk: Desk, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
        self.leave_a_gap(desk)
        payment = desk.accept()
        died = crash_at(monkeypatch, point)
        with dies():
            desk.broadcast()
        assert died()
        desk.run_to_the_end()
        desk.assert_paid_once([payment])
        desk.assert_books_balance()
