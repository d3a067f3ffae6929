"""Settle: at exactly the depth that counts as final, once, and the books show it to the wei."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, connections
from django.db import transaction as db_transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django.fixtures import Settings

from accounts.exceptions import AlreadyPostedError
from accounts.ledger import JournalDraft, post, system_account
from accounts.models import Account, AccountKind, Entry, Hold, Journal, JournalKind
from tests.desk import ETHER, FEE, GWEI, NETWORK_FEE, NOW, RECIPIENT, Desk, make_account, make_address, stages
from transactions.models import Block, Transaction
from transactions.services import settle
from transactions.services.settle import settle_final


def balance(kind: AccountKind) -> int:
    return system_account(kind).current_balance_in_wei


def entries(payment: Transaction) -> dict[int, int]:
    rows = Entry.objects.filter(journal__kind="settlement", journal__source=str(payment.pk))
    return {row.account_id: row.amount_in_wei for row in rows}


class TestDepth:
    @pytest.mark.parametrize("confirmations", [1, 2, 10, 25])
    def test_the_block_itself_is_the_first_confirmation(
        self, desk: Desk, settings: Settings, confirmations: int
    ) -> None:
        settings.CONFIRMATIONS = confirmations
        payment = desk.accept()
        desk.broadcast()
        desk.mine(confirmations - 1)
        assert stages([payment]) == (["MINED"] if confirmations > 1 else ["BROADCAST"])
        desk.chain.mine()
        assert desk.follow() == 1
        assert stages([payment]) == ["SETTLED"]

    def test_not_at_nine_but_at_ten(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        desk.mine(9)
        payment.refresh_from_db()
        assert (payment.stage, payment.block_number, desk.chain.blocks[-1].header.number) == ("MINED", 1, 9)
        desk.mine()
        payment.refresh_from_db()
        assert (payment.stage, payment.status) == ("SETTLED", "SUCCESSFUL")

    def test_a_revert_waits_for_the_same_depth(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        desk.chain.reverting.add(RECIPIENT)
        desk.mine(9)
        payment.refresh_from_db()
        assert (payment.status, payment.succeeded_on_chain) == ("PENDING", False)
        assert Hold.objects.get().status == "held"
        desk.mine()
        payment.refresh_from_db()
        assert payment.status == "FAILED"

    def test_by_the_finalized_tag(self, desk: Desk, settings: Settings) -> None:
        settings.CHAIN_FINALITY = "finalized"
        desk.chain.finalized_depth = 3
        payment = desk.accept()
        desk.broadcast()
        desk.mine(3)
        assert stages([payment]) == ["MINED"], "block 1 is not final at head 3"
        desk.mine()
        assert stages([payment]) == ["SETTLED"]

    def test_the_finalized_tag_overrules_any_depth(self, desk: Desk, settings: Settings) -> None:
        settings.CHAIN_FINALITY = "finalized"
        desk.chain.finalized_depth = 30
        payment = desk.accept()
        desk.broadcast()
        desk.mine(25)
        assert stages([payment]) == ["MINED"]

    def test_a_node_without_the_tag_counts_by_depth(self, desk: Desk, settings: Settings) -> None:
        settings.CHAIN_FINALITY = "finalized"
        desk.chain.has_finalized = False
        payment = desk.accept()
        desk.broadcast()
        desk.mine(9)
        assert stages([payment]) == ["MINED"]
        desk.mine()
        assert stages([payment]) == ["SETTLED"]

    def test_a_block_that_is_not_the_canonical_one_settles_nothing(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        desk.mine()
        Block.objects.filter(number=1).update(hash="0x" + "aa" * 32)
        assert settle_final(100, NOW) == 0
        Block.objects.filter(number=1).delete()
        assert settle_final(100, NOW) == 0
        assert stages([payment]) == ["MINED"]
        assert not Journal.objects.filter(kind="settlement").exists()


class TestBooks:
    def test_success(self, desk: Desk) -> None:
        payment = desk.accept(ETHER)
        desk.broadcast()
        desk.mine(9)
        before = timezone.now()
        desk.mine()

        payment.refresh_from_db()
        assert (payment.status, payment.failure_reason, payment.wait_reason) == ("SUCCESSFUL", "", "")
        assert (payment.next_check_at, payment.needs_attention) == (None, False)
        assert payment.settled_at is not None
        assert before <= payment.settled_at <= timezone.now()
        desk.account.refresh_from_db()
        assert desk.account.current_balance_in_wei == desk.account.available_balance_in_wei == 99 * ETHER - FEE
        assert balance(AccountKind.FEE_INCOME) == FEE - NETWORK_FEE
        assert balance(AccountKind.NETWORK_FEES) == 0
        assert Account.objects.get(pk=desk.wallet.account_id).current_balance_in_wei == -999 * ETHER + NETWORK_FEE
        assert entries(payment) == {
            desk.account.pk: -(ETHER + FEE),
            desk.wallet.account_id: ETHER + NETWORK_FEE,
            system_account(AccountKind.FEE_INCOME).pk: FEE - NETWORK_FEE,
        }
        [journal] = Journal.objects.filter(kind="settlement")
        assert (journal.source, journal.description) == (str(payment.pk), "Payment successful")
        assert desk.chain.paid(RECIPIENT) == [ETHER]
        desk.assert_books_balance()

    def test_revert(self, desk: Desk) -> None:
        payment = desk.accept(ETHER)
        desk.broadcast()
        desk.chain.reverting.add(RECIPIENT)
        desk.run_to_the_end()

        payment.refresh_from_db()
        burned = 21_000 * 2 * GWEI
        assert (payment.status, payment.failure_reason) == ("FAILED", "reverted")
        assert payment.transaction_fee_blockchain_in_wei == burned
        desk.account.refresh_from_db()
        assert desk.account.current_balance_in_wei == desk.account.available_balance_in_wei == 100 * ETHER
        assert balance(AccountKind.FEE_INCOME) == 0
        assert balance(AccountKind.NETWORK_FEES) == -burned
        assert entries(payment) == {
            desk.wallet.account_id: burned,
            system_account(AccountKind.NETWORK_FEES).pk: -burned,
        }
        assert desk.chain.paid(RECIPIENT) == []
        desk.assert_books_balance()

    def test_a_revert_that_burned_nothing_posts_nothing(self, desk: Desk) -> None:
        desk.chain.base_fee_per_gas_in_wei = desk.chain.max_priority_fee_per_gas_in_wei = 0
        payment = desk.accept(ETHER)
        desk.broadcast()
        desk.chain.reverting.add(RECIPIENT)
        desk.run_to_the_end()
        payment.refresh_from_db()
        assert (payment.status, payment.transaction_fee_blockchain_in_wei) == ("FAILED", 0)
        assert not Journal.objects.filter(kind="settlement").exists()
        assert Hold.objects.get().status == "released"
        desk.assert_books_balance()

    def test_a_fee_that_the_network_took_whole_leaves_no_income(self, desk: Desk, settings: Settings) -> None:
        settings.PAYMENT_FEE_IN_WEI = 42_000 * GWEI
        desk.chain.base_fee_per_gas_in_wei = GWEI * 2 // 3
        payment = desk.accept(ETHER)
        desk.broadcast()
        desk.chain.base_fee_per_gas_in_wei = GWEI
        desk.run_to_the_end()
        payment.refresh_from_db()
        assert payment.status == "SUCCESSFUL"
        assert payment.transaction_fee_blockchain_in_wei == payment.transaction_fee_total_in_wei
        assert len(entries(payment)) == 2
        desk.assert_books_balance()

    def test_a_layer_1_fee_above_the_fee_paid_is_our_loss_and_not_the_users(self, desk: Desk) -> None:
        desk.chain.l1_fee_in_wei = 2 * FEE
        payment = desk.accept(ETHER)
        desk.run_to_the_end()
        payment.refresh_from_db()
        assert payment.status == "SUCCESSFUL"
        desk.account.refresh_from_db()
        assert desk.account.current_balance_in_wei == 99 * ETHER - FEE
        assert balance(AccountKind.FEE_INCOME) == FEE - 2 * FEE - NETWORK_FEE
        desk.assert_books_balance()

    def test_good_and_bad_ends_of_many_accounts_and_wallets_in_one_chunk(self, desk: Desk) -> None:
        refusing = make_address()
        accounts = [make_account(balance_in_wei=3 * ETHER) for _ in range(4)]
        desk.chain.set_balance(desk.wallet.address, 0)
        desk.add_wallet()
        desk.chain.set_balance(desk.wallet.address, 1_000 * ETHER)
        payments = [desk.accept(ETHER, account=account, to=make_address()) for account in accounts]
        failing = [desk.accept(ETHER // 2, account=account, to=refusing) for account in accounts]
        desk.broadcast()
        desk.chain.reverting.add(refusing)
        desk.run_to_the_end()
        assert {row.status for row in Transaction.objects.filter(pk__in=[one.pk for one in payments])} == {"SUCCESSFUL"}
        assert {row.status for row in Transaction.objects.filter(pk__in=[one.pk for one in failing])} == {"FAILED"}
        for account in accounts:
            account.refresh_from_db()
            assert account.current_balance_in_wei == account.available_balance_in_wei == 2 * ETHER - FEE
        desk.assert_paid_once(payments)
        desk.assert_books_balance()

    def test_a_frozen_account_is_settled_all_the_same(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        Account.objects.filter(pk=desk.account.pk).update(frozen_at=NOW, frozen_reason="x")
        desk.run_to_the_end()
        payment.refresh_from_db()
        assert payment.status == "SUCCESSFUL"
        desk.assert_books_balance()


class TestChunks:
    def test_more_than_one_chunk(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(settle, "CHUNK", 4)
        payments = desk.accept_many(11)
        desk.broadcast()
        desk.mine(9)
        desk.chain.mine()
        assert desk.follow() == 11
        assert stages(payments) == ["SETTLED"] * 11
        desk.assert_paid_once(payments)
        desk.assert_books_balance()

    def test_a_full_last_chunk(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(settle, "CHUNK", 4)
        payments = desk.accept_many(8)
        desk.broadcast()
        desk.mine(9)
        desk.chain.mine()
        assert desk.follow() == 8
        assert stages(payments) == ["SETTLED"] * 8

    def test_the_statements_do_not_grow_with_the_payments(self, desk: Desk) -> None:
        counts = []
        for size in (2, 30):
            desk.accept_many(size)
            desk.broadcast()
            head = desk.chain.mine()
            desk.follow()
            with CaptureQueriesContext(connection) as captured:
                assert settle_final(head.number, NOW) == size
            counts.append(len(captured))
        assert counts[0] == counts[1]

    def test_only_those_asked_for(self, desk: Desk) -> None:
        first, second = desk.accept_many(2)
        desk.broadcast()
        desk.mine()
        assert settle_final(1, NOW, only_ids=[second.pk]) == 1
        assert settle_final(1, NOW, only_ids=[]) == 0
        assert stages([first, second]) == ["MINED", "SETTLED"]

    def test_nothing_final_is_nothing_done(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        desk.mine()
        assert settle_final(0, NOW) == 0
        assert settle_final(-9, NOW) == 0
        assert stages([payment]) == ["MINED"]


class TestOnce:
    def test_the_ledger_refuses_a_second_settlement(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.run_to_the_end()
        again = JournalDraft(JournalKind.SETTLEMENT, str(payment.pk), list(entries(payment).items()))
        with pytest.raises(AlreadyPostedError):
            post(now=NOW, journals=[again])
        desk.assert_books_balance()

    @pytest.mark.django_db(transaction=True)
    def test_many_who_settle_at_once_settle_each_payment_once(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(settle, "CHUNK", 3)
        payments = desk.accept_many(12)
        desk.broadcast()
        desk.mine()
        barrier = threading.Barrier(4)

        def run(_: int) -> int:
            barrier.wait(20)
            try:
                return settle_final(1, NOW)
            finally:
                connections.close_all()

        with ThreadPoolExecutor(4) as threads:
            settled = sum(threads.map(run, range(4)))
        settled += settle_final(1, NOW)
        assert settled == 12
        assert stages(payments) == ["SETTLED"] * 12
        desk.chain.mine(10)
        desk.assert_paid_once(payments)
        desk.assert_books_balance()

    @pytest.mark.django_db(transaction=True)
    def test_a_row_that_another_holds_is_left_to_it(self, desk: Desk) -> None:
        first, second = desk.accept_many(2)
        desk.broadcast()
        desk.mine()

        def settle_elsewhere() -> int:
            try:
                return settle_final(1, NOW)
            finally:
                connections.close_all()

        with db_transaction.atomic(), connection.cursor() as cursor, ThreadPoolExecutor(1) as thread:
            cursor.execute("SELECT 1 FROM transactions_transaction WHERE id = %s FOR UPDATE", [first.pk])
            assert thread.submit(settle_elsewhere).result(timeout=20) == 1
        assert stages([first, second]) == ["MINED", "SETTLED"]
        assert settle_final(1, NOW) == 1
        desk.assert_books_balance()
