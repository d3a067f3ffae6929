"""Sweeps: what came to deposit addresses is moved to a hot wallet; and any move between wallets of the desk."""

from pathlib import Path

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from accounts.keys import forget_signers
from accounts.keys.deposits import SEED_NAME
from accounts.models import Account, AccountKind, Journal
from tests.desk import (
    ETHER,
    GWEI,
    NETWORK_FEE,
    NOW,
    Desk,
    crash_at,
    dies,
    make_account,
    make_officer,
    write_deposit_seed,
)
from tests.transactions.test_services_verify import behind_the_desks_back
from transactions.chain import ChainUnavailableError
from transactions.models import Attempt, Transaction, Wallet
from transactions.services.cancel import cancel_transaction
from transactions.services.refuse import refuse_unsigned
from transactions.services.sweep import order_move, sweep_deposits
from transactions.services.verify import check_books
from transactions.services.wallet_care import drain, pause, resume
from transactions.states import FailureReason, Kind, Stage, Status

FEE_MAX = 4 * 21_000 * 3 * GWEI
"""Four times what a plain transfer would cost now: twice the base fee, and the tip."""


@pytest.fixture(autouse=True)
def four_confirmations(settings: Settings) -> None:
    settings.CONFIRMATIONS = 4
    settings.SWEEP_MIN_IN_WEI = ETHER // 10


def balance(account: Account) -> int:
    account.refresh_from_db()
    return account.current_balance_in_wei


def deposited(desk: Desk, amount_in_wei: int = 5 * ETHER, account: Account | None = None) -> Wallet:
    """Return a deposit address to which a deposit came that was credited."""
    wallet = desk.add_deposit_address(account)
    desk.pay_in(wallet.address, amount_in_wei)
    desk.mine()
    desk.take_in()
    desk.mine(3)
    return wallet


def sweep(desk: Desk) -> list[Transaction]:
    return list(Transaction.objects.filter(pk__in=sweep_deposits(NOW, chain=desk.chain)).order_by("pk"))


def forget_all_sent(wallet: Wallet) -> None:
    """Leave the database as a backup from before the first transaction, which was this wallet's, has it."""
    with behind_the_desks_back() as cursor:
        cursor.execute("DELETE FROM transactions_attempt")
        cursor.execute("DELETE FROM transactions_transaction")
        cursor.execute("UPDATE transactions_wallet SET next_nonce = 0 WHERE id = %s", [wallet.pk])


def on_chain(desk: Desk, wallet: Wallet) -> int:
    return desk.chain.balances([wallet.address], block_number=None)[wallet.address]


class TestOrder:
    def test_all_but_what_the_fee_may_take(self, desk: Desk) -> None:
        wallet = deposited(desk)
        [row] = sweep(desk)
        assert (row.kind, row.stage, row.wallet) == (Kind.SWEEP, Stage.ACCEPTED, wallet)
        assert row.to_public_address == desk.wallet.address
        assert (row.transaction_amount_in_wei, row.transaction_fee_total_in_wei) == (5 * ETHER - FEE_MAX, FEE_MAX)

    def test_to_the_hot_wallet_that_holds_least(self, desk: Desk) -> None:
        poor = desk.add_wallet(balance_in_wei=ETHER)
        deposited(desk)
        assert [row.to_public_address for row in sweep(desk)] == [poor.address]

    def test_never_to_one_that_may_not_pay(self, desk: Desk) -> None:
        deposited(desk)
        pause(actor=make_officer(), wallet_id=desk.wallet.pk, reason="x", now=NOW)
        assert sweep(desk) == []

    def test_one_at_a_time(self, desk: Desk) -> None:
        deposited(desk)
        assert len(sweep(desk)) == 1
        assert sweep(desk) == []
        desk.broadcast()
        assert sweep(desk) == []

    def test_not_what_is_too_little(self, desk: Desk, settings: Settings) -> None:
        deposited(desk, ETHER // 10 + FEE_MAX - 1)
        assert sweep(desk) == []

    def test_just_enough(self, desk: Desk, settings: Settings) -> None:
        deposited(desk, ETHER // 10 + FEE_MAX)
        [row] = sweep(desk)
        assert row.transaction_amount_in_wei == ETHER // 10

    def test_not_what_is_not_final(self, desk: Desk) -> None:
        wallet = deposited(desk)
        desk.pay_in(wallet.address, 9 * ETHER)
        desk.mine()
        desk.take_in()
        [row] = sweep(desk)
        assert row.transaction_amount_in_wei == 5 * ETHER - FEE_MAX

    def test_nor_more_than_there_is(self, desk: Desk) -> None:
        wallet = deposited(desk)
        desk.chain.set_balance(wallet.address, 3 * ETHER)
        [row] = sweep(desk)
        assert row.transaction_amount_in_wei == 3 * ETHER - FEE_MAX

    def test_the_biggest_first_and_each_for_itself(self, desk: Desk) -> None:
        small, big = deposited(desk, 2 * ETHER), deposited(desk, 7 * ETHER, make_account())
        assert [row.wallet for row in sweep(desk)] == [big, small]

    def test_nothing_without_a_node(self, desk: Desk) -> None:
        deposited(desk)
        with desk.chain.outage(), pytest.raises(ChainUnavailableError):
            sweep(desk)
        assert not Transaction.objects.exists()


class TestLife:
    def test_it_is_signed_sent_settled_and_both_wallets_are_booked(self, desk: Desk) -> None:
        wallet = deposited(desk)
        [row] = sweep(desk)
        assert desk.broadcast() == 1
        desk.run_to_the_end()
        row.refresh_from_db()
        moved = 5 * ETHER - FEE_MAX
        assert (row.stage, row.status, row.failure_reason) == (Stage.SETTLED, Status.SUCCESSFUL, "")
        assert on_chain(desk, desk.wallet) == 1_000 * ETHER + moved
        assert balance(desk.wallet.account) == -(1_000 * ETHER + moved)
        assert balance(wallet.account) == -on_chain(desk, wallet) == -(FEE_MAX - NETWORK_FEE)
        assert balance(Account.objects.get(kind=AccountKind.NETWORK_FEES)) == -NETWORK_FEE
        assert balance(desk.account) == 105 * ETHER, "whose deposit it was is not concerned"
        settlement = Journal.objects.get(kind="settlement")
        arrival = Journal.objects.get(kind="wallet_funding", source=row.transaction_hash)
        funding = Account.objects.get(kind=AccountKind.EXTERNAL_FUNDING)
        assert settlement.entries.get(account=funding).amount_in_wei == -moved
        assert arrival.entries.get(account=funding).amount_in_wei == moved
        desk.assert_books_balance()
        assert check_books().is_clean

    def test_payments_and_sweeps_leave_in_one_batch(self, desk: Desk) -> None:
        wallet = deposited(desk)
        payment = desk.accept()
        [row] = sweep(desk)
        assert desk.broadcast() == 2
        for each in (payment, row):
            each.refresh_from_db()
        assert (payment.wallet, row.wallet) == (desk.wallet, wallet)
        desk.run_to_the_end()
        desk.assert_books_balance()

    def test_a_payment_never_leaves_a_deposit_address(self, desk: Desk) -> None:
        deposited(desk, 5_000 * ETHER)
        sweep(desk)
        payment = desk.accept()
        desk.broadcast()
        payment.refresh_from_db()
        assert payment.wallet == desk.wallet

    def test_a_crash_after_the_commit_sends_the_same_bytes(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        deposited(desk)
        sweep(desk)
        with monkeypatch.context() as patch:
            fired = crash_at(patch, "broadcast.saved")
            with dies():
                desk.broadcast()
            assert fired()
        desk.broadcast()
        assert Attempt.objects.count() == 1
        desk.run_to_the_end()
        desk.assert_books_balance()

    def test_it_is_replaced_at_a_higher_fee_within_what_was_kept_back(self, desk: Desk, settings: Settings) -> None:
        settings.REPLACE_AFTER_BLOCKS = 3
        deposited(desk)
        [row] = sweep(desk)
        desk.broadcast()
        for _ in range(3):
            desk.chain.mine(empty=True)
            desk.follow()
        desk.broadcast()
        first, second = Attempt.objects.order_by("id")
        assert (first.nonce, second.nonce, second.purpose) == (0, 0, "payment")
        assert second.gas_limit * second.max_fee_per_gas_in_wei <= FEE_MAX
        desk.run_to_the_end()
        row.refresh_from_db()
        assert row.status == Status.SUCCESSFUL
        desk.assert_books_balance()

    def test_a_deep_reorg_reverses_it_and_it_is_settled_again(self, desk: Desk) -> None:
        deposited(desk)
        [row] = sweep(desk)
        desk.broadcast()
        desk.run_to_the_end()
        row.refresh_from_db()
        assert row.block_number is not None
        desk.chain.reorg(len(desk.chain.blocks) - row.block_number)
        desk.follow()
        row.refresh_from_db()
        assert (row.stage, row.reversals) == (Stage.BROADCAST, 1)
        assert balance(desk.wallet.account) == -1_000 * ETHER
        desk.run_to_the_end()
        row.refresh_from_db()
        assert row.status == Status.SUCCESSFUL
        desk.assert_books_balance()

    def test_a_restored_database_that_knows_nothing_of_it_books_it_once(self, desk: Desk) -> None:
        wallet = deposited(desk)
        [row] = sweep(desk)
        desk.broadcast()
        forget_all_sent(wallet)
        desk.mine(2)
        desk.run_to_the_end()
        assert sweep(desk) == []
        for _ in range(2):
            desk.broadcast()
        desk.run_to_the_end()
        stranger = Transaction.objects.get()
        assert (stranger.kind, stranger.to_public_address) == (Kind.STRANGER, row.to_public_address)
        for each in (desk.wallet, wallet):
            assert -balance(each.account) == on_chain(desk, each)
        desk.assert_books_balance()
        assert check_books().is_clean

    def test_a_restored_database_takes_none_for_one_of_another_address(self, desk: Desk) -> None:
        wallets = [deposited(desk), deposited(desk, account=make_account())]
        rows = sweep(desk)
        assert len({(row.to_public_address, row.transaction_amount_in_wei) for row in rows}) == 1
        desk.broadcast()
        with behind_the_desks_back() as cursor:
            cursor.execute("DELETE FROM transactions_attempt")
            cursor.execute(
                "UPDATE transactions_transaction SET stage = 'ACCEPTED', nonce = NULL, transaction_hash = NULL, "
                "signed_at = NULL, broadcast_at = NULL"
            )
            cursor.execute("UPDATE transactions_wallet SET next_nonce = 0 WHERE role = 'deposit'")
        desk.mine()
        for _ in wallets:
            desk.broadcast()
        for row in rows:
            wallet = Wallet.objects.get(pk=row.wallet_id or 0)
            assert f"are to pay: #{row.pk}. Tell" in wallet.paused_reason
            actor, now = make_officer(), timezone.now()
            desk.identify(actor=actor, wallet_id=wallet.pk, payment_id=row.pk, reason="Looked", now=now)
            resume(actor=actor, wallet_id=wallet.pk, reason="Looked", now=now)
        desk.run_to_the_end()
        assert [row.kind for row in Transaction.objects.filter(status=Status.SUCCESSFUL)] == [Kind.SWEEP] * 2
        desk.assert_books_balance()

    def test_refused_before_it_was_signed_it_holds_nothing_to_give_back(self, desk: Desk) -> None:
        deposited(desk)
        [row] = sweep(desk)
        assert refuse_unsigned({row.pk: "x"}, FailureReason.REJECTED, NOW) == [row.pk]
        desk.assert_books_balance()
        assert len(sweep(desk)) == 1, "it is ordered anew"

    def test_its_key_missing_it_waits_and_says_so_and_payments_go_on(self, desk: Desk, settings: Settings) -> None:
        deposited(desk)
        [row] = sweep(desk)
        payment = desk.accept()
        forget_signers()
        seed = settings.KEYSTORE_DIR / SEED_NAME
        seed.rename(seed.with_suffix(".away"))
        try:
            assert desk.broadcast() == 1
        finally:
            seed.with_suffix(".away").rename(seed)
        row.refresh_from_db()
        payment.refresh_from_db()
        assert (row.stage, row.wait_reason, payment.stage) == (Stage.ACCEPTED, "key", Stage.BROADCAST)
        assert desk.broadcast() == 1

    def test_another_seed_signs_nothing(self, desk: Desk, settings: Settings, tmp_path: Path) -> None:
        deposited(desk)
        [row] = sweep(desk)
        settings.KEYSTORE_DIR = tmp_path
        write_deposit_seed(b"\x07" * 32)
        assert desk.broadcast() == 0
        row.refresh_from_db()
        assert row.stage == Stage.ACCEPTED
        assert not Attempt.objects.exists()


class TestMove:
    def move(self, desk: Desk) -> tuple[Wallet, Wallet, Transaction]:
        """Order a move of all that a draining wallet has."""
        new = desk.add_wallet(balance_in_wei=ETHER)
        drain(actor=make_officer(), wallet_id=desk.wallet.pk, reason="x", now=NOW)
        row_id = order_move(desk.wallet, new, 1_000 * ETHER - FEE_MAX, FEE_MAX, NOW)
        assert row_id is not None
        return desk.wallet, new, Transaction.objects.get(pk=row_id)

    def test_it_leaves_a_wallet_that_is_draining_and_payments_do_not(self, desk: Desk) -> None:
        old, new, row = self.move(desk)
        payment = desk.accept(ETHER // 2)
        assert desk.broadcast() == 2
        for each in (payment, row):
            each.refresh_from_db()
        assert (row.wallet, payment.wallet) == (old, new)
        desk.run_to_the_end()
        assert on_chain(desk, old) == FEE_MAX - NETWORK_FEE
        desk.assert_books_balance()

    def test_it_leaves_even_when_no_wallet_takes_payments(self, desk: Desk) -> None:
        _, new, row = self.move(desk)
        pause(actor=make_officer(), wallet_id=new.pk, reason="x", now=NOW)
        payment = desk.accept(ETHER // 2)
        assert desk.broadcast() == 1
        for each in (payment, row):
            each.refresh_from_db()
        assert (row.stage, payment.stage, payment.wait_reason) == (Stage.BROADCAST, Stage.ACCEPTED, "wallet")

    def test_not_while_anything_else_of_the_wallet_is_under_way(self, desk: Desk) -> None:
        desk.accept()
        desk.broadcast()
        assert order_move(desk.wallet, desk.add_wallet(), ETHER, FEE_MAX, NOW) is None

    def test_staff_cancel_it_at_once_before_it_is_signed(self, desk: Desk) -> None:
        _, _, row = self.move(desk)
        row = cancel_transaction(actor=make_officer(), transaction_id=row.pk, now=NOW)
        assert (row.stage, row.failure_reason) == (Stage.SETTLED, "cancelled")
        desk.assert_books_balance()

    def test_and_by_a_transaction_that_moves_nothing_afterwards(self, desk: Desk) -> None:
        old, _, row = self.move(desk)
        desk.broadcast()
        cancel_transaction(actor=make_officer(), transaction_id=row.pk, now=NOW)
        desk.broadcast()
        desk.mine(4)
        row.refresh_from_db()
        assert (row.stage, row.status, row.failure_reason) == (Stage.SETTLED, Status.FAILED, "cancelled")
        assert 999 * ETHER < on_chain(desk, old) < 1_000 * ETHER
        desk.assert_books_balance()
