"""The pages of accounts: signing in and out, the list, one account with its payments and entries."""

import re

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from accounts.models import Account, User
from accounts.money import WEI_MAX
from tests.desk import ETHER, Desk, credit, freeze, make_account, make_user
from tests.pages import ids_of, links_of, owner_of, text_of

PASSWORD = "a password that nobody guesses"


@pytest.fixture
def desk(db: None) -> Desk:
    return Desk()


@pytest.fixture
def user(db: None) -> User:
    user = make_user("ada")
    user.set_password(PASSWORD)
    user.save()
    return user


@pytest.fixture
def ada(client: Client, user: User) -> Client:
    client.force_login(user)
    return client


# --- Signing in and out -----------------------------------------------------------------------------------------------
def test_signing_in_leads_to_the_page_that_was_asked_for(client: Client, user: User) -> None:
    asked = client.get("/payments/new/?account=3")
    assert asked.status_code == 302
    assert asked["Location"] == "/sign-in/?next=/payments/new/%3Faccount%3D3"
    page = client.get(asked["Location"])
    assert 'value="/payments/new/?account=3"' in page.content.decode()
    answer = client.post("/sign-in/", {"username": "ada", "password": PASSWORD, "next": "/payments/new/?account=3"})
    assert answer["Location"] == "/payments/new/?account=3"


def test_signing_in_leads_to_the_accounts_otherwise(client: Client, user: User) -> None:
    answer = client.post("/sign-in/", {"username": "ada", "password": PASSWORD}, follow=True)
    assert answer.redirect_chain == [("/accounts/", 302)]


def test_signing_in_never_leads_to_another_site(client: Client, user: User) -> None:
    answer = client.post("/sign-in/", {"username": "ada", "password": PASSWORD, "next": "https://example.org/"})
    assert answer["Location"] == "/accounts/"


def test_a_wrong_password_is_told_in_plain_words_and_the_name_stays(client: Client, user: User) -> None:
    answer = client.post("/sign-in/", {"username": "ada", "password": "wrong"})
    assert "This username and password don’t go together." in text_of(answer)
    assert 'value="ada"' in answer.content.decode()
    assert "wrong" not in answer.content.decode()


def test_who_was_switched_off_can_not_sign_in(client: Client, user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)
    answer = client.post("/sign-in/", {"username": "ada", "password": PASSWORD})
    assert "don’t go together" in text_of(answer)
    assert "_auth_user_id" not in client.session


def test_who_is_signed_in_is_not_asked_again(ada: Client) -> None:
    assert ada.get("/sign-in/")["Location"] == "/accounts/"


def test_signing_out_takes_a_post_and_ends_the_session(ada: Client) -> None:
    assert ada.get("/sign-out/").status_code == 405
    assert ada.post("/sign-out/")["Location"] == "/sign-in/"
    assert ada.get("/accounts/")["Location"] == "/sign-in/?next=/accounts/"


def test_forms_of_pages_need_the_csrf_token(user: User) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(user)
    answer = strict.post("/sign-out/")
    assert answer.status_code == 403
    assert "This page was open for too long" in text_of(answer)
    assert strict.get("/accounts/").status_code == 200


@pytest.mark.parametrize("name", ["account-list", "payment-new", "payment-confirm"])
def test_pages_are_for_people_who_are_signed_in(client: Client, db: None, name: str) -> None:
    path = reverse(name)
    assert client.get(path)["Location"] == f"/sign-in/?next={path}"


def test_the_front_door_leads_to_the_accounts(client: Client, db: None) -> None:
    assert client.get("/")["Location"] == "/accounts/"


def test_no_copy_of_a_page_is_kept(ada: Client) -> None:
    assert "no-store" in ada.get("/accounts/")["Cache-Control"]
    assert "private" in ada.get("/accounts/")["Cache-Control"]


def test_pages_allow_content_from_this_host_only(ada: Client) -> None:
    policy = ada.get("/accounts/")["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    html = ada.get("/accounts/").content.decode()
    assert not re.search(r"<style|style=|<script(?![^>]*src=)|\son[a-z]+=", html)
    assert not re.search(r'(src|href)="(https?:)?//', html)


# --- The list ---------------------------------------------------------------------------------------------------------
def test_each_account_shows_available_current_and_held_in_ether_and_wei(desk: Desk, client: Client) -> None:
    desk.accept(ETHER + 1)
    client.force_login(owner_of(desk.account))
    text = text_of(client.get("/accounts/"))
    assert "Available 98.991999999999999999 ETH 98991999999999999999 wei" in text
    assert "Current 100 ETH 100000000000000000000 wei" in text
    assert "Held 1.008000000000000001 ETH 1008000000000000001 wei" in text


def test_balances_can_be_copied_to_the_wei(ada: Client, user: User) -> None:
    make_account(user, balance_in_wei=123)
    html = ada.get("/accounts/").content.decode()
    assert 'data-copy="123" data-what="available balance in wei"' in html


def test_the_largest_balance_there_is_survives(ada: Client, user: User) -> None:
    make_account(user, balance_in_wei=WEI_MAX)
    assert f"{WEI_MAX} wei" in text_of(ada.get("/accounts/"))


def test_only_ones_own_accounts_are_shown(ada: Client, user: User) -> None:
    make_account(user, name="Mine")
    make_account(name="Another's")
    text = text_of(ada.get("/accounts/"))
    assert "Mine" in text
    assert "Another" not in text


def test_no_account_yet(ada: Client) -> None:
    assert "You have no account yet." in text_of(ada.get("/accounts/"))


def test_a_frozen_account_is_told_in_plain_words_without_the_staffs_reason(ada: Client, user: User) -> None:
    freeze(make_account(user))
    text = text_of(ada.get("/accounts/"))
    assert "This account is frozen" in text
    assert "No new payments can be made from it until our staff unfreeze it." in text
    assert "A test froze it." not in text


def test_the_list_takes_as_many_queries_for_many_accounts_as_for_one(
    ada: Client, user: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    # Session, user, accounts.
    for _ in range(2):
        make_account(user, balance_in_wei=1)
        with django_assert_num_queries(3):
            ada.get("/accounts/")


def test_no_two_elements_of_a_page_share_an_id(ada: Client, user: User) -> None:
    accounts = [make_account(user, balance_in_wei=1) for _ in range(3)]
    for path in ("/accounts/", f"/accounts/{accounts[0].pk}/", "/payments/new/"):
        ids = ids_of(ada.get(path))
        assert len(ids) == len(set(ids)), path


# --- One account ------------------------------------------------------------------------------------------------------
@pytest.fixture
def owner(desk: Desk, client: Client) -> Client:
    """The owner of the desk's account, signed in."""
    client.force_login(owner_of(desk.account))
    return client


def path_of(account: Account) -> str:
    return reverse("account-detail", args=[account.pk])


def test_an_account_shows_its_entries_with_the_running_balance(desk: Desk, owner: Client) -> None:
    credit(desk.account, 5)
    text = text_of(owner.get(path_of(desk.account)))
    assert "0.000000000000000005 ETH Balance 100.000000000000000005 ETH" in text
    assert "100 ETH Balance 100 ETH" in text
    assert text.index("100.000000000000000005 ETH") < text.index("Balance 100 ETH"), "newest first"


def test_an_entry_of_a_settlement_leads_to_its_payment(desk: Desk, owner: Client) -> None:
    payment = desk.accept(ETHER)
    desk.run_to_the_end()
    page = owner.get(path_of(desk.account))
    assert f"Payment #{payment.pk} " in text_of(page)
    assert "-1.008 ETH Balance 98.992 ETH" in text_of(page)
    assert links_of(page).count(f"/payments/{payment.pk}/") == 2, "once among payments, once among entries"


def test_an_account_shows_its_payments(desk: Desk, owner: Client) -> None:
    payment = desk.accept(ETHER)
    page = owner.get(path_of(desk.account))
    assert f"/payments/{payment.pk}/" in links_of(page)
    assert "In progress 1 ETH" in text_of(page)


def test_states_of_payments_are_told_in_words(desk: Desk, owner: Client) -> None:
    desk.accept(ETHER)
    desk.run_to_the_end()
    desk.chain.down = True
    desk.accept(2 * ETHER)
    desk.broadcast()
    text = text_of(owner.get(path_of(desk.account)))
    assert "Successful 1 ETH" in text
    assert "Waiting 2 ETH" in text


def test_payments_and_entries_have_pages_of_their_own(desk: Desk, owner: Client) -> None:
    ids = [row.pk for row in reversed(desk.accept_many(21))]
    for _ in range(11):
        credit(desk.account, 1)
    path = path_of(desk.account)
    first = owner.get(path)
    assert _payment_ids(first) == ids[:10]
    second = owner.get(path + _older(first, "payments"))
    assert _payment_ids(second) == ids[10:20]
    third = owner.get(path + _older(second, "payments"))
    assert _payment_ids(third) == ids[20:]
    assert [link for link in links_of(third) if link.endswith("#payments")] == ["?#payments"], "only Newest is left"
    # Turning the pages of one list leaves the other where it is.
    both = owner.get(path + _older(second, "entries"))
    assert _payment_ids(both) == ids[10:20]
    assert "Balance 100 ETH" in text_of(both)
    assert "Balance 100 ETH" not in text_of(second)


def _older(page: object, name: str) -> str:
    """Return the link to the next page of a list."""
    return next(link for link in links_of(page) if link.endswith(f"#{name}") and f"{name}=" in link).replace(
        "&amp;", "&"
    )


def _payment_ids(page: object) -> list[int]:
    return [int(found[1]) for link in links_of(page) if (found := re.fullmatch(r"/payments/(\d+)/", link))]


def test_a_cursor_that_was_not_handed_out_leads_to_the_first_page(desk: Desk, owner: Client) -> None:
    for query in ("?payments=nonsense", "?entries=ZW50cnk6MA"):
        assert owner.get(path_of(desk.account) + query)["Location"] == path_of(desk.account)


def test_an_empty_account_says_so(ada: Client, user: User) -> None:
    text = text_of(ada.get(path_of(make_account(user))))
    assert "No payments yet." in text
    assert "Nothing was booked yet." in text


def test_a_frozen_account_offers_no_new_payment(ada: Client, user: User) -> None:
    account = make_account(user)
    assert f"/payments/new/?account={account.pk}" in links_of(ada.get(path_of(account)))
    freeze(account)
    page = ada.get(path_of(account))
    assert f"/payments/new/?account={account.pk}" not in links_of(page)
    assert "This account is frozen" in text_of(page)


def test_anothers_account_is_as_good_as_none(ada: Client, desk: Desk) -> None:
    others = ada.get(path_of(desk.account))
    none = ada.get("/accounts/999999/")
    huge = ada.get(f"/accounts/{10**30}/")
    assert [others.status_code, none.status_code, huge.status_code] == [404, 404, 404]
    assert text_of(others) == text_of(none) == text_of(huge)


def test_the_desks_own_accounts_are_nobodys_page(ada: Client, desk: Desk) -> None:
    assert ada.get(path_of(desk.wallet.account)).status_code == 404


def test_an_account_takes_as_many_queries_for_many_rows_as_for_one(
    desk: Desk, owner: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(2):
        desk.accept(1)
        desk.run_to_the_end()
        # Session, user; the account, asked for by the page and by each list; payments; deposits on their way; entries.
        with django_assert_num_queries(8):
            owner.get(path_of(desk.account))
        desk.accept_many(9)
