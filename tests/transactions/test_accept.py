"""Accepting a payment: the funds are held, once, or nothing happened at all."""

import datetime as dt
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections
from pytest_django import DjangoAssertNumQueries
from pytest_django.fixtures import Settings

from accounts.exceptions import AccountFrozenError, AccountNotFoundError, BadAmountError, InsufficientFundsError
from accounts.models import Account, Hold
from accounts.money import WEI_MAX
from tests.desk import ETHER, FEE, NOW, RECIPIENT, Desk, credit, freeze, make_account, make_address, make_user
from transactions.exceptions import BadAddressError, BadIdempotencyKeyError, IdempotencyKeyReusedError
from transactions.models import Transaction
from transactions.services.accept import Acceptance, accept_transaction, hash_payload


def rows() -> list[list[tuple[object, ...]]]:
    """Return every row that a refused payment must leave as it was."""
    return [list(model.objects.order_by("pk").values_list()) for model in (Account, Hold, Transaction)]


@pytest.fixture(autouse=True)
def _books(desk: Desk) -> Callable[[], None]:
    desk.assert_books_balance()
    return desk.assert_books_balance


class TestAccepted:
    def test_amount_and_fee_are_held_and_the_row_says_all(self, desk: Desk) -> None:
        payment = desk.accept(ETHER, to=RECIPIENT.lower(), key="first")

        desk.account.refresh_from_db()
        assert desk.account.current_balance_in_wei == 100 * ETHER
        assert desk.account.available_balance_in_wei == 99 * ETHER - FEE
        [hold] = Hold.objects.all()
        assert (hold.kind, hold.source, hold.amount_in_wei, hold.status) == (
            "payment",
            str(payment.pk),
            ETHER + FEE,
            "held",
        )
        assert (hold.account_id, hold.created_at) == (desk.account.pk, NOW)
        assert (payment.status, payment.stage, payment.failure_reason) == ("PENDING", "ACCEPTED", "")
        assert payment.to_public_address == RECIPIENT, "kept in EIP-55 form"
        assert (payment.transaction_amount_in_wei, payment.transaction_fee_total_in_wei) == (ETHER, FEE)
        assert (payment.idempotency_key, payment.payload_hash) == ("first", hash_payload(RECIPIENT, ETHER))
        assert (payment.accepted_at, payment.next_check_at) == (NOW, NOW + dt.timedelta(seconds=100))
        assert (payment.nonce, payment.transaction_hash, payment.wallet_id) == (None, None, None)
        desk.assert_books_balance()

    def test_the_answer(self, desk: Desk) -> None:
        acceptance = desk.ask(ETHER)
        payment = Transaction.objects.get()
        assert acceptance == Acceptance(
            {
                "id": payment.pk,
                "owner_id": desk.account.owner_id or 0,
                "user_account_id": desk.account.pk,
                "status": "PENDING",
                "stage": "ACCEPTED",
                "failure_reason": "",
                "failure_detail": "",
                "wait_reason": "",
                "to_public_address": RECIPIENT,
                "from_public_address": "",
                "transaction_hash": None,
                "transaction_amount_in_wei": "1000000000000000000",
                "transaction_fee_total_in_wei": "8000000000000000",
                "transaction_fee_blockchain_in_wei": None,
                "nonce": None,
                "block_number": None,
                "block_hash": "",
                "confirmations": 0,
                "confirmations_required": 10,
                "accepted_at": "2026-01-02T03:04:05Z",
                "approved_at": None,
                "cancel_requested_at": None,
                "signed_at": None,
                "broadcast_at": None,
                "mined_at": None,
                "settled_at": None,
            },
            replayed=False,
        )

    def test_it_is_short(self, desk: Desk, django_assert_num_queries: DjangoAssertNumQueries) -> None:
        # Two savepoints are counted; the two statements between them, payment and hold, are prepared ones.
        with django_assert_num_queries(2):
            desk.ask(key="k")

    def test_no_word_to_any_node(self, desk: Desk) -> None:
        before = desk.chain.asked.copy()
        with desk.chain.outage():
            desk.accept()
        assert desk.chain.asked == before

    def test_payments_without_a_key_are_payments_each(self, desk: Desk) -> None:
        assert desk.accept().pk != desk.accept().pk
        desk.account.refresh_from_db()
        assert desk.account.available_balance_in_wei == 98 * ETHER - 2 * FEE

    def test_the_last_wei(self, desk: Desk) -> None:
        desk.accept(100 * ETHER - FEE)
        desk.account.refresh_from_db()
        assert desk.account.available_balance_in_wei == 0
        desk.assert_books_balance()

    def test_the_largest_amount_there_is(self, desk: Desk, settings: Settings) -> None:
        settings.PAYMENT_FEE_IN_WEI = 0
        rich = make_account(balance_in_wei=WEI_MAX)
        payment = desk.accept(WEI_MAX, account=rich)
        assert payment.transaction_amount_in_wei == WEI_MAX
        rich.refresh_from_db()
        assert (rich.current_balance_in_wei, rich.available_balance_in_wei) == (WEI_MAX, 0)
        desk.assert_books_balance()

    def test_the_fee_is_the_one_of_the_day(self, desk: Desk, settings: Settings) -> None:
        settings.PAYMENT_FEE_IN_WEI = 7
        payment = desk.accept(1)
        settings.PAYMENT_FEE_IN_WEI = 9
        payment.refresh_from_db()
        assert payment.transaction_fee_total_in_wei == 7


class TestRefused:
    @pytest.mark.parametrize("amount", [100 * ETHER, 100 * ETHER - FEE + 1, WEI_MAX, WEI_MAX - FEE])
    def test_funds_that_do_not_cover_amount_and_fee(self, desk: Desk, amount: int) -> None:
        before = rows()
        with pytest.raises(InsufficientFundsError):
            desk.ask(amount)
        assert rows() == before

    def test_funds_that_other_payments_hold(self, desk: Desk) -> None:
        desk.accept(60 * ETHER)
        before = rows()
        with pytest.raises(InsufficientFundsError):
            desk.ask(40 * ETHER)
        assert rows() == before

    @pytest.mark.parametrize("amount", [0, -1, WEI_MAX + 1, -WEI_MAX])
    def test_what_is_no_amount(self, desk: Desk, amount: int) -> None:
        before = rows()
        with pytest.raises(BadAmountError):
            desk.ask(amount)
        assert rows() == before

    @pytest.mark.parametrize("address", ["", "bob", "0x" + "0" * 40, RECIPIENT[:-1], RECIPIENT.swapcase()])
    def test_what_is_no_address(self, desk: Desk, address: str) -> None:
        before = rows()
        with pytest.raises(BadAddressError):
            desk.ask(to=address)
        assert rows() == before

    @pytest.mark.parametrize("key", ["", " ", " k", "k ", "k\n", "ключ", "k" * 256, "\x7f"])
    def test_what_is_no_key(self, desk: Desk, key: str) -> None:
        before = rows()
        with pytest.raises(BadIdempotencyKeyError):
            desk.ask(key=key)
        assert rows() == before

    def test_a_frozen_account(self, desk: Desk) -> None:
        freeze(desk.account)
        before = rows()
        with pytest.raises(AccountFrozenError):
            desk.ask()
        assert rows() == before

    def test_accounts_of_others_and_none_at_all_look_alike(self, desk: Desk) -> None:
        stranger = make_user()
        before = rows()
        answers = set()
        for account_id in (desk.account.pk, desk.account.pk + 1000, desk.wallet.account_id):
            with pytest.raises(AccountNotFoundError) as refusal:
                accept_transaction(
                    user_id=stranger.pk,
                    user_account_id=account_id,
                    to_public_address=RECIPIENT,
                    amount_in_wei=1,
                    idempotency_key=None,
                    now=NOW,
                )
            answers.add(str(refusal.value))
        assert len(answers) == 1
        assert rows() == before


class TestIdempotency:
    @pytest.mark.parametrize("key", ["k", "k" * 255, "a b~!", '"8e03978e-40d5-43dd-bc93-6894a57f9324"'])
    def test_the_same_request_again_is_answered_as_the_first_time(self, desk: Desk, key: str) -> None:
        first = desk.ask(key=key)
        before = rows()
        again = desk.ask(key=key, now=NOW + dt.timedelta(hours=1))
        assert again == Acceptance(first.detail, replayed=True)
        assert rows() == before

    def test_another_writing_of_the_address_is_the_same_request(self, desk: Desk) -> None:
        first = desk.ask(key="k")
        assert desk.ask(key="k", to=RECIPIENT.lower()) == Acceptance(first.detail, replayed=True)

    def test_the_first_answer_stays_when_the_payment_has_gone_on(self, desk: Desk, settings: Settings) -> None:
        first = desk.ask(key="k")
        desk.run_to_the_end()
        settings.PAYMENT_FEE_IN_WEI = 1
        before = rows()
        assert desk.ask(key="k") == Acceptance(first.detail, replayed=True)
        assert rows() == before

    def test_neither_freezing_nor_an_empty_account_changes_the_first_answer(self, desk: Desk) -> None:
        first = desk.ask(100 * ETHER - FEE, key="k")
        freeze(desk.account)
        assert desk.ask(100 * ETHER - FEE, key="k") == Acceptance(first.detail, replayed=True)

    @pytest.mark.parametrize("other", [{"amount_in_wei": ETHER + 1}, {"to": make_address(77)}])
    def test_another_payment_under_the_same_key_is_refused(self, desk: Desk, other: dict[str, int | str]) -> None:
        desk.ask(key="k")
        before = rows()
        with pytest.raises(IdempotencyKeyReusedError):
            desk.ask(key="k", **other)  # type: ignore[arg-type]
        assert rows() == before

    def test_a_refused_request_leaves_its_key_free(self, desk: Desk) -> None:
        poor = make_account()
        with pytest.raises(InsufficientFundsError):
            desk.ask(key="k", account=poor)
        credit(poor, ETHER + FEE)
        assert not desk.ask(key="k", account=poor).replayed

    def test_keys_belong_to_their_account(self, desk: Desk) -> None:
        other = make_account(desk.account.owner, balance_in_wei=2 * ETHER)
        first = desk.ask(key="k")
        second = desk.ask(key="k", account=other)
        assert not second.replayed
        assert second.detail["id"] != first.detail["id"]

    def test_a_stranger_learns_nothing_from_a_known_key(self, desk: Desk) -> None:
        desk.ask(key="k")
        with pytest.raises(AccountNotFoundError):
            accept_transaction(
                user_id=make_user().pk,
                user_account_id=desk.account.pk,
                to_public_address=RECIPIENT,
                amount_in_wei=ETHER,
                idempotency_key="k",
                now=NOW,
            )


@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    def together(self, count: int, work: Callable[[int], object]) -> list[object]:
        """Run in threads that start at the same moment; return results and exceptions."""
        barrier = threading.Barrier(count)

        def run(number: int) -> object:
            barrier.wait(20)
            try:
                return work(number)
            except Exception as error:
                return type(error)
            finally:
                connections.close_all()

        with ThreadPoolExecutor(count) as threads:
            return list(threads.map(run, range(count)))

    def test_the_same_key_in_many_threads_is_one_payment(self, desk: Desk) -> None:
        answers = self.together(8, lambda _: desk.ask(key="k"))
        assert all(isinstance(answer, Acceptance) for answer in answers), answers
        assert sorted(answer.replayed for answer in answers if isinstance(answer, Acceptance)) == [False] + [True] * 7
        assert len({answer.detail["id"] for answer in answers if isinstance(answer, Acceptance)}) == 1
        assert Transaction.objects.count() == Hold.objects.count() == 1
        desk.account.refresh_from_db()
        assert desk.account.available_balance_in_wei == 99 * ETHER - FEE
        desk.assert_books_balance()

    def test_32_threads_can_not_spend_one_balance_twice(self, desk: Desk) -> None:
        one = make_account(balance_in_wei=10 * (ETHER + FEE) + 5)
        answers = self.together(32, lambda _: desk.ask(account=one))
        accepted = [answer for answer in answers if isinstance(answer, Acceptance)]
        assert len(accepted) == 10
        assert [answer for answer in answers if answer not in accepted] == [InsufficientFundsError] * 22
        one.refresh_from_db()
        assert one.available_balance_in_wei == 5
        assert Hold.objects.count() == 10
        desk.assert_books_balance()

    def test_32_threads_on_accounts_of_their_own_all_get_through(self, desk: Desk) -> None:
        accounts = [make_account(balance_in_wei=ETHER + FEE) for _ in range(32)]
        answers = self.together(32, lambda number: desk.ask(account=accounts[number], key="same"))
        assert all(isinstance(answer, Acceptance) and not answer.replayed for answer in answers), answers
        assert Transaction.objects.count() == 32
        assert set(Account.objects.filter(kind="user").exclude(pk=desk.account.pk).values_list(
            "available_balance_in_wei", flat=True)) == {0}  # fmt: skip
        desk.assert_books_balance()
