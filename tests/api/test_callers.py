"""Who may call: programs by token, people by session with the CSRF token."""

from typing import Any

import pytest
from django.test import Client

from accounts.models import ApiToken, User
from tests.api.callers import PAYMENTS, Caller, books, json_of, problem_of
from tests.desk import make_user
from transactions.models import Transaction


@pytest.fixture
def browser(caller: Caller) -> Client:
    """The browser of the caller's user, signed in, with CSRF checked as in production."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(caller.user)
    return client


def test_a_token_needs_no_csrf_token(caller: Caller) -> None:
    client = Client(enforce_csrf_checks=True, headers={"Authorization": f"Bearer {caller.token}"})
    assert client.post(PAYMENTS, caller.payment(), content_type="application/json").status_code == 201


def test_the_scheme_is_named_in_any_case(caller: Caller) -> None:
    client = Client(headers={"Authorization": f"bearer  {caller.token} "})
    assert client.get("/api/v1/accounts").status_code == 200


def test_a_session_reads(browser: Client, caller: Caller) -> None:
    assert json_of(browser.get("/api/v1/accounts"))["results"][0]["id"] == caller.account.pk


def test_a_session_pays_with_its_csrf_token_only(browser: Client, caller: Caller) -> None:
    before = books()
    refused = browser.post(PAYMENTS, caller.payment(), content_type="application/json")
    assert problem_of(refused, 403)["code"] == "csrf_failed"
    assert books() == before
    browser.get("/api/v1/docs")
    token = browser.cookies["csrftoken"].value
    paid = browser.post(PAYMENTS, caller.payment(), content_type="application/json", headers={"X-CSRFToken": token})
    assert paid.status_code == 201
    assert Transaction.objects.count() == 1


def test_a_wrong_token_is_not_made_good_by_a_session(browser: Client) -> None:
    response = browser.get("/api/v1/accounts", headers={"Authorization": "Bearer txn_" + "x" * 43})
    assert problem_of(response, 401)["code"] == "bad_token"
    assert response["WWW-Authenticate"] == 'Bearer realm="txnsite", error="invalid_token"'


def test_nobody(db: None) -> None:
    response = Client().get("/api/v1/accounts")
    assert problem_of(response, 401)["code"] == "unauthorized"
    assert response["WWW-Authenticate"] == 'Bearer realm="txnsite"'


def test_a_session_that_is_over_is_nobody(browser: Client, caller: Caller) -> None:
    User.objects.filter(pk=caller.user.pk).update(is_active=False)
    assert problem_of(browser.get("/api/v1/accounts"), 401)["code"] == "unauthorized"


@pytest.mark.parametrize(
    "path",
    [
        "accounts",
        "accounts/1",
        "accounts/1/entries",
        "transactions",
        "transactions/1",
        "tasks/00000000-0000-0000-0000-000000000000",
    ],
)
def test_nothing_is_read_without_a_token(db: None, path: str) -> None:
    assert problem_of(Client().get(f"/api/v1/{path}"), 401)["code"] == "unauthorized"


def test_a_token_costs_no_query_the_second_time(caller: Caller, django_assert_num_queries: Any) -> None:
    caller.get("accounts/987654321")
    with django_assert_num_queries(1):  # the account
        caller.get("accounts/987654321")


def test_staff_see_no_more_than_their_own(caller: Caller) -> None:
    staff = Caller(make_user())
    User.objects.filter(pk=staff.user.pk).update(is_staff=True, is_superuser=True)
    assert staff.get(f"accounts/{caller.account.pk}").status_code == 404
    assert len(json_of(staff.get("accounts"))["results"]) == 1


def test_a_token_is_kept_as_its_hash_only(caller: Caller) -> None:
    row = ApiToken.objects.get(user=caller.user)
    assert caller.token not in str(row.__dict__)
    assert caller.token.startswith(row.start)
    assert len(row.start) == 12


@pytest.mark.django_db
def test_the_docs_page_is_shown_to_who_sends_a_token(client: Client) -> None:
    assert client.get("/api/v1/docs", headers={"Authorization": "Bearer txn_x"}).status_code == 200
