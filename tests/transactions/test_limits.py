"""What a policy says of payments: refused, to be approved, or neither; and that two at once don't both fit."""

import datetime as dt
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, connections
from pytest_django import DjangoAssertNumQueries

from accounts.exceptions import InsufficientFundsError
from accounts.models import Account, Hold
from accounts.money import WEI_MAX
from tests.desk import ETHER, FEE, NOW, RECIPIENT, Desk, make_account, make_address
from tests.transactions.test_queries import nodes_of
from transactions.exceptions import (
    AmountAbovePolicyError,
    DailyAmountExceededError,
    RecipientNotAllowedError,
    TransactionsError,
)
from transactions.models import Approval, Transaction
from transactions.services.accept import Acceptance
from transactions.services.limits import DAY, NO_LIMITS, Limits, check_limits, limits_of, paid_in_a_day

OTHER = make_address(2**103)
SECOND = dt.timedelta(seconds=1)


def rows() -> list[list[tuple[object, ...]]]:
    """Return every row that a refused payment must leave as it was."""
    return [list(model.objects.order_by("pk").values_list()) for model in (Account, Hold, Transaction, Approval)]


def refused(error: type[TransactionsError], ask: Callable[[], object]) -> str:
    """Check that a payment is refused and nothing is changed by it; return what is said."""
    before = rows()
    with pytest.raises(error) as refusal:
        ask()
    assert rows() == before
    return str(refusal.value)


class TestLargestAmount:
    def test_so_much_and_no_wei_more(self, desk: Desk) -> None:
        desk.set_policy(amount_max_in_wei=2 * ETHER)
        words = refused(AmountAbovePolicyError, lambda: desk.ask(2 * ETHER + 1))
        assert words == "At most 2 ETH may be paid from this account at once."
        assert desk.accept(2 * ETHER).stage == "ACCEPTED", "the fee is not counted"
        desk.assert_books_balance()

    def test_other_accounts_are_not_concerned(self, desk: Desk) -> None:
        desk.set_policy(amount_max_in_wei=1)
        other = make_account(desk.account.owner, balance_in_wei=10 * ETHER)
        desk.accept(5 * ETHER, account=other)

    def test_the_largest_there_can_be(self, desk: Desk) -> None:
        desk.set_policy(amount_max_in_wei=WEI_MAX, daily_amount_max_in_wei=WEI_MAX, approval_above_in_wei=WEI_MAX)
        desk.accept(99 * ETHER)


class TestAllowList:
    def test_only_who_is_on_it_is_paid_however_the_address_is_written(self, desk: Desk) -> None:
        desk.set_policy(is_allow_list_only=True)
        desk.allow(RECIPIENT)
        words = refused(RecipientNotAllowedError, lambda: desk.ask(1, to=OTHER))
        assert words == "This account pays only the recipients on its allow-list, and this address is not on it."
        desk.accept(1, to=RECIPIENT)
        desk.accept(1, to=RECIPIENT.lower())

    def test_an_empty_list_allows_nobody(self, desk: Desk) -> None:
        desk.set_policy(is_allow_list_only=True)
        refused(RecipientNotAllowedError, lambda: desk.ask(1))

    def test_a_list_that_the_policy_does_not_ask_for_forbids_nobody(self, desk: Desk) -> None:
        desk.allow(RECIPIENT)
        desk.accept(1, to=OTHER)
        desk.set_policy(amount_max_in_wei=ETHER)
        desk.accept(1, to=OTHER)

    def test_anothers_list_is_not_ours(self, desk: Desk) -> None:
        desk.set_policy(is_allow_list_only=True)
        desk.allow(RECIPIENT, account=make_account())
        refused(RecipientNotAllowedError, lambda: desk.ask(1))


class TestDay:
    def test_all_of_a_day_together_and_no_wei_more(self, desk: Desk) -> None:
        desk.set_policy(daily_amount_max_in_wei=5 * ETHER)
        desk.accept(3 * ETHER)
        words = refused(DailyAmountExceededError, lambda: desk.ask(2 * ETHER + 1))
        assert words == "At most 5 ETH may be paid from this account within 24 hours, and 2 ETH of it are left."
        desk.accept(2 * ETHER)
        words = refused(DailyAmountExceededError, lambda: desk.ask(1))
        assert words == "At most 5 ETH may be paid from this account within 24 hours, and 0 ETH of it are left."
        desk.assert_books_balance()

    def test_a_day_is_the_last_24_hours(self, desk: Desk) -> None:
        desk.set_policy(daily_amount_max_in_wei=5 * ETHER)
        desk.accept(3 * ETHER, now=NOW)
        desk.accept(2 * ETHER, now=NOW + SECOND)
        refused(DailyAmountExceededError, lambda: desk.ask(1, now=NOW + DAY - SECOND))
        desk.accept(3 * ETHER, now=NOW + DAY)
        refused(DailyAmountExceededError, lambda: desk.ask(1, now=NOW + DAY))

    def test_what_failed_does_not_count_and_what_succeeded_does(self, desk: Desk) -> None:
        desk.set_policy(daily_amount_max_in_wei=5 * ETHER)
        desk.accept(2 * ETHER)
        desk.run_to_the_end()
        desk.chain.reverting.add(OTHER)
        desk.accept(3 * ETHER, to=OTHER)
        desk.run_to_the_end()
        assert sorted(Transaction.objects.values_list("status", flat=True)) == ["FAILED", "SUCCESSFUL"]
        refused(DailyAmountExceededError, lambda: desk.ask(3 * ETHER + 1))
        desk.accept(3 * ETHER)

    def test_what_waits_for_approval_counts(self, desk: Desk) -> None:
        desk.set_policy(daily_amount_max_in_wei=5 * ETHER, approval_above_in_wei=ETHER)
        desk.accept(3 * ETHER)
        refused(DailyAmountExceededError, lambda: desk.ask(2 * ETHER + 1))

    def test_of_other_accounts_nothing_counts(self, desk: Desk) -> None:
        desk.set_policy(daily_amount_max_in_wei=5 * ETHER)
        other = make_account(desk.account.owner, balance_in_wei=10 * ETHER)
        desk.accept(5 * ETHER, account=other)
        desk.accept(5 * ETHER)

    def test_a_limit_that_was_lowered_below_what_was_paid_leaves_nothing(self, desk: Desk) -> None:
        desk.accept(5 * ETHER)
        desk.set_policy(daily_amount_max_in_wei=2 * ETHER)
        assert "and 0 ETH of it are left." in refused(DailyAmountExceededError, lambda: desk.ask(1))

    def test_a_day_is_read_by_its_own_index(self, desk: Desk) -> None:
        """Where an account has paid much for years, its last day is all that is read."""
        others = [make_account().pk for _ in range(20)]
        with connection.cursor() as cursor:
            cursor.execute(
                """
                INSERT INTO transactions_transaction (
                    user_account_id, status, stage, failure_reason, failure_detail, wait_reason, to_public_address,
                    from_public_address, transaction_amount_in_wei, transaction_fee_total_in_wei, payload_hash,
                    block_hash, accepted_at, checks_done, needs_attention)
                SELECT account, 'PENDING', 'ACCEPTED', '', '', '', '', '', 1, 1, '', '',
                       %s::timestamptz - make_interval(hours => number), 0, FALSE
                FROM unnest(%s::bigint[]) AS account, generate_series(1, 500) AS number
                """,
                [NOW, [*others, desk.account.pk]],
            )
            cursor.execute("ANALYZE transactions_transaction")
            cursor.execute(
                "EXPLAIN (ANALYZE, FORMAT JSON) SELECT sum(transaction_amount_in_wei) FROM transactions_transaction "
                "WHERE kind = 'payment' AND user_account_id = %s AND accepted_at > %s AND status <> 'FAILED'",
                [desk.account.pk, NOW - DAY],
            )
            ((found,),) = cursor.fetchall()
        plan = (found if isinstance(found, list) else json.loads(found))[0]["Plan"]
        assert "transactions_by_account_time" in [node.get("Index Name") for node in nodes_of(plan)]
        assert paid_in_a_day(desk.account.pk, NOW) == 23


class TestApproval:
    def test_above_the_limit_it_waits_with_its_funds_held(self, desk: Desk) -> None:
        desk.set_policy(approval_above_in_wei=2 * ETHER)
        assert desk.accept(2 * ETHER).stage == "ACCEPTED"
        assert not Approval.objects.exists()
        payment = desk.accept(2 * ETHER + 1)
        assert (payment.status, payment.stage, payment.wait_reason) == ("PENDING", "REVIEW", "")
        assert (payment.next_check_at, payment.approved_at, payment.nonce) == (None, None, None)
        approval = Approval.objects.get()
        assert (approval.pk, approval.requested_at, approval.above_in_wei) == (payment.pk, NOW, 2 * ETHER)
        assert (approval.is_open, approval.decided_at, approval.decided_by) == (True, None, None)
        assert Hold.objects.get(source=str(payment.pk)).status == "held"
        desk.account.refresh_from_db()
        assert desk.account.available_balance_in_wei == 96 * ETHER - 1 - 2 * FEE
        desk.assert_books_balance()

    def test_the_answer_says_so(self, desk: Desk) -> None:
        desk.set_policy(approval_above_in_wei=0)
        assert desk.ask(1).detail["stage"] == "REVIEW"

    def test_nothing_of_it_is_sent(self, desk: Desk) -> None:
        payment = desk.accept_for_review()
        desk.broadcast()
        desk.mine(3)
        payment.refresh_from_db()
        assert payment.stage == "REVIEW"
        assert not desk.chain.mined

    def test_what_is_refused_needs_no_approval(self, desk: Desk) -> None:
        desk.set_policy(approval_above_in_wei=ETHER, amount_max_in_wei=3 * ETHER, daily_amount_max_in_wei=3 * ETHER)
        desk.accept(2 * ETHER)
        refused(AmountAbovePolicyError, lambda: desk.ask(4 * ETHER))
        refused(DailyAmountExceededError, lambda: desk.ask(2 * ETHER))
        desk.set_policy(approval_above_in_wei=0)
        before = rows()
        with pytest.raises(InsufficientFundsError):
            desk.ask(99 * ETHER)
        assert rows() == before


class TestReplays:
    def test_the_first_answer_stays_whatever_the_policy_says_now(self, desk: Desk) -> None:
        first = desk.ask(3 * ETHER, key="k")
        desk.set_policy(
            amount_max_in_wei=1, daily_amount_max_in_wei=1, approval_above_in_wei=0, is_allow_list_only=True
        )
        before = rows()
        assert desk.ask(3 * ETHER, key="k") == Acceptance(first.detail, replayed=True)
        assert rows() == before
        assert first.detail["stage"] == "ACCEPTED"

    def test_one_that_waited_for_approval_is_told_so_again(self, desk: Desk) -> None:
        desk.set_policy(approval_above_in_wei=0)
        first = desk.ask(3 * ETHER, key="k")
        desk.set_policy()
        assert desk.ask(3 * ETHER, key="k") == Acceptance(first.detail, replayed=True)

    def test_a_refused_request_leaves_its_key_free(self, desk: Desk) -> None:
        desk.set_policy(amount_max_in_wei=1)
        refused(AmountAbovePolicyError, lambda: desk.ask(2, key="k"))
        desk.set_policy()
        assert not desk.ask(2, key="k").replayed


class TestCost:
    """In statements. Payment, with the policy, and hold are prepared ones, which are not counted."""

    def test_without_a_policy_it_costs_nothing(
        self, desk: Desk, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        with django_assert_num_queries(2):  # two savepoints
            desk.ask()

    def test_with_one_it_costs_what_it_asks_for(
        self, desk: Desk, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        desk.set_policy(amount_max_in_wei=9 * ETHER, is_allow_list_only=True)
        desk.allow(RECIPIENT)
        with django_assert_num_queries(3):  # and is the recipient on the list?
            desk.ask()
        desk.set_policy(daily_amount_max_in_wei=9 * ETHER)
        with django_assert_num_queries(3):  # and what was paid today?
            desk.ask()
        desk.set_policy(approval_above_in_wei=0)
        with django_assert_num_queries(6):  # all undone, then done anew, and approval asked for
            desk.ask()


class TestForecast:
    """What pages say before anything is asked for."""

    def test_an_account_without_a_policy_has_no_limits(self, desk: Desk) -> None:
        assert limits_of(desk.account.pk, RECIPIENT) == NO_LIMITS
        check_limits(NO_LIMITS, account_id=desk.account.pk, amount_in_wei=WEI_MAX, now=NOW)
        assert not NO_LIMITS.needs_approval(WEI_MAX)

    def test_it_is_what_acceptance_would_say(self, desk: Desk) -> None:
        desk.set_policy(
            amount_max_in_wei=5, daily_amount_max_in_wei=7, approval_above_in_wei=3, is_allow_list_only=True
        )
        desk.allow(RECIPIENT)
        desk.accept(3)
        limits = limits_of(desk.account.pk, RECIPIENT)
        assert limits == Limits(5, 7, 3, is_recipient_allowed=True)
        assert not limits_of(desk.account.pk, OTHER).is_recipient_allowed
        for amount, error in ((6, AmountAbovePolicyError), (5, DailyAmountExceededError)):
            with pytest.raises(error):
                check_limits(limits, account_id=desk.account.pk, amount_in_wei=amount, now=NOW)
            refused(error, lambda amount=amount: desk.ask(amount))  # type: ignore[misc]
        check_limits(limits, account_id=desk.account.pk, amount_in_wei=4, now=NOW)
        assert [limits.needs_approval(amount) for amount in (3, 4)] == [False, True]
        assert desk.accept(4).is_in_review


@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    def test_a_day_is_not_paid_twice(self, desk: Desk) -> None:
        """Thirty-two ask at the same moment; three fit."""
        desk.set_policy(daily_amount_max_in_wei=3 * ETHER)
        barrier = threading.Barrier(32)

        def ask(_: int) -> object:
            barrier.wait(20)
            try:
                return desk.ask(ETHER)
            except TransactionsError as error:
                return type(error)
            finally:
                connections.close_all()

        with ThreadPoolExecutor(32) as threads:
            answers = list(threads.map(ask, range(32)))
        assert sum(isinstance(answer, Acceptance) for answer in answers) == 3
        assert answers.count(DailyAmountExceededError) == 29
        assert paid_in_a_day(desk.account.pk, NOW) == 3 * ETHER
        desk.assert_books_balance()
