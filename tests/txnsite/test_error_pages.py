"""Error pages: in our look, in plain words, and without needing what may be broken."""

import pytest
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import OperationalError
from django.test import Client, RequestFactory
from django.urls import reverse
from django.views.defaults import bad_request, permission_denied, server_error

from accounts import views
from tests.desk import make_user
from tests.pages import text_of


def test_an_address_that_does_not_exist(client: Client, db: None) -> None:
    answer = client.get("/nowhere/")
    assert answer.status_code == 404
    assert "There is nothing here" in text_of(answer)
    assert "Go to your accounts" in text_of(answer)


def test_who_is_signed_in_keeps_the_menu_on_a_page_that_does_not_exist(client: Client, db: None) -> None:
    client.force_login(make_user("ada"))
    assert "Signed in as ada" in text_of(client.get("/nowhere/"))


# These have no database: a query would fail the test.
def test_the_page_of_an_error_of_ours_needs_no_database_and_no_context() -> None:
    answer = server_error(RequestFactory().get("/"))
    assert answer.status_code == 500
    text = text_of(answer)
    assert "Something went wrong on our side" in text
    assert "nothing is ever paid twice by one confirmation" in text
    assert f'href="{reverse("home")}"' in answer.content.decode()


def test_the_page_of_a_bad_request_needs_no_database_and_no_context() -> None:
    answer = bad_request(RequestFactory().get("/"), SuspiciousOperation())
    assert answer.status_code == 400
    assert "This request can’t be understood" in text_of(answer)


def test_the_page_of_a_refusal() -> None:
    answer = permission_denied(RequestFactory().get("/"), PermissionDenied())
    assert answer.status_code == 403
    assert "This is not for you to see" in text_of(answer)


def test_an_error_of_ours_shows_its_page_and_nothing_of_itself(
    client: Client, db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OperationalError("the password of the database")

    monkeypatch.setattr(views, "accounts_of", fail)
    client.raise_request_exception = False
    client.force_login(make_user())
    answer = client.get("/accounts/")
    assert answer.status_code == 500
    assert "Something went wrong on our side" in text_of(answer)
    assert "password" not in text_of(answer)
