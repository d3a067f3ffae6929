"""Ether that the books have and the chain has not: booked by staff as the desk's loss, once, and no more than that."""

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Lock
from typing import Any

import pytest
from django.db import connections
from pytest_django.fixtures import Settings

from accounts.exceptions import AccountsError, AlreadyPostedError, BadAmountError, ReasonRequiredError
from accounts.keys import load_deposit_signer, sign_transfers
from accounts.keys.transfers import UnsignedTransfer
from accounts.models import Account, AccountKind, Alert, Journal
from tests.chain.harness import fresh_signer
from tests.desk import ETHER, GWEI, NETWORK_FEE, NOW, Desk, make_officer
from tests.staff import events
from tests.transactions.test_found import balance, book, come
from tests.transactions.test_nonces import go_on, send_elsewhere
from transactions.chain import ChainUnavailableError
from transactions.chain.types import BlockHeader
from transactions.exceptions import MoreThanFoundError, MoreThanMissingError, TransactionsError, WalletStateError
from transactions.models import Block, Deposit, Transaction, Wallet
from transactions.services import found
from transactions.services.blocks import return_to_broadcast
from transactions.services.compare import read_booked
from transactions.services.found import book_missing, look_at
from transactions.services.holdings import read_holding
from transactions.services.reserves import prove_reserves
from transactions.services.reserves_reports import keep_report
from transactions.services.sweep import sweep_deposits
from transactions.services.wallets import register_wallet

REASON = "Gone with the reorg of yesterday"


@pytest.fixture(autouse=True)
def four_confirmations(settings: Settings) -> None:
    settings.CONFIRMATIONS = 4
    settings.SWEEP_MIN_IN_WEI = ETHER // 10


def lose_ether(desk: Desk) -> Wallet:
    """Return the account's deposit address, with eight ether that came and five that are left of them."""
    wallet = desk.add_deposit_address()
    desk.pay_in(wallet.address, 8 * ETHER)
    desk.mine()
    desk.take_in()
    desk.mine(4)
    come(desk, wallet, -3 * ETHER)
    return wallet


@pytest.fixture
def address(desk: Desk) -> Wallet:
    return lose_ether(desk)


def write_off(desk: Desk, wallet: Wallet, amount_in_wei: int = 3 * ETHER, reason: str = REASON, **terms: Any) -> int:
    """Book what is missing; return the journal's id."""
    return book(desk, wallet, amount_in_wei, reason=reason, how=book_missing, **terms)


def record(header: BlockHeader) -> None:
    """Record a block, and that it is searched for deposits, as if the follower had only walked there."""
    Block.objects.create(
        number=header.number,
        hash=header.hash,
        parent_hash=header.parent_hash,
        timestamp=header.timestamp,
        taken_in_at=NOW,
    )


def missing_at(desk: Desk, wallet: Wallet) -> int:
    return look_at(wallet.pk, chain=desk.chain).missing_in_wei


def funding() -> Account:
    return Account.objects.get(kind=AccountKind.EXTERNAL_FUNDING)


def assert_nothing_booked() -> None:
    assert not Journal.objects.filter(kind="missing").exists()
    assert events("wallet.missing_booked") == []


class TestBooked:
    def test_at_a_hot_wallet_against_external_funding(self, desk: Desk) -> None:
        come(desk, desk.wallet, -3 * ETHER)
        journal = Journal.objects.get(pk=write_off(desk, desk.wallet))
        assert (journal.kind, journal.source) == ("missing", "form 1")
        assert (journal.description, journal.created_by) == ("Missing on the chain, booked by staff", make_officer())
        assert set(journal.entries.values_list("account", "amount_in_wei")) == {
            (funding().pk, -3 * ETHER),
            (desk.wallet.account_id, 3 * ETHER),
        }
        desk.assert_books_balance()

    def test_at_a_deposit_address_the_account_keeps_its_credit(self, desk: Desk, address: Wallet) -> None:
        journal = Journal.objects.get(pk=write_off(desk, address))
        assert set(journal.entries.values_list("account", "amount_in_wei")) == {
            (funding().pk, -3 * ETHER),
            (address.account_id, 3 * ETHER),
        }
        assert (balance(desk.account), balance(address.account)) == (108 * ETHER, -5 * ETHER)
        desk.assert_books_balance()

    def test_the_trail_says_who_why_how_much_and_at_which_block(self, desk: Desk, address: Wallet) -> None:
        journal_id = write_off(desk, address)
        [event] = events("wallet.missing_booked")
        assert (event.actor, event.target_id, event.reason) == (make_officer(), str(address.pk), REASON)
        block = len(desk.chain.blocks) - 1 - 3
        assert event.details == {"amount_in_wei": str(3 * ETHER), "block": block, "journal": journal_id}

    def test_in_parts(self, desk: Desk, address: Wallet) -> None:
        write_off(desk, address, ETHER)
        assert missing_at(desk, address) == 2 * ETHER
        write_off(desk, address, 2 * ETHER, request_id="form 2")
        assert missing_at(desk, address) == 0
        desk.assert_books_balance()

    def test_a_sweep_moves_what_is_left(self, desk: Desk, address: Wallet) -> None:
        write_off(desk, address)
        [row_id] = sweep_deposits(NOW, chain=desk.chain)
        desk.run_to_the_end()
        row = Transaction.objects.get(pk=row_id)
        assert row.status == "SUCCESSFUL"
        assert balance(address.account) == -(5 * ETHER - row.transaction_amount_in_wei - NETWORK_FEE)
        desk.assert_books_balance()


class TestFoundAgain:
    """What comes back is the desk's, which bore it: the account has its credit already."""

    def test_first_what_the_desk_has_borne_then_what_is_the_accounts(self, desk: Desk, address: Wallet) -> None:
        write_off(desk, address)
        come(desk, address, 2 * ETHER)
        assert look_at(address.pk, chain=desk.chain).borne_in_wei == 3 * ETHER
        journal = Journal.objects.get(pk=book(desk, address, 2 * ETHER, request_id="form 2"))
        assert set(journal.entries.values_list("account", "amount_in_wei")) == {
            (funding().pk, 2 * ETHER),
            (address.account_id, -2 * ETHER),
        }
        assert balance(desk.account) == 108 * ETHER
        come(desk, address, 5 * ETHER)
        assert look_at(address.pk, chain=desk.chain).borne_in_wei == ETHER
        journal = Journal.objects.get(pk=book(desk, address, 5 * ETHER, request_id="form 3"))
        assert set(journal.entries.values_list("account", "amount_in_wei")) == {
            (funding().pk, ETHER),
            (desk.account.pk, 4 * ETHER),
            (address.account_id, -5 * ETHER),
        }
        assert look_at(address.pk, chain=desk.chain).borne_in_wei == 0
        assert balance(desk.account) == 112 * ETHER
        desk.assert_books_balance()

    def test_of_another_address_it_has_borne_nothing(self, desk: Desk, address: Wallet) -> None:
        come(desk, desk.wallet, -ETHER)
        write_off(desk, desk.wallet, ETHER, request_id="form 2")
        come(desk, address, 4 * ETHER)
        book(desk, address, ETHER)
        assert balance(desk.account) == 109 * ETHER

    def test_the_same_form_twice(self, desk: Desk, address: Wallet) -> None:
        write_off(desk, address)
        come(desk, address, 2 * ETHER)
        assert book(desk, address, 2 * ETHER) == book(desk, address, 2 * ETHER)
        assert balance(desk.account) == 108 * ETHER

    def test_a_node_that_lags_shows_nothing_to_find(self, desk: Desk, address: Wallet) -> None:
        write_off(desk, address)
        Block.objects.filter(number=len(desk.chain.blocks) - 1 - 3).update(taken_in_at=None)
        with pytest.raises(ChainUnavailableError, match="was opened after it"):
            look_at(address.pk, chain=desk.chain)


class TestNotMissing:
    """What is to be settled yet is booked then, once; so nothing of it can be booked by hand before."""

    def test_what_is_in_flight(self, desk: Desk) -> None:
        desk.mine()
        desk.accept(2 * ETHER)
        desk.broadcast()
        desk.mine()
        desk.take_in()
        # Its block is final by now; the follower, which settles it, hasn't come by.
        desk.chain.mine(3)
        for block in desk.chain.blocks[-3:]:
            record(block.header)
        seen = look_at(desk.wallet.pk, chain=desk.chain)
        assert (seen.in_flight_in_wei, seen.missing_in_wei) == (-(2 * ETHER + NETWORK_FEE), 0)
        with pytest.raises(MoreThanMissingError, match=r"^At block 2 nothing is missing, not 2 ETH"):
            write_off(desk, desk.wallet, 2 * ETHER)
        assert_nothing_booked()

    def pay_without_a_receipt(self, desk: Desk) -> None:
        desk.mine()
        desk.accept(2 * ETHER)
        desk.broadcast()
        desk.chain.receipts_lag_blocks = 99
        desk.mine(5)
        desk.take_in()

    def test_what_a_payment_took_whose_receipt_was_not_found(self, desk: Desk) -> None:
        self.pay_without_a_receipt(desk)
        assert Transaction.objects.get().stage == "BROADCAST"
        assert missing_at(desk, desk.wallet) == 2 * ETHER + NETWORK_FEE
        with pytest.raises(WalletStateError, match="transactions of this wallet that the desk does not know yet"):
            write_off(desk, desk.wallet, 2 * ETHER)
        assert_nothing_booked()

    def test_what_is_found_while_it_is_compared(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pay_without_a_receipt(desk)

        def read_and_find(*arguments: Any) -> Any:
            booked = read_booked(*arguments)
            desk.chain.receipts_lag_blocks = 0
            desk.mine()
            assert Transaction.objects.get().stage != "BROADCAST"
            return booked

        monkeypatch.setattr(found, "read_booked", read_and_find)
        with pytest.raises(WalletStateError, match="does not know yet"):
            write_off(desk, desk.wallet, 2 * ETHER)

    def test_what_is_taken_back_while_it_is_compared(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        desk.mine()
        payment = desk.accept(2 * ETHER)
        desk.broadcast()
        desk.mine()
        desk.chain.mine(4)
        for block in desk.chain.blocks[-4:]:
            record(block.header)
        desk.take_in()

        def take_back_and_read(*arguments: Any) -> Any:
            assert return_to_broadcast([payment.pk]) == [payment.pk]
            return read_booked(*arguments)

        monkeypatch.setattr(found, "read_booked", take_back_and_read)
        with pytest.raises(WalletStateError, match="does not know yet"):
            write_off(desk, desk.wallet, 2 * ETHER)

    def test_what_a_payment_took_in_a_block_of_another_branch(self, desk: Desk) -> None:
        desk.mine()
        desk.accept(2 * ETHER)
        desk.broadcast()
        desk.mine()
        desk.take_in()
        Transaction.objects.update(block_hash="0x" + "ab" * 32)
        for _ in range(4):
            record(desk.chain.mine())
        assert missing_at(desk, desk.wallet) == 2 * ETHER + NETWORK_FEE
        with pytest.raises(WalletStateError, match="does not know yet"):
            write_off(desk, desk.wallet, 2 * ETHER)
        assert_nothing_booked()

    def test_what_a_stranger_took_that_nobody_has_told_yet(self, desk: Desk) -> None:
        desk.mine()
        send_elsewhere(desk, 0, value_in_wei=7 * ETHER)
        desk.mine(5)
        desk.take_in()
        assert missing_at(desk, desk.wallet) > 7 * ETHER
        with pytest.raises(WalletStateError, match="does not know yet"):
            write_off(desk, desk.wallet, 7 * ETHER)
        assert_nothing_booked()
        go_on(desk)
        assert missing_at(desk, desk.wallet) == 0, "it is booked as what it did"

    def test_what_a_thief_took_from_an_address_that_never_sent(self, desk: Desk) -> None:
        wallet = desk.add_deposit_address()
        desk.pay_in(wallet.address, 8 * ETHER)
        desk.mine()
        desk.take_in()
        transfer = UnsignedTransfer(desk.chain.id, 0, desk.outsider.address, 7 * ETHER, 21_000, 100 * GWEI, GWEI)
        [signed] = sign_transfers(load_deposit_signer(desk.account.pk), [transfer])
        desk.chain.put_back(signed.raw)
        desk.mine(5)
        desk.take_in()
        assert missing_at(desk, wallet) > 7 * ETHER
        with pytest.raises(WalletStateError, match="does not know yet"):
            write_off(desk, wallet, 7 * ETHER)
        assert_nothing_booked()

    def test_what_was_found_after_the_block_of_a_node_that_lags(self, desk: Desk) -> None:
        desk.mine(6)
        come(desk, desk.wallet, ETHER)
        book(desk, desk.wallet, ETHER)
        Block.objects.filter(number=len(desk.chain.blocks) - 1 - 3).update(taken_in_at=None)
        with pytest.raises(ChainUnavailableError, match="was opened after it"):
            write_off(desk, desk.wallet, ETHER)
        assert_nothing_booked()

    def test_what_somebody_has_found_at_a_later_block_meanwhile(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        desk.mine(6)
        desk.take_in()

        def read(chain: object, wallet: Wallet) -> object:
            holdings = read_holding(desk.chain, wallet)
            monkeypatch.undo()
            come(desk, wallet, ETHER)
            book(desk, wallet, ETHER)
            return holdings

        monkeypatch.setattr(found, "read_holding", read)
        with pytest.raises(WalletStateError, match="Somebody has booked"):
            write_off(desk, desk.wallet, ETHER)
        assert_nothing_booked()

    def test_what_the_chain_has_beyond_the_books(self, desk: Desk) -> None:
        come(desk, desk.wallet, ETHER)
        assert missing_at(desk, desk.wallet) == -ETHER
        with pytest.raises(MoreThanMissingError, match="nothing is missing, not 0.000000000000000001 ETH"):
            write_off(desk, desk.wallet, 1)
        assert_nothing_booked()


class TestRefused:
    @pytest.mark.parametrize("amount", [0, -1, 2**256])
    def test_no_amount(self, desk: Desk, amount: int) -> None:
        come(desk, desk.wallet, -ETHER)
        with pytest.raises(BadAmountError, match="from 1 to"):
            write_off(desk, desk.wallet, amount)
        assert_nothing_booked()

    def test_without_a_reason(self, desk: Desk, address: Wallet) -> None:
        with pytest.raises(ReasonRequiredError):
            write_off(desk, address, reason=" ")
        assert_nothing_booked()

    def test_a_wei_more_than_is_missing(self, desk: Desk, address: Wallet) -> None:
        with pytest.raises(MoreThanMissingError, match=r"3 ETH is missing, not 3\.000000000000000001 ETH"):
            write_off(desk, address, 3 * ETHER + 1)
        assert_nothing_booked()

    def test_no_such_wallet(self, desk: Desk) -> None:
        with pytest.raises(WalletStateError, match="no such wallet"):
            write_off(desk, Wallet(pk=999))

    def test_a_node_that_is_down_says_nothing(self, desk: Desk, address: Wallet) -> None:
        with desk.chain.outage(), pytest.raises(ChainUnavailableError):
            write_off(desk, address)
        assert_nothing_booked()


class TestOnce:
    def test_the_same_form_twice(self, desk: Desk, address: Wallet) -> None:
        first = write_off(desk, address)
        come(desk, address, -3 * ETHER)
        with desk.chain.outage():
            assert write_off(desk, address) == first
        assert balance(address.account) == -5 * ETHER
        assert len(events("wallet.missing_booked")) == 1

    def test_a_form_used_for_something_else(self, desk: Desk, address: Wallet) -> None:
        write_off(desk, address, ETHER)
        with pytest.raises(AlreadyPostedError):
            write_off(desk, address, 2 * ETHER)
        come(desk, desk.wallet, -ETHER)
        with pytest.raises(AlreadyPostedError):
            write_off(desk, desk.wallet, ETHER)
        assert balance(address.account) == -7 * ETHER

    @pytest.mark.django_db(transaction=True)
    def test_two_forms_at_once(self, desk: Desk, address: Wallet, monkeypatch: pytest.MonkeyPatch) -> None:
        make_officer()
        all_asked = Barrier(2)
        one_at_a_time = Lock()

        def read(chain: object, wallet: Wallet) -> object:
            with one_at_a_time:
                desk.mine()
                desk.take_in()
                # Each of another block, so that it is not this one's row which the second waits for.
                holdings = read_holding(desk.chain, wallet)
            all_asked.wait(timeout=20)
            return holdings

        def run(request_id: str) -> int | TransactionsError | AccountsError:
            try:
                return write_off(desk, address, request_id=request_id)
            except (TransactionsError, AccountsError) as error:
                return error
            finally:
                connections.close_all()

        monkeypatch.setattr(found, "read_holding", read)
        with ThreadPoolExecutor(2) as pool:
            outcomes = list(pool.map(run, ["form 1", "form 2"]))
        assert sorted(type(outcome).__name__ for outcome in outcomes) in (
            ["MoreThanMissingError", "int"],
            ["WalletStateError", "int"],
        )
        assert balance(address.account) == -5 * ETHER


@pytest.mark.django_db(transaction=True)
class TestProved:
    def check(self, desk: Desk) -> tuple[list[str], bool]:
        """Run the nightly check; return whom it is about, and whether the alert is open."""
        proof = prove_reserves(chain=desk.chain)
        keep_report(proof, NOW)
        is_open = Alert.objects.filter(kind="books_differ", resolved_at=None).exists()
        assert proof.is_clean is not is_open
        return [difference.subject for difference in proof.report.differences], is_open

    def test_a_reorg_that_took_what_a_wallet_was_opened_with_is_written_off(self, desk: Desk) -> None:
        new = fresh_signer().address
        desk.mine(10)
        desk.pay_in(new, 3 * ETHER)
        desk.mine(5)
        desk.take_in()
        wallet = register_wallet(new, chain=desk.chain)
        desk.take_in()
        desk.chain.reorg(6)
        go_on(desk, 6)
        assert self.check(desk) == ([f"wallet {new}"], True)
        write_off(desk, wallet)
        assert self.check(desk) == ([], False)
        desk.assert_books_balance()

    def test_ether_that_left_without_a_transaction_is_written_off(self, desk: Desk, address: Wallet) -> None:
        assert self.check(desk) == ([f"wallet {address.address}"], True)
        write_off(desk, address)
        assert self.check(desk) == ([], False)
        go_on(desk)
        assert self.check(desk) == ([], False)

    def test_what_was_found_went_with_a_reorg_and_came_again(self, desk: Desk) -> None:
        wallet = desk.add_deposit_address()
        desk.mine(6)
        come(desk, wallet)
        book(desk, wallet)
        assert balance(desk.account) == 105 * ETHER
        desk.chain.reorg(5)
        desk.chain.set_balance(wallet.address, 0)
        go_on(desk, 6)
        assert self.check(desk) == ([f"wallet {wallet.address}"], True)
        write_off(desk, wallet, 5 * ETHER, request_id="form 2")
        assert self.check(desk) == ([], False)
        come(desk, wallet)
        assert self.check(desk) == ([f"wallet {wallet.address}"], True)
        book(desk, wallet, request_id="form 3")
        assert self.check(desk) == ([], False)
        assert balance(desk.account) == 105 * ETHER, "its credit is from before"
        desk.assert_books_balance()


class TestADeepReorg:
    def test_staff_are_told_of_what_was_booked_since(self, desk: Desk, address: Wallet) -> None:
        journal_id = write_off(desk, address)
        desk.chain.reorg(5)
        desk.follow()
        alert = Alert.objects.get(subject__startswith="ether")
        number = desk.chain.blocks[-1].header.number - 4
        assert (alert.kind, alert.subject) == ("deep_reorg", f"ether missing, block {number}")
        assert f"may be back: journals #{journal_id}. " in alert.message

    def test_not_of_what_was_booked_before_the_blocks_that_are_lost(self, desk: Desk, address: Wallet) -> None:
        before = dt.datetime.fromtimestamp(desk.chain.blocks[-1].header.timestamp, dt.UTC)
        write_off(desk, address, now=before)
        desk.mine(6)
        desk.chain.reorg(5)
        desk.follow()
        assert not Alert.objects.exists()

    def test_what_is_back_can_be_found(self, desk: Desk, address: Wallet) -> None:
        write_off(desk, address)
        desk.chain.reorg(5)
        desk.chain.set_balance(address.address, 8 * ETHER)
        go_on(desk, 6)
        assert missing_at(desk, address) == -3 * ETHER
        with pytest.raises(MoreThanFoundError):
            book(desk, address, 3 * ETHER + 1)
        book(desk, address, 3 * ETHER)
        assert (balance(desk.account), Deposit.objects.count()) == (108 * ETHER, 1)
        desk.assert_books_balance()
