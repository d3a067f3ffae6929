"""Operators set policies and allow-lists on pages that ask why; nobody else does, and nobody their own."""

from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.urls import reverse

from accounts.ledger import system_account
from accounts.models import Account, AccountKind, AuditEvent
from tests.desk import ETHER, NOW, Desk, make_account, make_address, make_user
from tests.staff import Staff, events, make_staff
from transactions.models import AccountPolicy, AllowedRecipient
from transactions.services.policies import Terms, terms_of

FIRST, SECOND = make_address(2**107), make_address(2**108)


@pytest.fixture
def account(db: None) -> Account:
    return make_account(make_user("carol"), name="Shop")


def set_url(account_id: int) -> str:
    return reverse("admin:transactions_accountpolicy_set", args=[account_id])


def page_url(account: Account) -> str:
    return reverse("admin:transactions_accountpolicy_change", args=[account.pk])


def allow_url(account_id: int) -> str:
    return reverse("admin:transactions_allowedrecipient_allow", args=[account_id])


def disallow_url(*rows: AllowedRecipient) -> str:
    return reverse("admin:transactions_allowedrecipient_disallow") + "?" + "&".join(f"id={row.pk}" for row in rows)


def fill(staff: Staff, account: Account, **fields: str) -> Any:
    """Fill in the policy's form as the page has it, but for the fields."""
    form = staff.client.get(set_url(account.pk)).context["form"]
    shown = {name: form[name].value() or "" for name in form.fields if name != "is_allow_list_only"}
    return staff.client.post(set_url(account.pk), {**shown, "reason": "Contract", **fields})


def shown(staff: Staff, url: str) -> str:
    content: str = staff.client.get(url).content.decode()
    return content


def said(answer: Any) -> list[str]:
    return [str(message) for message in get_messages(answer.wsgi_request)]


class TestPolicy:
    def test_it_is_set_in_ether_and_shown(self, operator: Staff, account: Account) -> None:
        fields = {"amount_max_in_wei": "2.5", "daily_amount_max_in_wei": "10", "approval_above_in_wei": "0"}
        answer = fill(operator, account, is_allow_list_only="on", **fields)
        assert answer["Location"] == page_url(account)
        assert terms_of(AccountPolicy.objects.get()) == Terms(5 * ETHER // 2, 10 * ETHER, 0, is_allow_list_only=True)
        rules = "at most 2.5 ETH at once, at most 10 ETH within 24 hours, approval above 0 ETH, only recipients on its"
        assert said(answer) == [f"The policy of Shop (#{account.pk}) is now: {rules} allow-list."]
        (event,) = events("account.policy_set")
        assert (event.actor, event.reason, event.target_id) == (operator.user, "Contract", str(account.pk))
        page = shown(operator, page_url(account))
        assert "2.5 ETH" in page
        assert set_url(account.pk) in page
        assert f"target_type=accounts.account&amp;target_id={account.pk}" in page
        listed = shown(operator, reverse("admin:transactions_accountpolicy_changelist"))
        assert "carol" in listed
        assert "only: 0" in listed

    def test_its_account_shows_and_links_it(self, operator: Staff, account: Account) -> None:
        url = reverse("admin:accounts_account_change", args=[account.pk])
        assert set_url(account.pk) in shown(operator, url)
        fill(operator, account, amount_max_in_wei="2.5")
        page = shown(operator, url)
        assert f'<a href="{page_url(account)}">at most 2.5 ETH at once</a>' in page
        assert set_url(account.pk) not in shown(make_staff("viewers"), url)
        fill(operator, account, amount_max_in_wei="")
        assert f'<a href="{page_url(account)}">no limits</a>' in shown(operator, url)

    def test_a_form_starts_from_the_policy_of_now_and_blank_is_no_limit(
        self, operator: Staff, account: Account
    ) -> None:
        fill(operator, account, amount_max_in_wei="0.000000000000000001", approval_above_in_wei="0.0")
        page = shown(operator, set_url(account.pk))
        assert 'value="0.000000000000000001"' in page
        assert 'value="0"' in page
        fill(operator, account, amount_max_in_wei=" ", is_allow_list_only="on")
        assert terms_of(AccountPolicy.objects.get()) == Terms(approval_above_in_wei=0, is_allow_list_only=True)
        assert "checked" in shown(operator, set_url(account.pk))

    @pytest.mark.parametrize("name", ["amount_max_in_wei", "daily_amount_max_in_wei", "approval_above_in_wei"])
    @pytest.mark.parametrize("text", ["ten", "-1", "1,5", "0.0000000000000000001", "9" * 70])
    def test_what_is_no_amount_is_told_and_sets_nothing(
        self, operator: Staff, account: Account, name: str, text: str
    ) -> None:
        answer = fill(operator, account, **{name: text})
        assert list(answer.context["form"].errors) == [name]
        assert not AccountPolicy.objects.exists()

    @pytest.mark.parametrize("name", ["amount_max_in_wei", "daily_amount_max_in_wei"])
    def test_a_limit_of_nothing_is_none(self, operator: Staff, account: Account, name: str) -> None:
        answer = fill(operator, account, **{name: "0"})
        assert answer.context["form"].errors == {name: ["The amount must be more than zero."]}

    def test_a_reason_is_needed(self, operator: Staff, account: Account) -> None:
        answer = fill(operator, account, amount_max_in_wei="1", reason=" ")
        assert list(answer.context["form"].errors) == ["reason"]
        assert not AccountPolicy.objects.exists()

    def test_what_a_colleague_changed_meanwhile_stays(self, operator: Staff, account: Account) -> None:
        form = operator.client.get(set_url(account.pk)).context["form"]
        fill(operator, account, amount_max_in_wei="1")
        for seen_at in (form["seen_at"].value(), NOW.isoformat(), "nonsense"):
            late = fill(operator, account, amount_max_in_wei="9", seen_at=seen_at)
            assert late.status_code == 200
            assert late.context["form"].errors
        assert AccountPolicy.objects.get().amount_max_in_wei == ETHER
        assert len(events("account.policy_set")) == 1

    def test_nobody_sets_their_own(self, operator: Staff) -> None:
        own = make_account(operator.user)
        answer = fill(operator, own, amount_max_in_wei="1")
        assert "This account is your own: somebody else has to set its policy." in answer.content.decode()
        assert not AccountPolicy.objects.exists()

    def test_the_desks_own_accounts_have_none(self, operator: Staff) -> None:
        for number in (system_account(AccountKind.FEE_INCOME).pk, 10**9):
            assert operator.client.get(set_url(number)).status_code == 404
            assert operator.client.get(allow_url(number)).status_code == 404

    def test_policies_are_found(self, operator: Staff, account: Account) -> None:
        fill(operator, account, amount_max_in_wei="1")
        fill(operator, make_account(), amount_max_in_wei="1", is_allow_list_only="on")
        url = reverse("admin:transactions_accountpolicy_changelist")
        for query in ({"q": f"#{account.pk}"}, {"q": "CAROL"}, {"q": "shop"}, {"is_allow_list_only__exact": "0"}):
            found = operator.client.get(url, query).context["cl"].result_list
            assert [row.pk for row in found] == [account.pk], query

    def test_a_list_costs_the_same_however_long(
        self, operator: Staff, account: Account, django_assert_num_queries: Any
    ) -> None:
        url = reverse("admin:transactions_accountpolicy_changelist")
        operator.client.get(url)
        for _ in range(5):
            fill(operator, make_account(), amount_max_in_wei="1")
        with django_assert_num_queries(6):  # session, user, two of permissions, count, rows
            operator.client.get(url)


class TestAllowList:
    def test_a_list_is_pasted_with_its_notes(self, operator: Staff, account: Account) -> None:
        lines = f"{FIRST.lower()}  Acme Ltd, treasury \n\n {SECOND}\r\n"
        answer = operator.client.post(allow_url(account.pk), {"recipients": lines, "reason": "New customer"})
        listed = reverse("admin:transactions_allowedrecipient_changelist") + f"?account__id__exact={account.pk}"
        assert answer["Location"] == listed
        rows = AllowedRecipient.objects.order_by("pk").values_list("account", "address", "note")
        assert list(rows) == [(account.pk, FIRST, "Acme Ltd, treasury"), (account.pk, SECOND, "")]
        (event,) = events("account.recipients_allowed")
        assert (event.actor, event.reason) == (operator.user, "New customer")
        page = shown(operator, listed)
        assert FIRST in page
        assert "Acme Ltd, treasury" in page

    @pytest.mark.parametrize(
        ("lines", "words"),
        [
            (f"{FIRST}\nbob the builder", "Line 2: This is not an Ethereum address"),
            (f"{FIRST}\n{FIRST.lower()} again", "Line 2: this address is written twice."),
            (f"\n\n{FIRST[:-1]}x", "Line 3: This is not an Ethereum address"),
            (f"{FIRST} {'x' * 201}", "Line 1: a note has at most 200 characters."),
            ("\n" * 1_001 + FIRST, "At most 1,000 lines at once."),
            ("", "This field is required."),
            (" \n", "Write at least one address."),
        ],
    )
    def test_one_bad_line_lists_nobody(self, operator: Staff, account: Account, lines: str, words: str) -> None:
        answer = operator.client.post(allow_url(account.pk), {"recipients": lines, "reason": "x"})
        (error,) = answer.context["form"].errors["recipients"]
        assert words in error
        assert not AllowedRecipient.objects.exists()

    def test_recipients_are_taken_off_with_a_reason(self, operator: Staff, desk: Desk, account: Account) -> None:
        desk.allow(FIRST, SECOND, account=account)
        desk.allow(FIRST)
        theirs, second, ours = AllowedRecipient.objects.order_by("pk")
        fields = {"action": "disallow", "_selected_action": [theirs.pk, ours.pk], "index": 0}
        answer = operator.client.post(reverse("admin:transactions_allowedrecipient_changelist"), fields)
        assert answer["Location"] == disallow_url(theirs, ours)
        assert FIRST in shown(operator, answer["Location"])
        operator.client.post(answer["Location"], {"reason": " "})
        assert AllowedRecipient.objects.count() == 3
        done = operator.client.post(answer["Location"], {"reason": "Contract ended"})
        assert list(AllowedRecipient.objects.all()) == [second]
        assert sorted(said(done)) == sorted(
            [f"Disallowed for Shop (#{account.pk}): 1.", f"Disallowed for Main (#{desk.account.pk}): 1."]
        )
        assert {event.target_id for event in events("account.recipients_disallowed")} == {
            str(account.pk),
            str(desk.account.pk),
        }

    def test_nobody_changes_their_own(self, operator: Staff, desk: Desk) -> None:
        own = make_account(operator.user)
        desk.allow(FIRST, account=own)
        row = AllowedRecipient.objects.get()
        answer = operator.client.post(allow_url(own.pk), {"recipients": SECOND, "reason": "x"})
        assert "somebody else has to set its policy" in answer.content.decode()
        operator.client.post(disallow_url(row), {"reason": "x"})
        assert list(AllowedRecipient.objects.all()) == [row]

    @pytest.mark.parametrize("query", ["", "?id=", "?id=abc", "?id=999999999"])
    def test_of_none_chosen_nothing_is_asked(self, operator: Staff, query: str) -> None:
        url = reverse("admin:transactions_allowedrecipient_disallow")
        answer = operator.client.post(url + query, {"reason": "x"})
        assert answer["Location"] == reverse("admin:transactions_allowedrecipient_changelist")

    def test_recipients_are_found(self, operator: Staff, desk: Desk, account: Account) -> None:
        operator.client.post(allow_url(account.pk), {"recipients": f"{FIRST} Acme", "reason": "x"})
        desk.allow(SECOND)
        url = reverse("admin:transactions_allowedrecipient_changelist")
        for query in (
            {"q": FIRST.lower()}, {"q": "acme"}, {"q": "carol"}, {"q": f"#{account.pk}"},
            {"account__id__exact": account.pk},
        ):  # fmt: skip
            found = operator.client.get(url, query).context["cl"].result_list
            assert [row.address for row in found] == [FIRST], query


@pytest.mark.parametrize("group", ["viewers", "approvers", "schedulers"])
def test_only_operators_set_anything(desk: Desk, group: str) -> None:
    staff = make_staff(group)
    desk.set_policy(amount_max_in_wei=1)
    desk.allow(FIRST)
    row = AllowedRecipient.objects.get()
    count = AuditEvent.objects.count()
    forged = {"recipients": SECOND, "reason": "forged", "amount_max_in_wei": "9", "seen_at": ""}
    for url in (set_url(desk.account.pk), allow_url(desk.account.pk), disallow_url(row)):
        assert staff.client.get(url).status_code == 403
        assert staff.client.post(url, forged).status_code == 403
    assert AuditEvent.objects.count() == count
    if group != "schedulers":
        assert set_url(desk.account.pk) not in shown(staff, page_url(desk.account))
