"""The ledger by worked examples, to be read like a textbook.

Balances are what the desk owes. A user's account is credited when the desk owes more and debited when it owes less.
The desk's own assets and expenses stand opposite, below zero; its income above. All accounts together are zero.
"""

import pytest
from pytest_django import DjangoAssertNumQueries

from accounts.exceptions import BadAmountError, InsufficientFundsError
from accounts.ledger import JournalDraft, post, system_account
from accounts.models import Account, AccountKind, Hold, Journal, JournalKind
from accounts.money import WEI_MAX
from tests.accounts.ledger_words import LATER, account, balances, entries, hold, journal, rows
from tests.desk import ETHER, FEE, NETWORK_FEE, NOW, credit, make_account, make_user

pytestmark = pytest.mark.django_db


class TestFunding:
    def test_a_deposit_is_owed_to_the_user_and_stands_opposite_to_external_funding(self) -> None:
        alice, outside = make_account(make_user("alice")), account(AccountKind.EXTERNAL_FUNDING)
        deposit = journal((alice, 5 * ETHER), (outside, -5 * ETHER), source="deposit", kind=JournalKind.ADJUSTMENT)

        post(now=NOW, journals=[deposit])

        assert balances(alice, outside) == [(5 * ETHER, 5 * ETHER), (-5 * ETHER, -5 * ETHER)]
        assert entries(JournalKind.ADJUSTMENT, "deposit") == {
            alice.pk: (5 * ETHER, 5 * ETHER),
            outside.pk: (-5 * ETHER, -5 * ETHER),
        }

    def test_ether_sent_to_the_hot_wallet_is_an_asset_and_so_below_zero(self, wallet_account: Account) -> None:
        assert balances(wallet_account, account(AccountKind.EXTERNAL_FUNDING)) == [
            (-10 * ETHER, -10 * ETHER),
            (10 * ETHER, 10 * ETHER),
        ]

    def test_a_journal_says_who_when_and_why(self, alice: Account) -> None:
        outside, staff = account(AccountKind.EXTERNAL_FUNDING), make_user("carol")
        pairs = [(alice.pk, -7), (outside.pk, 7)]
        post(now=LATER, journals=[JournalDraft(JournalKind.ADJUSTMENT, "why", pairs, "Paid out by hand", staff.pk)])
        row = Journal.objects.get(source="why")
        assert (row.kind, row.description, row.created_by, row.created_at) == (
            "adjustment",
            "Paid out by hand",
            staff,
            LATER,
        )
        assert balances(alice) == [(5 * ETHER - 7, 5 * ETHER - 7)]


class TestPayment:
    """Alice pays 1 ether for a fee of 0.008 ether; the network burns 0.000042 ether of it."""

    def test_a_hold_reserves_amount_and_fee(self, alice: Account) -> None:
        hold(alice, ETHER + FEE, "1")

        assert balances(alice) == [(5 * ETHER, 4 * ETHER - FEE)]
        row = Hold.objects.get()
        assert (row.account_id, row.kind, row.source, row.amount_in_wei) == (alice.pk, "payment", "1", ETHER + FEE)
        assert (row.status, row.created_at, row.resolved_at) == ("held", NOW, None)
        assert alice.entries.count() == 1, "a hold is no entry"

    def test_success_pays_amount_and_network_fee_from_the_wallet_and_the_rest_is_income(
        self, alice: Account, wallet_account: Account
    ) -> None:
        income = account(AccountKind.FEE_INCOME)
        hold(alice, ETHER + FEE, "1")

        post(
            now=LATER,
            journals=[
                journal((alice, -(ETHER + FEE)), (wallet_account, ETHER + NETWORK_FEE), (income, FEE - NETWORK_FEE))
            ],
            settle_holds=["1"],
        )

        # 5 - 1 - 0.008; -10 + 1 + 0.000042; 0.008 - 0.000042
        assert balances(alice, wallet_account, income) == [
            (3_992_000_000_000_000_000, 3_992_000_000_000_000_000),
            (-8_999_958_000_000_000_000, -8_999_958_000_000_000_000),
            (7_958_000_000_000_000, 7_958_000_000_000_000),
        ]
        assert entries(JournalKind.SETTLEMENT, "1") == {
            alice.pk: (-1_008_000_000_000_000_000, 3_992_000_000_000_000_000),
            wallet_account.pk: (1_000_042_000_000_000_000, -8_999_958_000_000_000_000),
            income.pk: (7_958_000_000_000_000, 7_958_000_000_000_000),
        }
        row = Hold.objects.get()
        assert (row.status, row.resolved_at) == ("settled", LATER)

    def test_a_revert_gives_everything_back_and_the_burned_fee_is_our_expense(
        self, alice: Account, wallet_account: Account
    ) -> None:
        expense = account(AccountKind.NETWORK_FEES)
        hold(alice, ETHER + FEE, "1")

        post(
            now=LATER,
            journals=[journal((wallet_account, NETWORK_FEE), (expense, -NETWORK_FEE))],
            release_holds=["1"],
        )

        assert balances(alice, wallet_account, expense) == [
            (5 * ETHER, 5 * ETHER),
            (-10 * ETHER + 42_000_000_000_000, -10 * ETHER + 42_000_000_000_000),
            (-42_000_000_000_000, -42_000_000_000_000),
        ]
        row = Hold.objects.get()
        assert (row.status, row.resolved_at) == ("released", LATER)

    def test_a_rejection_gives_everything_back_and_posts_nothing(self, alice: Account) -> None:
        hold(alice, ETHER + FEE, "1")
        posted = Journal.objects.count()

        post(now=LATER, release_holds=["1"])

        assert balances(alice) == [(5 * ETHER, 5 * ETHER)]
        assert Journal.objects.count() == posted
        assert Hold.objects.get().status == "released"

    def test_many_at_once_cost_the_same_statements_and_bring_balances_forward_entry_by_entry(
        self, alice: Account, wallet_account: Account, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        income = account(AccountKind.FEE_INCOME)
        for number in range(1, 4):
            hold(alice, number * ETHER // 10 + FEE, str(number))
        drafts = [
            journal(
                (alice, -number * ETHER // 10 - FEE),
                (wallet_account, number * ETHER // 10),
                (income, FEE),
                source=str(number),
            )
            for number in range(1, 4)
        ]

        # Savepoint and release, holds, locks, journals, entries, balances.
        with django_assert_num_queries(7):
            post(now=LATER, journals=drafts, settle_holds=["1", "2", "3"])

        after = [entries(JournalKind.SETTLEMENT, str(number))[alice.pk][1] for number in range(1, 4)]
        assert after == [
            5 * ETHER - ETHER // 10 - FEE,
            5 * ETHER - 3 * ETHER // 10 - 2 * FEE,
            5 * ETHER - 6 * ETHER // 10 - 3 * FEE,
        ]
        assert balances(alice, wallet_account, income) == [
            (after[-1], after[-1]),
            (-10 * ETHER + 6 * ETHER // 10, -10 * ETHER + 6 * ETHER // 10),
            (3 * FEE, 3 * FEE),
        ]

    def test_settling_one_hold_leaves_the_others_reserved(self, alice: Account, wallet_account: Account) -> None:
        hold(alice, 2 * ETHER, "1")
        hold(alice, 3 * ETHER, "2")
        post(now=LATER, journals=[journal((alice, -2 * ETHER), (wallet_account, 2 * ETHER))], settle_holds=["1"])
        assert balances(alice) == [(3 * ETHER, 0)]


class TestAdjustment:
    def test_staff_take_wei_off_an_account(self, alice: Account) -> None:
        outside = account(AccountKind.EXTERNAL_FUNDING)
        before = balances(outside)[0][0]
        post(now=NOW, journals=[journal((alice, -ETHER), (outside, ETHER), source="a", kind=JournalKind.ADJUSTMENT)])
        assert balances(alice, outside) == [(4 * ETHER, 4 * ETHER), (before + ETHER, before + ETHER)]

    def test_what_is_held_can_not_be_taken_off(self, alice: Account) -> None:
        hold(alice, 4 * ETHER, "1")
        outside = account(AccountKind.EXTERNAL_FUNDING)
        before = rows()
        with pytest.raises(InsufficientFundsError):
            post(now=NOW, journals=[journal((alice, -ETHER - 1), (outside, ETHER + 1), kind=JournalKind.ADJUSTMENT)])
        assert rows() == before
        post(now=NOW, journals=[journal((alice, -ETHER), (outside, ETHER), kind=JournalKind.ADJUSTMENT)])
        assert balances(alice) == [(4 * ETHER, 0)]

    def test_the_largest_balance_there_is(self) -> None:
        rich, outside = make_account(), account(AccountKind.EXTERNAL_FUNDING)
        credit(rich, WEI_MAX)
        assert balances(rich, outside) == [(WEI_MAX, WEI_MAX), (-WEI_MAX, -WEI_MAX)]
        before = rows()
        with pytest.raises(BadAmountError, match="larger than the largest amount"):
            post(now=NOW, journals=[journal((rich, 1), (outside, -1))])
        assert rows() == before
        hold(rich, WEI_MAX)
        assert balances(rich) == [(WEI_MAX, 0)]


class TestSystemAccounts:
    def test_each_kind_is_made_once(self) -> None:
        kinds = [AccountKind.FEE_INCOME, AccountKind.NETWORK_FEES, AccountKind.EXTERNAL_FUNDING]
        first = [system_account(kind).pk for kind in kinds]
        assert len(set(first)) == 3
        assert [system_account(kind).pk for kind in kinds] == first
        assert [(row.kind, row.name, row.owner) for row in Account.objects.order_by("pk")] == [
            ("fee_income", "Fee income", None),
            ("network_fees", "Network fees", None),
            ("external_funding", "External funding", None),
        ]

    def test_a_new_one_starts_at_zero(self) -> None:
        assert balances(account(AccountKind.FEE_INCOME)) == [(0, 0)]
