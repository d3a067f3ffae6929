"""Ether that came without a transfer which the intake finds: booked by staff, no more of it than there is, and once."""

import datetime as dt
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event
from typing import Any

import pytest
from django.db import connection, connections
from pytest_django.fixtures import Settings

from accounts.exceptions import AccountsError, AlreadyPostedError, BadAmountError, ReasonRequiredError
from accounts.keys import deposit_address
from accounts.models import Account, AccountKind, Alert, Journal
from accounts.services.adjustments import Adjustment
from tests.desk import ETHER, NETWORK_FEE, NOW, Desk, make_officer, write_deposit_seed
from tests.staff import events
from tests.transactions.test_reorg_races import wait_for_a_waiter
from transactions.chain import ChainUnavailableError
from transactions.exceptions import MoreThanFoundError, TransactionsError, WalletStateError
from transactions.models import Block, Deposit, Transaction, Wallet
from transactions.services import found
from transactions.services.found import book_found, look_at
from transactions.services.holdings import read_holding
from transactions.services.reserves import prove_reserves
from transactions.services.sweep import sweep_deposits
from transactions.services.wallets import register_wallet

REASON = "Internal transfer of a smart wallet"


@pytest.fixture(autouse=True)
def four_confirmations(settings: Settings) -> None:
    settings.CONFIRMATIONS = 4
    settings.SWEEP_MIN_IN_WEI = ETHER // 10


def come(desk: Desk, wallet: Wallet, amount_in_wei: int = 5 * ETHER) -> None:
    """Let ether come to a wallet as a contract passes it on, and mine until it is final."""
    desk.mine()
    desk.chain.set_balance(wallet.address, desk.chain.blocks[-1].balances.get(wallet.address, 0) + amount_in_wei)
    desk.mine(4)
    desk.take_in()


def book(
    desk: Desk,
    wallet: Wallet,
    amount_in_wei: int = 5 * ETHER,
    *,
    request_id: str = "form 1",
    reason: str = REASON,
    now: dt.datetime = NOW,
    how: Callable[..., Adjustment] = book_found,
) -> int:
    """Book what was found, or with `book_missing` what is missing; return the journal's id."""
    return how(
        actor=make_officer(),
        wallet_id=wallet.pk,
        amount_in_wei=amount_in_wei,
        reason=reason,
        request_id=request_id,
        now=now,
        chain=desk.chain,
    ).journal_id


def balance(account: Account) -> int:
    account.refresh_from_db()
    return account.current_balance_in_wei


def assert_nothing_booked() -> None:
    assert not Journal.objects.filter(kind="found").exists()
    assert events("wallet.found_booked") == []


class TestBooked:
    def test_at_a_deposit_address_it_is_owed_to_its_account(self, desk: Desk) -> None:
        wallet = desk.add_deposit_address()
        come(desk, wallet)
        journal = Journal.objects.get(pk=book(desk, wallet))
        assert (journal.kind, journal.source, journal.description) == ("found", "form 1", "Deposit booked by staff")
        assert (journal.created_by, journal.created_at) == (make_officer(), NOW)
        assert set(journal.entries.values_list("account", "amount_in_wei")) == {
            (desk.account.pk, 5 * ETHER),
            (wallet.account_id, -5 * ETHER),
        }
        assert balance(desk.account) == 105 * ETHER
        assert not Deposit.objects.exists()
        desk.assert_books_balance()

    def test_at_a_hot_wallet_it_is_the_desks_own_funding(self, desk: Desk) -> None:
        come(desk, desk.wallet)
        journal = Journal.objects.get(pk=book(desk, desk.wallet))
        funding = Account.objects.get(kind=AccountKind.EXTERNAL_FUNDING)
        assert set(journal.entries.values_list("account", "amount_in_wei")) == {
            (funding.pk, 5 * ETHER),
            (desk.wallet.account_id, -5 * ETHER),
        }
        assert balance(desk.account) == 100 * ETHER
        desk.assert_books_balance()

    def test_the_trail_says_who_why_how_much_and_at_which_block(self, desk: Desk) -> None:
        wallet = desk.add_deposit_address()
        come(desk, wallet)
        journal_id = book(desk, wallet)
        [event] = events("wallet.found_booked")
        assert (event.actor, event.target_id, event.reason) == (make_officer(), str(wallet.pk), REASON)
        assert event.details == {"amount_in_wei": str(5 * ETHER), "block": 2, "journal": journal_id}

    def test_in_parts(self, desk: Desk) -> None:
        wallet = desk.add_deposit_address()
        come(desk, wallet)
        book(desk, wallet, 2 * ETHER)
        assert look_at(wallet.pk, chain=desk.chain).beyond_in_wei == 3 * ETHER
        book(desk, wallet, 3 * ETHER, request_id="form 2")
        assert look_at(wallet.pk, chain=desk.chain).beyond_in_wei == 0
        desk.assert_books_balance()

    def test_a_sweep_moves_it(self, desk: Desk) -> None:
        wallet = desk.add_deposit_address()
        come(desk, wallet)
        assert sweep_deposits(NOW, chain=desk.chain) == [], "the ledger doesn't know of it yet"
        book(desk, wallet)
        [row_id] = sweep_deposits(NOW, chain=desk.chain)
        desk.run_to_the_end()
        row = Transaction.objects.get(pk=row_id)
        assert (row.status, row.wallet) == ("SUCCESSFUL", wallet)
        assert balance(desk.wallet.account) == -(1_000 * ETHER + row.transaction_amount_in_wei)
        assert balance(wallet.account) == -(5 * ETHER - row.transaction_amount_in_wei - NETWORK_FEE)
        desk.assert_books_balance()


class TestBeyondTheBooks:
    def test_is_what_neither_ledger_nor_flight_explains(self, desk: Desk) -> None:
        wallet = desk.add_deposit_address()
        desk.mine(2)
        desk.pay_in(wallet.address, ETHER)
        desk.mine()
        desk.chain.set_balance(wallet.address, 4 * ETHER)
        desk.take_in()
        # Its block is final by now; the follower, which credits it, hasn't come by.
        desk.chain.mine(3)
        for number in range(4, 7):
            header = desk.chain.blocks[number].header
            Block.objects.create(
                number=number,
                hash=header.hash,
                parent_hash=header.parent_hash,
                timestamp=header.timestamp,
                taken_in_at=NOW,
            )
        seen = look_at(wallet.pk, chain=desk.chain)
        assert (seen.block_number, seen.on_chain_in_wei, seen.in_ledger_in_wei) == (3, 4 * ETHER, 0)
        assert (seen.in_flight_in_wei, seen.beyond_in_wei) == (ETHER, 3 * ETHER)
        with pytest.raises(MoreThanFoundError, match=r"^At block 3 there is 3 ETH beyond the books, not 4 ETH"):
            book(desk, wallet, 4 * ETHER)
        assert_nothing_booked()

    def test_is_not_what_is_not_final(self, desk: Desk) -> None:
        wallet = desk.add_deposit_address()
        desk.mine(9)
        desk.chain.set_balance(wallet.address, 5 * ETHER)
        desk.take_in()
        assert look_at(wallet.pk, chain=desk.chain).beyond_in_wei == 0
        with pytest.raises(MoreThanFoundError, match="there is nothing beyond the books, not 5 ETH"):
            book(desk, wallet)
        assert_nothing_booked()

    def test_is_below_zero_where_the_chain_has_less(self, desk: Desk) -> None:
        come(desk, desk.wallet, -ETHER)
        assert look_at(desk.wallet.pk, chain=desk.chain).beyond_in_wei == -ETHER
        with pytest.raises(MoreThanFoundError, match="there is nothing beyond"):
            book(desk, desk.wallet, 1)
        assert_nothing_booked()

    def test_is_the_same_whatever_is_settled_meanwhile(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        wallet = desk.add_deposit_address()
        come(desk, wallet)

        def read(chain: object, wallet: Wallet) -> object:
            holdings = read_holding(desk.chain, wallet)
            desk.pay_in(wallet.address, 2 * ETHER)
            desk.mine()
            desk.take_in()
            desk.mine(3)
            return holdings

        monkeypatch.setattr(found, "read_holding", read)
        book(desk, wallet)
        assert Deposit.objects.get().status == "credited"
        assert balance(desk.account) == 107 * ETHER
        desk.assert_books_balance()


@pytest.mark.django_db(transaction=True)
class TestNotADeposit:
    """What was found is not credited as a deposit too, whenever and wherever the intake comes by it."""

    @pytest.fixture
    def wallet(self, desk: Desk) -> Wallet:
        """A deposit address that was made after a plain transfer had come to it, which was booked as found."""
        write_deposit_seed()
        desk.mine(10)
        desk.take_in()
        desk.pay_in(deposit_address(desk.account.pk), 5 * ETHER)
        desk.mine()
        desk.take_in()
        wallet = desk.add_deposit_address()
        desk.mine(4)
        desk.take_in()
        book_found(
            actor=make_officer(), wallet_id=wallet.pk, amount_in_wei=5 * ETHER, reason="x", request_id="f", now=NOW,
            chain=desk.chain,
        )  # fmt: skip
        return wallet

    def come_by(self, desk: Desk) -> int:
        for _ in range(2 * 4):
            desk.mine()
            desk.take_in()
        desk.account.refresh_from_db()
        return desk.account.current_balance_in_wei

    def test_when_blocks_are_searched_again(self, desk: Desk, wallet: Wallet) -> None:
        Block.objects.update(intake_from=None, taken_in_at=None)
        assert self.come_by(desk) == 105 * ETHER
        assert prove_reserves(chain=desk.chain).is_clean

    def test_when_a_deep_reorg_puts_it_into_another_block(self, desk: Desk, wallet: Wallet) -> None:
        desk.chain.reorg(4 + 1, back_to_pool=True)
        assert self.come_by(desk) == 105 * ETHER
        assert prove_reserves(chain=desk.chain).is_clean

    def test_what_comes_later_is_a_deposit(self, desk: Desk, wallet: Wallet) -> None:
        desk.pay_in(wallet.address, 7 * ETHER)
        assert self.come_by(desk) == 112 * ETHER

    def test_a_deposit_that_was_credited_before_comes_again(self, desk: Desk, wallet: Wallet) -> None:
        desk.pay_in(wallet.address, 7 * ETHER)
        assert self.come_by(desk) == 112 * ETHER
        deposit = Deposit.objects.get()
        assert deposit.block_number is not None
        desk.chain.reorg(len(desk.chain.blocks) - deposit.block_number, back_to_pool=True)
        Wallet.objects.filter(pk=wallet.pk).update(opened_at_block=len(desk.chain.blocks) + 3)
        assert self.come_by(desk) == 112 * ETHER


class TestRefused:
    @pytest.mark.parametrize("amount", [0, -1, 2**256])
    def test_no_amount(self, desk: Desk, amount: int) -> None:
        come(desk, desk.wallet)
        with pytest.raises(BadAmountError, match="from 1 to"):
            book(desk, desk.wallet, amount)
        assert_nothing_booked()

    def test_without_a_reason(self, desk: Desk) -> None:
        come(desk, desk.wallet)
        with pytest.raises(ReasonRequiredError):
            book(desk, desk.wallet, reason=" ")
        assert_nothing_booked()

    def test_a_wei_more_than_there_is(self, desk: Desk) -> None:
        come(desk, desk.wallet)
        with pytest.raises(MoreThanFoundError, match=r"there is 5 ETH beyond the books, not 5\.000000000000000001 ETH"):
            book(desk, desk.wallet, 5 * ETHER + 1)
        assert_nothing_booked()

    def test_no_such_wallet(self, desk: Desk) -> None:
        with pytest.raises(WalletStateError, match="no such wallet"):
            book(desk, Wallet(pk=999))

    def test_a_node_that_is_down_says_nothing(self, desk: Desk) -> None:
        come(desk, desk.wallet)
        with desk.chain.outage(), pytest.raises(ChainUnavailableError):
            book(desk, desk.wallet)
        assert_nothing_booked()

    def test_a_node_on_another_branch_is_not_waited_for(self, desk: Desk) -> None:
        come(desk, desk.wallet)
        Block.objects.filter(number=2).update(hash="0x" + "ab" * 32)
        with pytest.raises(ChainUnavailableError, match="another branch"):
            book(desk, desk.wallet)
        assert_nothing_booked()

    def test_a_wallet_opened_after_that_block(self, desk: Desk) -> None:
        desk.mine(9)
        desk.take_in()
        wallet = register_wallet(desk.outsider.address, chain=desk.chain)
        Block.objects.filter(number=wallet.opened_at_block).update(taken_in_at=None)
        with pytest.raises(ChainUnavailableError, match=r"^Block 4 can be .* was opened after it"):
            book(desk, wallet)

    def test_what_a_sweep_brought_however_little_the_desk_knows_of_it(self, desk: Desk) -> None:
        address = desk.add_deposit_address()
        desk.pay_in(address.address, 5 * ETHER)
        desk.mine()
        desk.take_in()
        desk.mine(3)
        assert len(sweep_deposits(NOW, chain=desk.chain)) == 1
        desk.broadcast()
        desk.chain.receipts_lag_blocks = 99
        desk.mine(4)
        desk.chain.receipts_lag_blocks = 0
        desk.take_in()
        assert Transaction.objects.get().stage == "BROADCAST"
        assert look_at(desk.wallet.pk, chain=desk.chain).beyond_in_wei == 0
        with pytest.raises(MoreThanFoundError):
            book(desk, desk.wallet, 1)
        assert_nothing_booked()

    @pytest.mark.parametrize("change", [{"hash": "0x" + "ab" * 32}, {"taken_in_at": None}])
    def test_when_the_chain_has_changed_since_it_was_asked(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch, change: dict[str, object]
    ) -> None:
        come(desk, desk.wallet)

        def read(chain: object, wallet: Wallet) -> object:
            holdings = read_holding(desk.chain, wallet)
            Block.objects.filter(number=holdings.block_number).update(**change)
            return holdings

        monkeypatch.setattr(found, "read_holding", read)
        with pytest.raises(WalletStateError, match="chain has changed"):
            book(desk, desk.wallet)
        assert_nothing_booked()


class TestOnce:
    def test_the_same_form_twice(self, desk: Desk) -> None:
        wallet = desk.add_deposit_address()
        come(desk, wallet)
        first = book(desk, wallet)
        # As much again is there, and the node is down: what was done is told all the same.
        come(desk, wallet)
        with desk.chain.outage():
            assert book(desk, wallet) == first
        assert balance(desk.account) == 105 * ETHER
        assert len(events("wallet.found_booked")) == 1

    def test_a_form_used_for_something_else(self, desk: Desk) -> None:
        wallet = desk.add_deposit_address()
        come(desk, wallet)
        book(desk, wallet, ETHER)
        with pytest.raises(AlreadyPostedError):
            book(desk, wallet, 2 * ETHER)
        come(desk, desk.wallet, ETHER)
        with pytest.raises(AlreadyPostedError):
            book(desk, desk.wallet, ETHER)
        assert balance(desk.account) == 101 * ETHER

    def test_the_same_ether_by_another_form(self, desk: Desk) -> None:
        wallet = desk.add_deposit_address()
        come(desk, wallet)
        book(desk, wallet)
        with pytest.raises(MoreThanFoundError, match="there is nothing beyond the books"):
            book(desk, wallet, request_id="form 2")
        assert balance(desk.account) == 105 * ETHER


@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    def book_at_once(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch, request_ids: list[str]
    ) -> list[int | TransactionsError | AccountsError]:
        """Let several book when all of them have asked the chain; return the journals or refusals."""
        wallet = desk.add_deposit_address()
        come(desk, wallet)
        make_officer()
        all_asked = Barrier(len(request_ids))

        def read(chain: object, wallet: Wallet) -> object:
            holdings = read_holding(desk.chain, wallet)
            all_asked.wait(timeout=20)
            return holdings

        monkeypatch.setattr(found, "read_holding", read)

        def run(request_id: str) -> int | TransactionsError | AccountsError:
            try:
                return book(desk, wallet, request_id=request_id)
            except (TransactionsError, AccountsError) as error:
                return error
            finally:
                connections.close_all()

        with ThreadPoolExecutor(len(request_ids)) as pool:
            return list(pool.map(run, request_ids))

    def test_two_forms_book_the_same_ether_once(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        outcomes = self.book_at_once(desk, monkeypatch, ["form 1", "form 2", "form 3"])
        assert sorted(type(outcome).__name__ for outcome in outcomes) == [
            "MoreThanFoundError",
            "MoreThanFoundError",
            "int",
        ]
        assert balance(desk.account) == 105 * ETHER
        desk.assert_books_balance()

    def test_one_form_twice_is_told_the_same(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        journal_id = Journal.objects.filter(kind="found").values_list("pk", flat=True)
        outcomes = self.book_at_once(desk, monkeypatch, ["form 1", "form 1"])
        assert outcomes == [journal_id[0], journal_id[0]]
        assert balance(desk.account) == 105 * ETHER

    def test_a_deep_reorg_waits_and_knows_of_it(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        wallet = desk.add_deposit_address()
        come(desk, wallet)
        make_officer()
        is_booking = Event()
        require = found._require

        def require_late(*arguments: Any) -> None:
            require(*arguments)
            is_booking.set()
            wait_for_a_waiter()

        def book_elsewhere() -> int:
            try:
                return book(desk, wallet)
            finally:
                connections.close_all()

        monkeypatch.setattr(found, "_require", require_late)
        with ThreadPoolExecutor(1) as thread:
            booked = thread.submit(book_elsewhere)
            assert is_booking.wait(20)
            desk.chain.reorg(5)
            desk.chain.mine(2)
            desk.follow()
            assert booked.result(timeout=20)
        wallet.refresh_from_db()
        fork = len(desk.chain.blocks) - 1 - 2 - 5
        assert wallet.opened_at_block <= fork, "what comes from there on is a deposit"
        assert "ether found" in str(list(Alert.objects.values_list("subject", flat=True)))

    def test_no_row_is_locked_while_the_chain_is_asked(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        wallet = desk.add_deposit_address()
        come(desk, wallet)
        inside: list[bool] = []

        def read(chain: object, wallet: Wallet) -> object:
            inside.append(connection.in_atomic_block)
            return read_holding(desk.chain, wallet)

        monkeypatch.setattr(found, "read_holding", read)
        book(desk, wallet)
        assert inside == [False]


@pytest.mark.django_db(transaction=True)
class TestProved:
    def test_the_reserves_are_clean_afterwards(self, desk: Desk) -> None:
        address = desk.add_deposit_address()
        come(desk, address)
        come(desk, desk.wallet, 2 * ETHER)
        before = prove_reserves(chain=desk.chain)
        assert [row.subject for row in before.report.differences] == [
            f"wallet {desk.wallet.address}", f"wallet {address.address}"
        ]  # fmt: skip
        book(desk, address)
        book(desk, desk.wallet, 2 * ETHER, request_id="form 2")
        assert prove_reserves(chain=desk.chain).is_clean
        assert len(sweep_deposits(NOW, chain=desk.chain)) == 1
        desk.run_to_the_end()
        desk.take_in()
        assert prove_reserves(chain=desk.chain).is_clean
        desk.assert_books_balance()


class TestADeepReorg:
    def test_staff_are_told_of_what_was_booked_since(self, desk: Desk) -> None:
        come(desk, desk.wallet)
        journal_id = book(desk, desk.wallet)
        desk.chain.reorg(5)
        desk.follow()
        alert = Alert.objects.get()
        number = desk.chain.blocks[-1].header.number - 4
        assert (alert.kind, alert.subject) == ("deep_reorg", f"ether found, block {number}")
        assert f"journals #{journal_id}. " in alert.message

    def test_not_of_what_was_booked_before_the_blocks_that_are_lost(self, desk: Desk) -> None:
        come(desk, desk.wallet)
        before = dt.datetime.fromtimestamp(desk.chain.blocks[-1].header.timestamp, dt.UTC)
        book(desk, desk.wallet, now=before)
        desk.mine(6)
        desk.chain.reorg(5)
        desk.follow()
        assert not Alert.objects.exists()

    def test_not_of_a_reorg_above_what_was_final(self, desk: Desk) -> None:
        come(desk, desk.wallet)
        book(desk, desk.wallet)
        desk.chain.reorg(4)
        desk.follow()
        assert not Alert.objects.exists()
