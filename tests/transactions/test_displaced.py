"""Staff give up what was signed for a nonce that something else has used, which no node can tell."""

from typing import Any

import pytest
from django.conf import settings

from accounts.exceptions import ReasonRequiredError
from accounts.ledger import JournalDraft, post, system_account
from accounts.models import AccountKind, AuditEvent, Journal, JournalKind
from tests.desk import ETHER, NOW, Desk, credit, make_address, make_user, stages, write_keystore
from tests.transactions.test_nonces import go_on, send_elsewhere
from tests.transactions.test_tell_apart import differences
from transactions.chain import ChainUnavailableError
from transactions.exceptions import NotDisplacedError, TransactionNotFoundError
from transactions.models import Attempt, PassedNonce, Transaction, Wallet
from transactions.services import displaced, holdings
from transactions.services.displaced import give_up
from transactions.services.found import look_at
from transactions.services.nonces import AT_ONCE
from transactions.services.reserves import prove_reserves
from transactions.services.rotate import rotate_key
from transactions.services.sweep import order_move
from transactions.services.verify import check_books

FINAL = 14
"""Blocks after which what has happened is final, and anything unexplained is flagged."""


def lose_nonce(desk: Desk, payment: Transaction, blocks: int = FINAL) -> Transaction:
    """Let an authorization use the nonce of what was sent, and so many blocks follow."""
    payment.refresh_from_db()
    desk.chain.drop(payment.transaction_hash or "")
    desk.chain.use_up_nonce(desk.wallet.address)
    go_on(desk, blocks)
    payment.refresh_from_db()
    return payment


def sent(desk: Desk, amount_in_wei: int = 2 * ETHER) -> Transaction:
    """Return a payment that the node has in its pool."""
    payment = desk.accept(amount_in_wei, to=make_address())
    desk.broadcast()
    assert stages([payment]) == ["BROADCAST"]
    return payment


def say(desk: Desk, payment: Transaction, *, reason: str = "looked it up") -> Transaction:
    return give_up(actor=make_user(), transaction_id=payment.pk, reason=reason, now=NOW, chain=desk.chain)


def assert_nothing_given_up(desk: Desk, payment: Transaction) -> None:
    payment.refresh_from_db()
    assert payment.status == "PENDING"
    assert not PassedNonce.objects.exists()
    assert not AuditEvent.objects.filter(action="payment.given_up").exists()
    desk.account.refresh_from_db()
    assert desk.account.available_balance_in_wei == 100 * ETHER - payment.total_in_wei


class TestFlagged:
    def test_what_is_not_found_for_long_waits_for_staff(self, desk: Desk) -> None:
        payment = lose_nonce(desk, sent(desk), settings.CONFIRMATIONS - 1)
        assert (payment.wait_reason, payment.needs_attention, payment.may_be_displaced) == ("", False, False)
        go_on(desk, 2)
        payment.refresh_from_db()
        assert (payment.wait_reason, payment.needs_attention, payment.may_be_displaced) == ("nonce", True, True)

    def test_an_old_payment_whose_receipt_is_late_does_not(self, desk: Desk) -> None:
        payment = sent(desk)
        for _ in range(FINAL):
            desk.chain.mine(empty=True)
            desk.follow()
        desk.chain.receipts_lag_blocks = 3
        desk.chain.blocks_remembered = 0
        desk.mine(2)
        payment.refresh_from_db()
        assert (payment.stage, payment.wait_reason, payment.needs_attention) == ("BROADCAST", "", False)
        desk.mine(3)
        assert stages([payment]) == ["MINED"]

    def test_what_a_node_tells_later_is_settled_by_itself(self, desk: Desk) -> None:
        payment = sent(desk)
        stranger = send_elsewhere(desk, 0)
        desk.chain.mine(only=[stranger])
        desk.chain.blocks_remembered = -1
        go_on(desk, FINAL + 1)
        payment.refresh_from_db()
        assert payment.may_be_displaced
        desk.chain.blocks_remembered = 128
        go_on(desk, 2)
        payment.refresh_from_db()
        assert (payment.status, payment.failure_reason, payment.transaction_hash) == ("FAILED", "displaced", stranger)
        assert (payment.needs_attention, payment.may_be_displaced) == (False, False)
        desk.assert_books_balance()

    def test_many_that_nobody_can_tell_do_not_keep_later_ones_from_being_looked_up(self, desk: Desk) -> None:
        lost = [desk.accept(number + 1, to=make_address()) for number in range(AT_ONCE)]
        displaced = desk.accept(2 * ETHER, to=make_address())
        desk.broadcast()
        for hash_ in list(desk.chain.pool):
            desk.chain.drop(hash_)
        for _ in lost:
            desk.chain.use_up_nonce(desk.wallet.address)
        stranger = send_elsewhere(desk, AT_ONCE)
        desk.chain.mine(only=[stranger])
        go_on(desk, 2 * FINAL)
        assert all(row.may_be_displaced for row in Transaction.objects.filter(pk__in=[row.pk for row in lost]))
        displaced.refresh_from_db()
        assert (displaced.failure_reason, displaced.transaction_hash) == ("displaced", stranger)


class TestGivenUp:
    @pytest.mark.django_db(transaction=True)
    def test_its_owner_has_all_of_it_back_and_the_books_agree_with_the_chain(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(holdings, "PATIENCE_SECONDS", 0.0)
        desk.accept()
        desk.run_to_the_end()
        payment = lose_nonce(desk, sent(desk))
        later = desk.accept(3 * ETHER, to=make_address())
        go_on(desk, FINAL)
        assert stages([later]) == ["SETTLED"], "nothing waits for it"
        assert len(differences(desk)) == 1, "its nonce is used, and by nothing in a block"
        assert look_at(desk.wallet.pk, chain=desk.chain).is_behind, "so nothing can be booked as missing"
        desk.account.refresh_from_db()
        before = desk.account.available_balance_in_wei
        assert say(desk, payment).pk == payment.pk
        payment.refresh_from_db()
        assert (payment.stage, payment.status, payment.failure_reason) == ("SETTLED", "FAILED", "displaced")
        assert (payment.nonce, payment.block_number, payment.transaction_fee_blockchain_in_wei) == (1, None, None)
        assert (payment.wait_reason, payment.needs_attention, payment.next_check_at) == ("", False, None)
        assert (payment.settled_at, payment.may_be_displaced) == (NOW, False)
        desk.account.refresh_from_db()
        assert desk.account.available_balance_in_wei == before + payment.total_in_wei
        assert list(PassedNonce.objects.values_list("wallet", "nonce")) == [(desk.wallet.pk, 1)]
        assert differences(desk) == []
        assert not look_at(desk.wallet.pk, chain=desk.chain).is_behind
        go_on(desk)
        assert differences(desk) == []
        desk.assert_books_balance()
        event = AuditEvent.objects.get(action="payment.given_up")
        assert (event.target_id, event.reason) == (str(payment.pk), "looked it up")
        assert event.details == {
            "wallet": desk.wallet.address, "nonce": 1, "hashes": [payment.transaction_hash],
        }  # fmt: skip

    @pytest.mark.django_db(transaction=True)
    def test_it_is_no_evidence_of_what_differs_later(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(holdings, "PATIENCE_SECONDS", 0.0)
        say(desk, lose_nonce(desk, sent(desk)))
        desk.chain.use_up_nonce(desk.wallet.address)
        go_on(desk, FINAL)
        [difference] = prove_reserves(chain=desk.chain).report.differences
        assert difference.rows == ("nonce=1 transaction=None stage=None block=None",)

    def test_the_rotation_of_its_wallets_key_ends(self, desk: Desk) -> None:
        """What was signed is under way for ever, until it is given up."""
        payment = lose_nonce(desk, sent(desk))
        terms: dict[str, Any] = {
            "actor": make_user(),
            "address": desk.wallet.address,
            "reason": "leaked",
            "chain": desk.chain,
        }
        standing = rotate_key(now=NOW, to_address=write_keystore(7), **terms)
        assert "1 of its transactions is not final yet." in standing.words
        say(desk, payment)
        for _ in range(3):
            if standing.is_over:
                break
            standing = rotate_key(now=NOW, **terms)
            go_on(desk, FINAL)
        assert standing.is_over
        desk.assert_books_balance()

    def test_twice_gives_nothing_back_twice(self, desk: Desk) -> None:
        payment = lose_nonce(desk, sent(desk))
        say(desk, payment)
        with pytest.raises(NotDisplacedError, match="does not wait for a block"):
            say(desk, payment)
        desk.account.refresh_from_db()
        assert desk.account.available_balance_in_wei == 100 * ETHER
        assert AuditEvent.objects.filter(action="payment.given_up").count() == 1

    def test_two_at_once_give_it_up_once(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        payment = lose_nonce(desk, sent(desk))
        found = displaced.find_displaced(transaction_id=payment.pk, chain=desk.chain)
        say(desk, payment)
        monkeypatch.setattr(displaced, "find_displaced", lambda **_terms: found)
        with pytest.raises(NotDisplacedError, match="meanwhile"):
            say(desk, payment)
        assert AuditEvent.objects.filter(action="payment.given_up").count() == 1
        desk.assert_books_balance()

    def test_what_a_node_tells_in_that_very_moment_counts(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        payment = lose_nonce(desk, sent(desk))
        found = displaced.find_displaced(transaction_id=payment.pk, chain=desk.chain)
        Attempt.objects.create(
            wallet=desk.wallet, nonce=0, transaction=payment, purpose="stranger", value_in_wei=1, hash="0x" + "7" * 64,
            raw_transaction=b"", gas_limit=0, max_fee_per_gas_in_wei=0, max_priority_fee_per_gas_in_wei=0,
        )  # fmt: skip
        monkeypatch.setattr(displaced, "find_displaced", lambda **_terms: found)
        with pytest.raises(NotDisplacedError, match="meanwhile"):
            say(desk, payment)
        assert_nothing_given_up(desk, payment)

    def test_a_sweep_a_stranger_and_a_no_op_are_given_up_as_well(self, desk: Desk) -> None:
        second = desk.add_wallet()
        assert order_move(desk.wallet, second, ETHER, 10**16, NOW)
        desk.broadcast()
        send_elsewhere(desk, 1)
        desk.mine()
        desk.broadcast()
        desk.chain.reorg(1)
        desk.chain.use_up_nonce(desk.wallet.address)
        desk.chain.use_up_nonce(desk.wallet.address)
        go_on(desk, 2 * FINAL)
        for row in Transaction.objects.order_by("nonce"):
            assert row.may_be_displaced
            say(desk, row)
        assert sorted(Transaction.objects.values_list("kind", "status", "failure_reason")) == [
            ("stranger", "FAILED", "displaced"),
            ("sweep", "FAILED", "displaced"),
        ]
        assert not Journal.objects.filter(kind=JournalKind.SETTLEMENT).exists()
        desk.assert_books_balance()

    def test_a_no_op_at_a_nonce_that_was_passed_over_before(self, desk: Desk) -> None:
        Wallet.objects.update(next_nonce=1)
        PassedNonce.objects.create(wallet=desk.wallet, nonce=0)
        desk.accept()
        desk.broadcast()
        fill = lose_nonce(desk, Transaction.objects.get(kind="fill"))
        say(desk, fill)
        fill.refresh_from_db()
        assert (fill.status, PassedNonce.objects.count()) == ("FAILED", 1)

    def test_what_the_desk_has_made_up_for_it_takes_back(self, desk: Desk) -> None:
        """A refund that a reorg has undone after its owner had spent it, and then the nonce is lost."""
        payment = sent(desk, 60 * ETHER)
        stranger = send_elsewhere(desk, 0)
        desk.chain.mine(only=[stranger])
        go_on(desk, 2 * FINAL)
        payment.refresh_from_db()
        assert (payment.status, payment.transaction_hash) == ("FAILED", stranger)
        credit(desk.account, -90 * ETHER)
        desk.chain.reorg(len(desk.chain.blocks) - (payment.block_number or 0))
        desk.follow()
        assert Journal.objects.filter(kind=JournalKind.LOSS).count() == 1
        for hash_ in list(desk.chain.pool):
            desk.chain.drop(hash_)
        desk.chain.use_up_nonce(desk.wallet.address)
        go_on(desk, 2 * FINAL)
        say(desk, payment)
        assert Journal.objects.filter(kind=JournalKind.RECOVERY).count() == 1
        desk.account.refresh_from_db()
        assert desk.account.available_balance_in_wei == 10 * ETHER
        desk.assert_books_balance()

    @pytest.mark.django_db(transaction=True)
    def test_a_settlement_of_what_was_given_up_is_found_by_the_check_of_the_books(self, desk: Desk) -> None:
        payment = lose_nonce(desk, sent(desk))
        say(desk, payment)
        assert check_books().differences == []
        entries = [(desk.wallet.account_id, 1), (system_account(AccountKind.NETWORK_FEES).pk, -1)]
        post(now=NOW, journals=[JournalDraft(JournalKind.SETTLEMENT, str(payment.pk), entries)])
        assert [each.rule for each in check_books().differences] == ["the settlement of a FAILED payment"]

    def test_a_reorg_of_the_blocks_around_it_leaves_it_as_it_is(self, desk: Desk) -> None:
        payment = lose_nonce(desk, sent(desk))
        say(desk, payment)
        desk.chain.reorg(3)
        go_on(desk)
        assert (stages([payment]), desk.reconcile(payment)) == (["SETTLED"], "SETTLED")
        desk.assert_books_balance()


class TestRefused:
    def test_while_its_nonce_is_free(self, desk: Desk) -> None:
        payment = sent(desk)
        for _ in range(FINAL):
            desk.chain.mine(empty=True)
            desk.follow()
            desk.take_in()
        with pytest.raises(NotDisplacedError, match="nonce 0 is not used in any final block"):
            say(desk, payment)
        assert_nothing_given_up(desk, payment)

    def test_while_no_final_block_has_used_its_nonce(self, desk: Desk) -> None:
        go_on(desk, FINAL)
        payment = lose_nonce(desk, sent(desk), settings.CONFIRMATIONS - 2)
        with pytest.raises(NotDisplacedError, match="nonce 0 is not used in any final block"):
            say(desk, payment)
        assert_nothing_given_up(desk, payment)
        go_on(desk, 1)
        say(desk, payment)

    def test_when_one_of_its_attempts_has_a_receipt(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """The follower has not come to it yet, and the node's search finds nothing."""
        payment = sent(desk)
        desk.chain.mine()
        desk.chain.blocks_remembered = -1
        monkeypatch.setattr("transactions.services.follow.find_mined", lambda *_args: 0)
        go_on(desk, FINAL)
        with pytest.raises(NotDisplacedError, match="A block holds it"):
            say(desk, payment)
        assert_nothing_given_up(desk, payment)

    def test_when_a_node_can_tell_what_used_its_nonce(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        payment = sent(desk)
        desk.chain.mine(only=[send_elsewhere(desk, 0)])
        monkeypatch.setattr("transactions.services.follow.explain_used_nonces", lambda *_args: None)
        go_on(desk, FINAL)
        with pytest.raises(NotDisplacedError, match="A node can tell"):
            say(desk, payment)
        assert_nothing_given_up(desk, payment)

    @pytest.mark.parametrize("question", ["view", "nonces", "receipts", "transactions_of"])
    def test_when_a_question_has_no_answer(self, desk: Desk, monkeypatch: pytest.MonkeyPatch, question: str) -> None:
        payment = lose_nonce(desk, sent(desk))

        def fail(*_args: object, **_options: object) -> None:
            raise ChainUnavailableError("too busy")

        monkeypatch.setattr(desk.chain, question, fail)
        with pytest.raises(ChainUnavailableError):
            say(desk, payment)
        assert_nothing_given_up(desk, payment)

    def test_before_anything_is_signed_and_once_a_block_holds_it(self, desk: Desk) -> None:
        payment = desk.accept()
        for stage in ("ACCEPTED", "MINED"):
            assert stages([payment]) == [stage]
            with pytest.raises(NotDisplacedError, match="does not wait for a block"):
                say(desk, payment)
            go_on(desk, 1)
        with pytest.raises(TransactionNotFoundError):
            give_up(actor=make_user(), transaction_id=99_999, reason="x", now=NOW, chain=desk.chain)

    def test_without_a_reason(self, desk: Desk) -> None:
        payment = lose_nonce(desk, sent(desk))
        with pytest.raises(ReasonRequiredError):
            say(desk, payment, reason=" ")
        assert_nothing_given_up(desk, payment)
