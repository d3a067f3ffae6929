"""Broadcast: nonces in order, every byte saved before it is sent, and a "no" only where the network says no."""

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections
from pytest_django.fixtures import Settings

from accounts.keys import SignerUnavailableError, forget_signers
from accounts.keys.deposits import SEED_NAME
from accounts.keys.sources import KeyPlace
from accounts.models import Account, Hold
from tests.desk import ETHER, FEE, GWEI, NOW, RECIPIENT, Desk, make_account, make_address, stages
from tests.fakes.chain import FakeChain
from transactions.chain import SendResult
from transactions.models import Attempt, Transaction, Wallet
from transactions.services.broadcast import broadcast_payments, has_work
from transactions.services.plan import Purse, share_out
from transactions.services.refuse import refuse_unsigned
from transactions.services.sweep import sweep_deposits
from transactions.services.wallets import load_wallets_signer
from transactions.states import FailureReason


def waits(*payments: Transaction) -> list[str]:
    """Return what payments say they wait for."""
    now = dict(Transaction.objects.values_list("pk", "wait_reason"))
    return [now[row.pk] for row in payments]


def nonces(*payments: Transaction) -> list[int | None]:
    now = dict(Transaction.objects.values_list("pk", "nonce"))
    return [now[row.pk] for row in payments]


def held(account: Account) -> int:
    account.refresh_from_db()
    return account.held_balance_in_wei


class TestSent:
    def test_the_row_the_attempt_and_the_chain_agree(self, desk: Desk) -> None:
        payment = desk.accept(ETHER)

        assert desk.broadcast() == 1

        payment.refresh_from_db()
        [attempt] = Attempt.objects.all()
        [sent] = desk.chain.pool.values()
        assert (payment.stage, payment.status, payment.wait_reason) == ("BROADCAST", "PENDING", "")
        assert payment.transaction_hash == attempt.hash == sent.hash
        assert bytes(attempt.raw_transaction) == sent.raw
        assert payment.from_public_address == sent.from_address == desk.wallet.address
        assert (payment.wallet_id, payment.nonce) == (attempt.wallet_id, attempt.nonce) == (desk.wallet.pk, 0)
        assert (sent.nonce, sent.to_address, sent.value_in_wei, sent.chain_id) == (0, RECIPIENT, ETHER, 31337)
        assert (sent.gas_limit, sent.max_fee_per_gas_in_wei, sent.max_priority_fee_per_gas_in_wei) == (
            21_000,
            3 * GWEI,
            GWEI,
        )
        assert (attempt.gas_limit, attempt.max_fee_per_gas_in_wei, attempt.max_priority_fee_per_gas_in_wei) == (
            21_000,
            3 * GWEI,
            GWEI,
        )
        assert (attempt.sends, attempt.last_error) == (1, "")
        assert payment.signed_at is not None
        assert payment.broadcast_at is not None
        assert payment.signed_at <= payment.broadcast_at
        assert attempt.sent_at == payment.broadcast_at
        desk.wallet.refresh_from_db()
        assert desk.wallet.next_nonce == 1
        assert held(desk.account) == ETHER + FEE
        desk.assert_books_balance()

    def test_in_the_order_of_acceptance_with_nonces_without_a_gap(self, desk: Desk, settings: Settings) -> None:
        settings.CHAIN_RPC_BATCH_SIZE = 3
        desk.chain.blocks[-1].nonces[desk.wallet.address] = 5
        Wallet.objects.update(next_nonce=5)
        payments = desk.accept_many(8)
        assert desk.broadcast() == 8
        assert nonces(*payments) == [5, 6, 7, 8, 9, 10, 11, 12]
        assert desk.chain.asked["send_raw"] == 3
        assert [tx.nonce for tx in desk.chain.pool.values()] == list(range(5, 13)), "sent in order too"
        payments += desk.accept_many(2)
        assert desk.broadcast() == 2
        assert nonces(*payments[8:]) == [13, 14]

    def test_nothing_to_do_asks_the_node_nothing(self, desk: Desk) -> None:
        assert not has_work()
        assert desk.broadcast() == 0
        assert not desk.chain.asked

    def test_one_round_of_questions_for_a_whole_batch(self, desk: Desk) -> None:
        desk.accept_many(20)
        assert has_work()
        desk.broadcast()
        assert desk.chain.asked == {"terms": 1, "send_raw": 1}
        assert not has_work()

    def test_every_byte_is_saved_before_any_is_sent(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        payments = desk.accept_many(3)
        send_raw = desk.chain.send_raw
        seen: list[list[str]] = []

        def look_then_send(raw: list[bytes], hashes: list[str]) -> list[SendResult]:
            saved = {bytes(attempt.raw_transaction) for attempt in Attempt.objects.all()}
            assert set(raw) <= saved
            seen.append(stages(payments))
            return send_raw(raw, hashes)

        monkeypatch.setattr(desk.chain, "send_raw", look_then_send)
        desk.broadcast()
        assert seen == [["SIGNED"] * 3]

    def test_a_contract_gets_the_gas_it_asks_for_and_a_fifth_more(self, desk: Desk) -> None:
        contract = make_address()
        desk.chain.gas_by_recipient[contract] = 60_000
        payment = desk.accept(to=contract)
        desk.run_to_the_end()
        payment.refresh_from_db()
        assert Attempt.objects.get().gas_limit == 72_000
        assert payment.status == "SUCCESSFUL"
        assert payment.transaction_fee_blockchain_in_wei == 60_000 * 2 * GWEI
        desk.assert_books_balance()


class TestRejected:
    def test_a_revert_fails_the_payment_at_once_and_nothing_is_sent(self, desk: Desk) -> None:
        refusing = make_address()
        desk.chain.reverting.add(refusing)
        first, refused, last = desk.accept(), desk.accept(to=refusing), desk.accept()
        Transaction.objects.filter(pk=refused.pk).update(needs_attention=True)

        assert desk.broadcast() == 2

        refused.refresh_from_db()
        assert (refused.status, refused.stage, refused.failure_reason) == ("FAILED", "SETTLED", "rejected")
        assert refused.failure_detail == "execution reverted"
        assert (refused.nonce, refused.transaction_hash, refused.next_check_at) == (None, None, None)
        assert not refused.needs_attention
        assert refused.settled_at is not None
        assert Hold.objects.get(source=str(refused.pk)).status == "released"
        assert held(desk.account) == 2 * (ETHER + FEE)
        assert nonces(first, last) == [0, 1]
        assert desk.chain.paid(refusing) == []
        desk.assert_books_balance()

    def test_an_unclear_estimate_is_never_a_no_and_holds_up_nobody(self, desk: Desk) -> None:
        strange = make_address()
        desk.chain.unknown_recipients.add(strange)
        waiting, other = desk.accept(to=strange), desk.accept()
        assert desk.broadcast() == 1
        assert stages([waiting, other]) == ["ACCEPTED", "BROADCAST"]
        assert waits(waiting, other) == ["recipient", ""]
        desk.chain.unknown_recipients.clear()
        assert desk.broadcast() == 1
        assert (stages([waiting]), waits(waiting)) == (["BROADCAST"], [""])
        desk.run_to_the_end()
        desk.assert_paid_once([waiting, other])
        desk.assert_books_balance()


class TestWaits:
    def test_for_a_node_that_is_down(self, desk: Desk) -> None:
        payment = desk.accept()
        with desk.chain.outage():
            assert desk.broadcast() == 0
        assert (stages([payment]), waits(payment)) == (["ACCEPTED"], ["node"])
        assert not Attempt.objects.exists()
        assert desk.broadcast() == 1
        assert waits(payment) == [""]
        desk.run_to_the_end()
        desk.assert_paid_once([payment])

    def test_for_a_market_above_the_fee_paid(self, desk: Desk) -> None:
        payments = desk.accept_many(2)
        desk.chain.base_fee_per_gas_in_wei = 400 * GWEI
        assert desk.broadcast() == 0
        assert stages(payments) == ["ACCEPTED"] * 2
        assert waits(*payments) == ["network_fee"] * 2
        assert held(desk.account) == 3 + 2 * FEE
        assert not Attempt.objects.exists()
        desk.chain.base_fee_per_gas_in_wei = 100 * GWEI
        assert desk.broadcast() == 2
        assert waits(*payments) == ["", ""]
        desk.run_to_the_end()
        desk.assert_paid_once(payments)
        desk.assert_books_balance()

    def test_a_market_too_dear_for_all_is_asked_about_once(self, desk: Desk, settings: Settings) -> None:
        settings.CHAIN_RPC_BATCH_SIZE = 2
        desk.accept_many(6)
        desk.chain.base_fee_per_gas_in_wei = 400 * GWEI
        desk.broadcast()
        assert desk.chain.asked["terms"] == 1

    def test_what_is_too_dear_for_one_recipient_does_not_hold_up_the_rest(self, desk: Desk, settings: Settings) -> None:
        settings.CHAIN_RPC_BATCH_SIZE = 1
        contract = make_address()
        desk.chain.gas_by_recipient[contract] = 5_000_000
        dear, cheap = desk.accept(to=contract), desk.accept()
        assert desk.broadcast() == 1
        assert (stages([dear, cheap]), waits(dear, cheap)) == (["ACCEPTED", "BROADCAST"], ["network_fee", ""])

    def test_never_offers_more_than_the_user_paid(self, desk: Desk) -> None:
        desk.chain.base_fee_per_gas_in_wei = 250 * GWEI
        desk.accept()
        desk.broadcast()
        [attempt] = Attempt.objects.all()
        assert attempt.max_fee_per_gas_in_wei == FEE // 21_000 < 2 * 250 * GWEI
        assert attempt.max_fee_per_gas_in_wei * attempt.gas_limit <= FEE

    def test_for_the_wallets_funds_which_is_never_the_users_failure(self, desk: Desk) -> None:
        desk.chain.set_balance(desk.wallet.address, ETHER)
        payment = desk.accept(ETHER)
        for _ in range(3):
            assert desk.broadcast() == 0
            desk.mine()
        payment.refresh_from_db()
        assert (payment.status, payment.stage, payment.wait_reason) == ("PENDING", "ACCEPTED", "wallet_funds")
        assert held(desk.account) == ETHER + FEE
        desk.chain.set_balance(desk.wallet.address, 1_000 * ETHER)
        assert desk.broadcast() == 1
        assert waits(payment) == [""]
        desk.run_to_the_end()
        desk.assert_paid_once([payment])

    def test_what_is_in_flight_is_not_spent_twice(self, desk: Desk) -> None:
        # The wallet has enough for either payment, and for no two of them.
        desk.chain.set_balance(desk.wallet.address, 3 * ETHER)
        first = desk.accept(2 * ETHER)
        assert desk.broadcast() == 1
        second, small = desk.accept(2 * ETHER), desk.accept(ETHER // 2)
        assert desk.broadcast() == 1, "the small one fits"
        assert stages([first, second, small]) == ["BROADCAST", "ACCEPTED", "BROADCAST"]
        assert waits(second) == ["wallet_funds"]
        assert nonces(first, small) == [0, 1], "and has left no gap"

    def test_within_one_batch_too(self, desk: Desk) -> None:
        desk.chain.set_balance(desk.wallet.address, 3 * ETHER)
        payments = [desk.accept(2 * ETHER), desk.accept(2 * ETHER), desk.accept(ETHER // 2)]
        assert desk.broadcast() == 2
        assert stages(payments) == ["BROADCAST", "ACCEPTED", "BROADCAST"]
        assert nonces(payments[0], payments[2]) == [0, 1]

    def test_while_every_wallet_is_paused(self, desk: Desk) -> None:
        Wallet.objects.update(paused_at=desk.wallet.created_at, paused_reason="Keys are being rotated.")
        payment = desk.accept()
        assert desk.broadcast() == 0
        assert (stages([payment]), waits(payment)) == (["ACCEPTED"], ["wallet"])
        Wallet.objects.update(paused_at=None, paused_reason="")
        assert desk.broadcast() == 1

    def test_a_wallet_paused_while_its_batch_is_planned_signs_nothing(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        payment = desk.accept()
        terms = desk.chain.terms

        def pause_then_answer(*args: object) -> object:
            Wallet.objects.update(paused_at=desk.wallet.created_at, paused_reason="Stop!")
            return terms(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(desk.chain, "terms", pause_then_answer)
        assert desk.broadcast() == 0
        assert stages([payment]) == ["ACCEPTED"]
        assert not Attempt.objects.exists()
        assert not desk.chain.pool
        desk.wallet.refresh_from_db()
        assert desk.wallet.next_nonce == 0

    @pytest.mark.usefixtures("desk")
    def test_where_there_is_no_wallet_at_all(self, desk: Desk) -> None:
        Wallet.objects.all().delete()
        payment = desk.accept()
        assert desk.broadcast() == 0
        assert waits(payment) == ["wallet"]

    def test_for_a_key_that_is_missing(self, desk: Desk, settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
        payment = desk.accept()
        directory = settings.KEYSTORE_DIR
        settings.KEYSTORE_DIR = directory / "elsewhere"
        with caplog.at_level(logging.ERROR):
            assert desk.broadcast() == 0
        assert (stages([payment]), waits(payment)) == (["ACCEPTED"], ["key"])
        assert "can't sign" in caplog.text
        settings.KEYSTORE_DIR = directory
        assert desk.broadcast() == 1
        assert waits(payment) == [""]

    def test_for_the_right_passphrase(self, desk: Desk, settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
        payment = desk.accept()
        right = settings.KEYSTORE_PASSPHRASE
        forget_signers()
        settings.KEYSTORE_PASSPHRASE = "a secret that must not be shown"
        with caplog.at_level(logging.DEBUG):
            assert desk.broadcast() == 0
        assert waits(payment) == ["key"]
        assert "a secret that must not be shown" not in caplog.text
        settings.KEYSTORE_PASSPHRASE = right
        assert desk.broadcast() == 1

    def test_for_the_service_that_holds_the_key(
        self, desk: Desk, settings: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        payment = desk.accept()
        settings.SIGNERS, ours = [f"{__name__}.SilentService"], settings.SIGNERS
        with caplog.at_level(logging.ERROR):
            assert desk.broadcast() == 0
        assert (stages([payment]), waits(payment)) == (["ACCEPTED"], ["key"])
        assert "can't sign: The service that holds the key does not answer." in caplog.text
        assert not Attempt.objects.exists()
        desk.wallet.refresh_from_db()
        assert desk.wallet.next_nonce == 0
        settings.SIGNERS = ours
        assert desk.broadcast() == 1


class SilentService:
    """A key management service that has every key and answers nobody."""

    name = "service"

    def places(self) -> list[KeyPlace]:
        return []

    def load(self, address: str) -> "SilentService":
        self.address = address
        return self

    def sign_digests(self, digests: Sequence[bytes]) -> list[bytes]:
        raise SignerUnavailableError

    def forget(self) -> None:
        pass


class TestSendsThatGoWrong:
    def test_a_lost_answer_is_not_a_no(self, desk: Desk) -> None:
        payments = desk.accept_many(3)
        desk.chain.lose_answers()
        assert desk.broadcast() == 0
        assert stages(payments) == ["SIGNED"] * 3
        assert waits(*payments) == ["node"] * 3
        assert len(desk.chain.pool) == 3, "the node has them all"
        first = {attempt.pk: bytes(attempt.raw_transaction) for attempt in Attempt.objects.all()}

        assert desk.broadcast() == 3

        assert stages(payments) == ["BROADCAST"] * 3
        again = Attempt.objects.order_by("pk")
        assert {attempt.pk: bytes(attempt.raw_transaction) for attempt in again} == first, "no new bytes"
        assert [attempt.sends for attempt in again] == [2, 2, 2]
        desk.run_to_the_end()
        desk.assert_paid_once(payments)
        desk.assert_books_balance()

    def test_a_node_that_dies_between_terms_and_send(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        payment = desk.accept()
        terms = desk.chain.terms

        def answer_then_die(*args: object) -> object:
            answer = terms(*args)  # type: ignore[arg-type]
            desk.chain.down = True
            return answer

        monkeypatch.setattr(desk.chain, "terms", answer_then_die)
        assert desk.broadcast() == 0
        assert (stages([payment]), waits(payment)) == (["SIGNED"], ["node"])
        later = desk.accept()
        assert desk.broadcast() == 0
        assert stages([payment, later]) == ["SIGNED", "ACCEPTED"], "nothing more is signed before the first is sent"
        desk.chain.down = False
        monkeypatch.undo()
        assert desk.broadcast() == 2
        desk.run_to_the_end()
        desk.assert_paid_once([payment, later])

    def test_a_refusal_in_words_nobody_knows(self, desk: Desk) -> None:
        first, second, third = payments = desk.accept_many(3)
        desk.chain.refuse("txpool is overflowing, come back on Tuesday")
        desk.broadcast()
        assert stages(payments) == ["SIGNED", "BROADCAST", "BROADCAST"]
        assert Attempt.objects.get(transaction=first).last_error == "txpool is overflowing, come back on Tuesday"
        assert waits(first, second, third) == ["node", "", ""]
        desk.mine()
        assert desk.chain.mined == [], "the others wait behind the gap"
        assert desk.broadcast() == 1
        assert Attempt.objects.get(transaction=first).last_error == ""
        desk.run_to_the_end()
        desk.assert_paid_once(payments)
        desk.assert_books_balance()

    def test_nothing_more_is_signed_while_the_node_refuses_what_is(self, desk: Desk) -> None:
        first = desk.accept()
        desk.chain.refuse("no room", times=2)
        desk.broadcast()
        later = desk.accept()
        assert desk.broadcast() == 0
        assert stages([first, later]) == ["SIGNED", "ACCEPTED"]
        assert desk.broadcast() == 2

    def test_an_offer_that_the_market_has_overtaken_is_sent_again(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        payment = desk.accept()
        terms = desk.chain.terms

        def answer_then_rise(*args: object) -> object:
            answer = terms(*args)  # type: ignore[arg-type]
            desk.chain.base_fee_per_gas_in_wei = 50 * GWEI
            return answer

        monkeypatch.setattr(desk.chain, "terms", answer_then_rise)
        assert desk.broadcast() == 0
        assert (stages([payment]), waits(payment)) == (["SIGNED"], ["network_fee"])
        desk.chain.base_fee_per_gas_in_wei = GWEI
        assert desk.broadcast() == 1
        desk.run_to_the_end()
        desk.assert_paid_once([payment])

    def test_a_wallet_emptied_between_terms_and_send(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        payment = desk.accept()
        terms = desk.chain.terms

        def answer_then_empty(*args: object) -> object:
            answer = terms(*args)  # type: ignore[arg-type]
            desk.chain.set_balance(desk.wallet.address, 0)
            return answer

        monkeypatch.setattr(desk.chain, "terms", answer_then_empty)
        assert desk.broadcast() == 0
        assert (stages([payment]), waits(payment)) == (["SIGNED"], ["wallet_funds"])
        assert held(desk.account) == ETHER + FEE
        desk.chain.set_balance(desk.wallet.address, 1_000 * ETHER)
        assert desk.broadcast() == 1
        desk.run_to_the_end()
        desk.assert_paid_once([payment])
        desk.assert_books_balance()


class TestWallets:
    def test_each_payment_goes_out_from_the_wallet_with_most_left(self, desk: Desk) -> None:
        desk.chain.set_balance(desk.wallet.address, 4 * ETHER)
        second = desk.add_wallet()
        desk.chain.set_balance(second.address, 6 * ETHER)
        payments = [desk.accept(3 * ETHER), desk.accept(2 * ETHER), desk.accept(2 * ETHER), desk.accept(ETHER)]
        assert desk.broadcast() == 4
        rows = Transaction.objects.order_by("pk").values_list("wallet_id", "nonce")
        assert list(rows) == [(second.pk, 0), (desk.wallet.pk, 0), (second.pk, 1), (desk.wallet.pk, 1)]
        assert stages(payments) == ["BROADCAST"] * 4
        desk.run_to_the_end()
        desk.assert_paid_once(payments)

    def test_what_is_under_way_is_no_longer_left(self, desk: Desk) -> None:
        desk.chain.set_balance(desk.wallet.address, 10 * ETHER)
        second = desk.add_wallet()
        desk.chain.set_balance(second.address, 9 * ETHER)
        for amount, payer in ((3 * ETHER, desk.wallet), (ETHER, second), (ETHER, second), (ETHER, desk.wallet)):
            payment = desk.accept(amount)
            desk.broadcast()
            payment.refresh_from_db()
            assert payment.wallet_id == payer.pk

    def test_no_more_than_so_many_are_under_way_from_one_wallet(self, desk: Desk, settings: Settings) -> None:
        settings.WALLET_IN_FLIGHT_MAX = 2
        payments = desk.accept_many(5)
        assert desk.broadcast() == 2
        assert waits(*payments) == ["", "", "in_flight", "in_flight", "in_flight"]
        desk.mine()
        assert desk.broadcast() == 2
        desk.run_to_the_end()
        desk.assert_paid_once(payments)

    def test_a_draining_wallet_is_given_nothing_new(self, desk: Desk) -> None:
        first = desk.accept()
        desk.broadcast()
        Wallet.objects.update(draining_at=desk.wallet.created_at)
        waiting = desk.accept()
        assert desk.broadcast() == 0
        assert waits(waiting) == ["wallet"]
        desk.mine(10)
        assert stages([first, waiting]) == ["SETTLED", "ACCEPTED"]

    def test_a_paused_wallet_sends_nothing_and_the_other_sends_all(self, desk: Desk) -> None:
        second = desk.add_wallet()
        Wallet.objects.filter(pk=desk.wallet.pk).update(paused_at=desk.wallet.created_at, paused_reason="x")
        payments = desk.accept_many(2)
        assert desk.broadcast() == 2
        assert set(Transaction.objects.values_list("wallet_id", flat=True)) == {second.pk}
        desk.run_to_the_end()
        assert stages(payments) == ["SETTLED"] * 2
        desk.assert_books_balance()

    def test_a_wallet_without_its_key_does_not_stop_the_other(self, desk: Desk) -> None:
        Wallet.objects.create(
            address=make_address(), account=Account.objects.create(kind="hot_wallet", name="without a key")
        )
        payment = desk.accept()
        assert desk.broadcast() == 1
        assert (stages([payment]), waits(payment)) == (["BROADCAST"], [""])


class SilentFor:
    """Wallets' signers, of which that of one address belongs to a service that is away."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
        def load(wallet: Wallet) -> Any:
            return SilentService().load(address) if wallet.address == address else load_wallets_signer(wallet)

        monkeypatch.setattr("transactions.services.signers.load_wallets_signer", load)


class TestOneStopsNoOther:
    def test_a_service_that_has_one_wallets_key_is_away(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        second = desk.add_wallet()
        SilentFor(monkeypatch, second.address)
        payments = [desk.accept(to=make_address()) for _ in range(4)]
        assert desk.broadcast() == 4
        assert stages(payments) == ["BROADCAST"] * 4
        assert set(Transaction.objects.values_list("wallet_id", flat=True)) == {desk.wallet.pk}

    def test_nor_when_it_would_have_to_fill_a_gap(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        second = desk.add_wallet()
        Wallet.objects.filter(pk=second.pk).update(next_nonce=1)
        SilentFor(monkeypatch, second.address)
        payment = desk.accept()
        assert desk.broadcast() == 1
        assert stages([payment]) == ["BROADCAST"]

    def test_nor_when_it_would_have_to_replace(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch, settings: Settings
    ) -> None:
        settings.REPLACE_AFTER_BLOCKS = 2
        second = desk.add_wallet()
        payments = [desk.accept(to=make_address()) for _ in range(2)]
        assert desk.broadcast() == 2
        for _ in range(3):
            desk.chain.mine(empty=True)
            desk.follow()
        SilentFor(monkeypatch, second.address)
        desk.broadcast()
        replaced = Attempt.objects.filter(transaction__in=payments).values_list("wallet_id", flat=True)
        assert sorted(replaced) == sorted([desk.wallet.pk, desk.wallet.pk, second.pk])

    def test_sweeps_without_their_seed(self, desk: Desk, settings: Settings) -> None:
        settings.CONFIRMATIONS = 4
        settings.CHAIN_RPC_BATCH_SIZE = 3
        for _ in range(3):
            desk.pay_in(desk.add_deposit_address(make_account()).address, 5 * ETHER)
        desk.mine()
        desk.take_in()
        desk.mine(3)
        assert len(sweep_deposits(NOW, chain=desk.chain)) == 3
        payments = desk.accept_many(4)
        forget_signers()
        seed = settings.KEYSTORE_DIR / SEED_NAME
        seed.rename(seed.with_suffix(".away"))
        try:
            assert desk.broadcast() == 4
        finally:
            seed.with_suffix(".away").rename(seed)
        assert stages(payments) == ["BROADCAST"] * 4

    def test_a_full_queue_is_not_gone_through_in_vain(
        self, desk: Desk, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings.CHAIN_RPC_BATCH_SIZE = 2
        settings.WALLET_IN_FLIGHT_MAX = 2
        desk.accept_many(8)
        assert desk.broadcast() == 2
        shared: list[int] = []

        def count(batch: list[Transaction], purses: list[Purse]) -> dict[int, Wallet]:
            shared.append(len(batch))
            return share_out(batch, purses)

        monkeypatch.setattr("transactions.services.broadcast.share_out", count)
        assert desk.broadcast() == 0
        assert shared == [2]


@pytest.mark.django_db(transaction=True)
class TestTwoBroadcasters:
    def test_a_second_one_leaves_the_wallet_to_the_first(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        desk.accept_many(2)
        terms = desk.chain.terms
        answers: list[int] = []
        others_chain = FakeChain()

        def let_another_try(*args: object) -> object:
            with ThreadPoolExecutor(1) as other:
                answers.append(other.submit(self.broadcast_elsewhere, others_chain).result(timeout=20))
            return terms(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(desk.chain, "terms", let_another_try)
        assert desk.broadcast() == 2
        assert (answers, others_chain.asked.total()) == ([0], 0)
        assert Attempt.objects.count() == 2

    def broadcast_elsewhere(self, chain: FakeChain) -> int:
        try:
            return broadcast_payments(chain)
        finally:
            connections.close_all()

    def test_many_at_once_pay_each_payment_once(self, desk: Desk, settings: Settings) -> None:
        settings.CHAIN_RPC_BATCH_SIZE = 4
        payments = desk.accept_many(20)
        barrier = threading.Barrier(6)

        def race(_: int) -> int:
            barrier.wait(20)
            return self.broadcast_elsewhere(desk.chain)

        with ThreadPoolExecutor(6) as threads:
            sent = sum(threads.map(race, range(6)))
        sent += desk.broadcast()
        assert sent == 20
        assert nonces(*payments) == list(range(20))
        desk.run_to_the_end()
        desk.assert_paid_once(payments)
        desk.assert_books_balance()


class TestRaces:
    """The advisory lock may be lost with its connection; the rows must keep the money safe without it."""

    @pytest.fixture(autouse=True)
    def _no_lock(self, desk: Desk) -> None:
        self.desk = desk

    def overtaken(self, monkeypatch: pytest.MonkeyPatch, chain: FakeChain) -> None:
        """Let another broadcaster do all its work while this one waits for its terms."""
        terms = chain.terms
        monkeypatch.setattr(chain, "terms", terms)

        def overtake(*args: object) -> object:
            answer = terms(*args)  # type: ignore[arg-type]
            monkeypatch.setattr(chain, "terms", terms)
            # The same session can take the advisory lock again: exactly the case of a lock that doesn't protect.
            assert broadcast_payments(chain) > 0
            return answer

        monkeypatch.setattr(chain, "terms", overtake)

    def test_payments_taken_meanwhile_are_not_taken_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        desk = self.desk
        payments = desk.accept_many(3)
        self.overtaken(monkeypatch, desk.chain)
        assert desk.broadcast() == 0
        assert Attempt.objects.count() == 3
        assert nonces(*payments) == [0, 1, 2]
        desk.run_to_the_end()
        desk.assert_paid_once(payments)

    def test_a_nonce_taken_meanwhile_is_not_given_twice(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The overtaker takes a payment that came later, so that only the nonce tells that something happened."""
        desk = self.desk
        first = desk.accept()
        terms = desk.chain.terms

        def overtake(*args: object) -> object:
            answer = terms(*args)  # type: ignore[arg-type]
            monkeypatch.setattr(desk.chain, "terms", terms)
            Wallet.objects.update(next_nonce=1)
            return answer

        # The row is read after the terms; a nonce that moves after that is what the conditional update is for.
        refresh = Wallet.refresh_from_db

        def refresh_then_move(wallet: Wallet, **kwargs: object) -> None:
            refresh(wallet, **kwargs)  # type: ignore[arg-type]
            Wallet.objects.update(next_nonce=7)

        monkeypatch.setattr(Wallet, "refresh_from_db", refresh_then_move)
        assert desk.broadcast() == 0
        monkeypatch.undo()
        assert stages([first]) == ["ACCEPTED"]
        assert not Attempt.objects.exists()
        assert not desk.chain.pool
        desk.wallet.refresh_from_db()
        assert desk.wallet.next_nonce == 7

    def test_one_payment_taken_meanwhile_sends_the_whole_batch_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        desk = self.desk
        payments = desk.accept_many(3)
        terms = desk.chain.terms

        def reject_one_meanwhile(*args: object) -> object:
            answer = terms(*args)  # type: ignore[arg-type]
            monkeypatch.setattr(desk.chain, "terms", terms)
            refuse_unsigned({payments[1].pk: "no"}, FailureReason.REJECTED, NOW)
            return answer

        monkeypatch.setattr(desk.chain, "terms", reject_one_meanwhile)
        assert desk.broadcast() == 0
        assert stages(payments) == ["ACCEPTED", "SETTLED", "ACCEPTED"]
        desk.wallet.refresh_from_db()
        assert desk.wallet.next_nonce == 0
        assert desk.broadcast() == 2
        assert nonces(payments[0], payments[2]) == [0, 1]
        desk.run_to_the_end()
        desk.assert_paid_once([payments[0], payments[2]])
        desk.assert_books_balance()
