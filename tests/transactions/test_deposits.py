"""Deposits: credited once their block is final, taken back when a reorg undoes it, each time once."""

import threading

import pytest
from django.db import connection
from pytest_django.fixtures import Settings

from accounts.exceptions import AccountNotFoundError
from accounts.keys import KeyNotFoundError
from accounts.keys.deposits import XPUB_NAME
from accounts.ledger import JournalDraft, post, system_account
from accounts.models import Account, AccountKind, Alert, Journal, JournalKind
from tests.desk import ETHER, NOW, Desk, credit, freeze, make_account, write_deposit_seed
from tests.transactions.test_services_verify import behind_the_desks_back
from transactions.models import Block, Deposit, Wallet
from transactions.services.deposit_addresses import deposit_address_of
from transactions.services.deposits import credit_final
from transactions.services.wallets import wallets_to_compare


@pytest.fixture(autouse=True)
def four_confirmations(settings: Settings) -> None:
    settings.CONFIRMATIONS = 4


def balance(account: Account) -> int:
    account.refresh_from_db()
    return account.current_balance_in_wei


def journals() -> list[tuple[str, str]]:
    kinds = Journal.objects.filter(
        kind__in=["deposit", "deposit_reversal", "loss", "recovery"], source__startswith="0x"
    )
    return list(kinds.order_by("id").values_list("kind", "source"))


def deposited(desk: Desk, amount_in_wei: int = ETHER, *, to: str | None = None) -> Deposit:
    """Let a deposit come, and the desk take it in."""
    transaction_hash = desk.pay_in(to or desk.add_deposit_address().address, amount_in_wei)
    desk.mine()
    desk.take_in()
    return Deposit.objects.get(transaction_hash=transaction_hash)


def undo(desk: Desk, deposit: Deposit, *, back_to_pool: bool = False) -> None:
    """Let the chain lose the deposit's block, and the desk see it."""
    deposit.refresh_from_db()
    assert deposit.block_number is not None
    desk.chain.reorg(len(desk.chain.blocks) - deposit.block_number, back_to_pool=back_to_pool)
    desk.follow()


class TestAddress:
    def test_it_is_made_once_and_belongs_to_the_account(self, desk: Desk) -> None:
        wallet = desk.add_deposit_address()
        assert (wallet.role, wallet.credits) == ("deposit", desk.account)
        assert wallet.account.kind == AccountKind.DEPOSIT_ADDRESS
        assert deposit_address_of(desk.account.pk) == wallet
        assert Wallet.objects.filter(role="deposit").count() == 1

    def test_another_account_has_another(self, desk: Desk) -> None:
        assert desk.add_deposit_address().address != desk.add_deposit_address(make_account()).address

    def test_it_follows_from_seed_and_account_alone(self, desk: Desk) -> None:
        address = desk.add_deposit_address().address
        Wallet.objects.filter(address=address).delete()
        assert deposit_address_of(desk.account.pk).address == address

    @pytest.mark.parametrize("which", ["nobody's", "the desk's own"])
    def test_only_users_accounts_have_one(self, desk: Desk, which: str) -> None:
        write_deposit_seed()
        with pytest.raises(AccountNotFoundError):
            deposit_address_of(10**9 if which == "nobody's" else desk.wallet.account_id)
        assert not Wallet.objects.filter(role="deposit").exists()

    def test_without_a_seed_there_is_none(self, desk: Desk, settings: Settings, tmp_path: object) -> None:
        settings.KEYSTORE_DIR = tmp_path
        with pytest.raises(KeyNotFoundError, match=XPUB_NAME):
            deposit_address_of(desk.account.pk)
        assert not Wallet.objects.filter(role="deposit").exists()

    @pytest.mark.django_db(transaction=True)
    def test_asked_for_at_once_it_is_still_one(self, desk: Desk) -> None:
        write_deposit_seed()
        found: list[int] = []

        def ask() -> None:
            try:
                found.append(deposit_address_of(desk.account.pk).pk)
            finally:
                connection.close()

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 4
        assert len(set(found)) == 1


class TestCredit:
    def test_it_is_credited_when_its_block_is_final_and_not_a_block_earlier(self, desk: Desk) -> None:
        deposit = deposited(desk, 3 * ETHER)
        desk.mine(2)
        assert balance(desk.account) == 100 * ETHER
        desk.mine()
        deposit.refresh_from_db()
        assert (deposit.status, deposit.credits) == ("credited", 1)
        assert deposit.credited_at is not None
        assert balance(desk.account) == 103 * ETHER
        assert desk.account.available_balance_in_wei == 103 * ETHER
        assert balance(deposit.wallet.account) == -3 * ETHER
        assert journals() == [("deposit", deposit.transaction_hash)]
        desk.assert_books_balance()

    def test_once_however_often_one_looks(self, desk: Desk) -> None:
        deposited(desk)
        desk.mine(3)
        for _ in range(3):
            desk.follow()
            assert credit_final(10**9, NOW) == 0
        assert balance(desk.account) == 101 * ETHER

    def test_taken_in_again_it_is_not_credited_again(self, desk: Desk) -> None:
        deposited(desk)
        desk.mine(3)
        Block.objects.update(intake_from=None, taken_in_at=None)
        assert desk.take_in() == 1
        desk.mine()
        assert balance(desk.account) == 101 * ETHER
        assert Deposit.objects.count() == 1

    def test_taken_in_late_it_is_credited_at_once(self, desk: Desk) -> None:
        desk.pay_in(desk.add_deposit_address().address)
        desk.mine(6)
        desk.take_in()
        desk.follow()
        assert balance(desk.account) == 101 * ETHER

    def test_a_frozen_account_still_gets_its_money(self, desk: Desk) -> None:
        freeze(desk.account)
        deposited(desk)
        desk.mine(3)
        assert balance(desk.account) == 101 * ETHER

    def test_what_comes_to_a_hot_wallet_is_the_desks_own(self, desk: Desk) -> None:
        deposit = deposited(desk, 7 * ETHER, to=desk.wallet.address)
        desk.mine(3)
        journal = Journal.objects.get(source=deposit.transaction_hash)
        assert journal.kind == "wallet_funding"
        assert balance(desk.wallet.account) == -1_007 * ETHER
        assert balance(desk.account) == 100 * ETHER
        desk.assert_books_balance()

    def test_one_whose_block_is_no_longer_the_chains_is_not(self, desk: Desk) -> None:
        deposit = deposited(desk)
        Block.objects.filter(hash=deposit.block_hash).update(hash="0x" + "ab" * 32)
        assert credit_final(10**9, NOW) == 0
        assert balance(desk.account) == 100 * ETHER

    def test_addresses_that_nothing_leaves_cost_no_question(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        wallet = desk.add_deposit_address()
        asked: list[str] = []
        view = desk.chain.view

        def look(addresses: list[str], *, with_finalized: bool) -> object:
            asked.extend(addresses)
            return view(addresses, with_finalized=with_finalized)

        monkeypatch.setattr(desk.chain, "view", look)
        desk.mine(2)
        desk.broadcast()
        assert set(asked) == {desk.wallet.address}
        assert wallet not in wallets_to_compare()

    def test_those_whose_blocks_have_left_do_not_hold_up_the_rest(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("transactions.services.deposits.CHUNK", 2)
        address = desk.add_deposit_address().address
        for wei in (1, 2, 4):
            desk.pay_in(address, wei)
            desk.mine()
        assert desk.take_in() == 3
        first, second, _ = Deposit.objects.order_by("pk")
        Deposit.objects.filter(pk__in=[first.pk, second.pk]).update(block_hash="0x" + "ab" * 32)
        assert credit_final(10**9, NOW) == 1
        assert balance(desk.account) == 100 * ETHER + 4

    def test_one_whose_books_are_broken_does_not_hold_up_the_rest(self, desk: Desk) -> None:
        address = desk.add_deposit_address().address
        for wei in (1, 2, 4):
            desk.pay_in(address, wei)
        desk.mine()
        assert desk.take_in() == 3
        broken = Deposit.objects.get(amount_in_wei=2)
        in_the_way = Journal.objects.create(kind="deposit", source=broken.transaction_hash, created_at=NOW)
        desk.mine(3)
        assert balance(desk.account) == 100 * ETHER + 5
        assert sorted(Deposit.objects.values_list("amount_in_wei", "status", "credits")) == [
            (1, "credited", 1), (2, "waiting", 0), (4, "credited", 1),
        ]  # fmt: skip
        alert = Alert.objects.get()
        assert (alert.kind, alert.subject, alert.is_open) == ("books_differ", "deposits", True)
        assert alert.message == f"The ledger refuses these deposits, the log says why: #{broken.pk}."
        with behind_the_desks_back() as cursor:
            cursor.execute("DELETE FROM accounts_journal WHERE id = %s", [in_the_way.pk])
        desk.mine()
        assert balance(desk.account) == 100 * ETHER + 7
        alert.refresh_from_db()
        assert not alert.is_open

    def test_many_at_once(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("transactions.services.deposits.CHUNK", 2)
        address = desk.add_deposit_address().address
        for wei in range(1, 6):
            desk.pay_in(address, wei)
        desk.mine()
        assert desk.take_in() == 5
        desk.mine(3)
        assert balance(desk.account) == 100 * ETHER + 15
        desk.assert_books_balance()


class TestReorg:
    def test_one_that_was_not_credited_just_goes(self, desk: Desk) -> None:
        deposit = deposited(desk)
        undo(desk, deposit)
        desk.mine(6)
        deposit.refresh_from_db()
        assert (deposit.status, deposit.block_number, deposit.block_hash) == ("gone", None, "")
        assert balance(desk.account) == 100 * ETHER
        assert journals() == []
        desk.assert_books_balance()

    def test_a_credited_one_is_taken_back_and_staff_are_told(self, desk: Desk) -> None:
        deposit = deposited(desk)
        desk.mine(3)
        undo(desk, deposit)
        deposit.refresh_from_db()
        assert (deposit.status, deposit.credits, deposit.credited_at) == ("gone", 1, None)
        assert balance(desk.account) == 100 * ETHER
        tx = deposit.transaction_hash
        assert journals() == [("deposit", tx), ("deposit_reversal", tx)]
        assert Alert.objects.filter(kind="deep_reorg").count() == 1
        desk.assert_books_balance()

    def test_it_comes_again_and_is_credited_again(self, desk: Desk) -> None:
        deposit = deposited(desk)
        desk.mine(3)
        undo(desk, deposit, back_to_pool=True)
        desk.mine()
        desk.take_in()
        desk.mine(3)
        deposit.refresh_from_db()
        assert (deposit.status, deposit.credits) == ("credited", 2)
        assert balance(desk.account) == 101 * ETHER
        tx = deposit.transaction_hash
        assert journals() == [("deposit", tx), ("deposit_reversal", tx), ("deposit", f"{tx}.2")]
        desk.assert_books_balance()

    def test_what_was_spent_the_desk_makes_up_for_until_it_comes_again(self, desk: Desk) -> None:
        deposit = deposited(desk, 5 * ETHER)
        desk.mine(3)
        credit(desk.account, -103 * ETHER)
        undo(desk, deposit, back_to_pool=True)
        losses = Account.objects.get(kind=AccountKind.LOSSES)
        assert (balance(desk.account), balance(losses)) == (0, -3 * ETHER)
        assert Alert.objects.filter(kind="loss").count() == 1
        desk.mine()
        desk.take_in()
        desk.mine(3)
        assert (balance(desk.account), balance(losses)) == (2 * ETHER, 0)
        tx = deposit.transaction_hash
        assert journals() == [
            ("deposit", tx), ("loss", tx), ("deposit_reversal", tx), ("deposit", f"{tx}.2"), ("recovery", tx),
        ]  # fmt: skip

    def test_what_was_spent_twice_is_made_up_for_and_recovered_twice(self, desk: Desk) -> None:
        deposit = deposited(desk, 5 * ETHER)
        desk.mine(3)
        credit(desk.account, -103 * ETHER)
        losses = system_account(AccountKind.LOSSES)
        for lacking in (3 * ETHER, 4 * ETHER):
            undo(desk, deposit, back_to_pool=True)
            assert (balance(desk.account), balance(losses)) == (0, -lacking)
            desk.mine()
            desk.take_in()
            desk.mine(3)
            assert (balance(desk.account), balance(losses)) == (5 * ETHER - lacking, 0)
            desk.assert_books_balance()
            if lacking == 3 * ETHER:
                credit(desk.account, -ETHER)
        tx = deposit.transaction_hash
        assert [source for kind, source in journals() if kind == "recovery"] == [tx, f"{tx}.2"]

    def test_a_loss_that_an_earlier_credit_left_is_recovered(self, desk: Desk) -> None:
        deposit = deposited(desk, 5 * ETHER)
        for _ in range(2):
            desk.mine(3)
            undo(desk, deposit, back_to_pool=True)
            desk.mine()
            desk.take_in()
        losses = system_account(AccountKind.LOSSES)
        entries = [(desk.account.pk, ETHER), (losses.pk, -ETHER)]
        post(now=NOW, journals=[JournalDraft(JournalKind.LOSS, deposit.transaction_hash, entries)])
        desk.mine(3)
        assert (balance(desk.account), balance(losses)) == (105 * ETHER, 0)
        desk.assert_books_balance()

    def test_what_is_held_is_not_touched(self, desk: Desk) -> None:
        deposit = deposited(desk, 5 * ETHER)
        desk.mine(3)
        desk.accept(104 * ETHER)
        undo(desk, deposit)
        desk.account.refresh_from_db()
        assert desk.account.available_balance_in_wei == 0
        desk.assert_books_balance()

    def test_a_funding_of_a_hot_wallet_is_taken_back_too(self, desk: Desk) -> None:
        deposit = deposited(desk, 7 * ETHER, to=desk.wallet.address)
        desk.mine(3)
        undo(desk, deposit)
        assert balance(desk.wallet.account) == -1_000 * ETHER
        desk.assert_books_balance()
