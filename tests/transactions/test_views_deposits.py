"""The pages of deposits: where to pay in, what is on its way, and how it stays true while it is watched."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings

from accounts.models import Account, User
from tests.deposits import (
    SENDER,
    address_of,
    block_hash,
    credit_to,
    make_deposit,
    undo_from,
    walk_to,
)
from tests.desk import ETHER, credit, freeze, make_account, make_user, write_deposit_seed
from tests.pages import ids_of, links_of, text_of
from transactions.deposit_wording import tell_when_credited
from transactions.models import Deposit, Wallet
from transactions.networks import network_name

HTMX = {"HX-Request": "true", "HX-Current-URL": "http://testserver/accounts/1/deposits/"}


@pytest.fixture
def seed(tmp_path: Path, settings: Settings) -> Path:
    directory = settings.KEYSTORE_DIR = tmp_path / "keystore"
    write_deposit_seed()
    return directory


@pytest.fixture
def user(db: None) -> User:
    return make_user("ada")


@pytest.fixture
def account(user: User) -> Account:
    return make_account(user, name="Savings")


@pytest.fixture
def ada(client: Client, user: User) -> Client:
    client.force_login(user)
    return client


def path_of(account: Account) -> str:
    return f"/accounts/{account.pk}/deposits/"


def poll(client: Client, page: Any) -> Any:
    """Ask what a watching page asks next."""
    found = re.search(r'hx-get="([^"]+)"', page.content.decode())
    assert found, "the page asks for nothing"
    return client.get(found[1], headers=HTMX)


# --- The address ------------------------------------------------------------------------------------------------------
class TestTheAddress:
    def test_an_account_gets_one_by_a_button_and_keeps_it(self, seed: Path, ada: Client, account: Account) -> None:
        page = ada.get(path_of(account))
        assert "This account has no deposit address yet." in text_of(page)
        assert "csrfmiddlewaretoken" in page.content.decode()
        assert not Wallet.objects.exists(), "looking makes nothing"
        answer = ada.post(path_of(account))
        assert (answer.status_code, answer["Location"]) == (302, path_of(account))
        address = address_of(account)
        ada.post(path_of(account))
        assert address_of(account) == address
        assert f"Deposit address {address}" in text_of(ada.get(path_of(account)))

    def test_it_is_shown_with_all_that_who_pays_must_know(self, seed: Path, ada: Client, account: Account) -> None:
        ada.post(path_of(account))
        page, address = ada.get(path_of(account)), address_of(account)
        text = text_of(page)
        assert "Network Development chain (chain id 31337)" in text
        assert "Credited After 10 confirmations by the network" in text
        assert "Send only ether, and only on Development chain" in text
        assert "Ether that a contract passes on" in text
        assert f'data-copy="{address}"' in page.content.decode()
        assert f"ethereum:{address}@31337" in links_of(page)
        assert '<svg viewBox="0 0 41 41"' in page.content.decode()
        assert len(set(ids_of(page))) == len(ids_of(page))

    def test_the_page_keeps_to_the_policy(self, seed: Path, ada: Client, account: Account) -> None:
        make_deposit(account)
        html = ada.get(path_of(account)).content.decode()
        assert not re.search(r"<style|style=|<script(?![^>]*src=)|\son[a-z]+=", html)
        assert not re.search(r'(src|href)="(https?:)?//', html)

    def test_a_token_is_needed_to_get_one(self, seed: Path, user: User, account: Account) -> None:
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(user)
        assert strict.post(path_of(account)).status_code == 403
        assert not Wallet.objects.exists()

    def test_a_desk_without_a_seed_says_so(
        self, tmp_path: Path, settings: Settings, ada: Client, account: Account
    ) -> None:
        settings.KEYSTORE_DIR = tmp_path
        page = ada.get(path_of(account))
        assert page.status_code == 200
        assert "Deposits are not possible at this desk yet." in text_of(page)
        assert "Get a deposit address" not in text_of(page)
        answer = ada.post(path_of(account), follow=True)
        assert answer.redirect_chain == [(path_of(account), 302)]
        assert "can't be made at the moment" in text_of(answer)
        assert not Wallet.objects.exists()

    def test_an_address_is_shown_although_the_seed_is_gone(self, seed: Path, ada: Client, account: Account) -> None:
        ada.post(path_of(account))
        for file in seed.iterdir():
            file.unlink()
        assert address_of(account) in text_of(ada.get(path_of(account)))

    def test_a_frozen_account_can_receive(self, seed: Path, ada: Client, account: Account) -> None:
        freeze(account)
        assert path_of(account) in links_of(ada.get(f"/accounts/{account.pk}/"))
        ada.post(path_of(account))
        assert address_of(account) in text_of(ada.get(path_of(account)))

    def test_anothers_account_and_none_are_the_same_answer(self, seed: Path, ada: Client) -> None:
        another = make_account()
        for number in (another.pk, 987_654_321):
            for path in (f"/accounts/{number}/deposits/", f"/accounts/{number}/deposits/live/"):
                assert ada.get(path).status_code == 404
            assert ada.post(f"/accounts/{number}/deposits/").status_code == 404
        assert not Wallet.objects.exists()

    def test_it_is_for_people_who_are_signed_in(self, seed: Path, client: Client, account: Account) -> None:
        assert client.get(path_of(account))["Location"] == f"/sign-in/?next={path_of(account)}"
        assert client.post(path_of(account)).status_code == 302
        assert not Wallet.objects.exists()


# --- What comes -------------------------------------------------------------------------------------------------------
class TestWhatComes:
    def test_a_deposit_is_told_from_its_block_to_its_credit(self, seed: Path, ada: Client, account: Account) -> None:
        deposit = make_deposit(account, 3 * ETHER // 2, block_number=5)
        walk_to(7)
        page = ada.get(path_of(account))
        text = text_of(page)
        assert "1.5 ETH On its way" in text
        assert "3 of 10 confirmations" in text
        assert '<progress max="100" value="28"' in page.content.decode()
        assert "Block 5" in text
        for copied in (SENDER, deposit.transaction_hash):
            assert f'data-copy="{copied}"' in page.content.decode()
        walk_to(14)
        assert "Confirmed, being credited" in text_of(ada.get(path_of(account)))
        credit_to(5)
        page = ada.get(path_of(account))
        assert "1.5 ETH Credited" in text_of(page)
        assert "<progress" not in page.content.decode()

    def test_finality_by_the_network_is_told_as_such(
        self, seed: Path, settings: Settings, ada: Client, account: Account
    ) -> None:
        settings.CHAIN_FINALITY = "finalized"
        make_deposit(account, block_number=1)
        walk_to(40)
        text = text_of(ada.get(path_of(account)))
        assert "Confirmed, waiting for finality" in text
        assert "Once the network declares it final" in text

    def test_what_a_reorg_undid_is_told_with_what_became_of_the_money(
        self, seed: Path, ada: Client, account: Account
    ) -> None:
        make_deposit(account, block_number=5)
        walk_to(5)
        undo_from(5)
        text = text_of(ada.get(path_of(account)))
        assert "1 ETH Undone by the network" in text
        assert "taken back" not in text
        Deposit.objects.update(status="waiting", block_number=5, block_hash=block_hash(5))
        walk_to(14)
        credit_to(5)
        undo_from(5)
        assert "It was taken back from the account." in text_of(ada.get(path_of(account)))

    def test_only_this_accounts(self, seed: Path, ada: Client, user: User, account: Account) -> None:
        make_deposit(make_account(user), 7)
        make_deposit(account, ETHER)
        walk_to(1)
        text = text_of(ada.get(path_of(account)))
        assert "1 ETH On its way" in text
        assert "0.000000000000000007" not in text

    def test_many_come_in_pages_of_which_only_the_first_is_live(
        self, seed: Path, ada: Client, account: Account
    ) -> None:
        for number in range(1, 13):
            make_deposit(account, number * ETHER)
        first = ada.get(path_of(account))
        (older,) = [link for link in links_of(first) if link.startswith("?deposits=")]
        second = ada.get(path_of(account) + older)
        assert "12 ETH On its way" in text_of(first)
        assert "3 ETH On its way" in text_of(first)
        assert "hx-get" in first.content.decode()
        assert "2 ETH On its way" in text_of(second)
        assert "3 ETH On its way" not in text_of(second)
        assert "hx-get" not in second.content.decode()
        assert "?#deposits" in links_of(second)

    def test_a_bad_cursor_leads_to_the_newest(self, seed: Path, ada: Client, account: Account) -> None:
        make_deposit(account)
        assert ada.get(f"{path_of(account)}?deposits=nonsense")["Location"] == path_of(account)

    def test_ten_cost_what_one_costs(
        self, seed: Path, ada: Client, account: Account, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        make_deposit(account)
        # Session, user, account, address; the list and its head; the sum of those on their way and its head.
        with django_assert_num_queries(8):
            ada.get(path_of(account))
        for _ in range(9):
            make_deposit(account)
        with django_assert_num_queries(8):
            ada.get(path_of(account))


# --- Live -------------------------------------------------------------------------------------------------------------
class TestLive:
    def test_as_long_as_it_is_true_nothing_is_sent(self, seed: Path, ada: Client, account: Account) -> None:
        make_deposit(account, block_number=1)
        walk_to(1)
        page = ada.get(path_of(account))
        answer = poll(ada, page)
        assert (answer.status_code, answer.content) == (204, b"")
        walk_to(2)
        answer = poll(ada, page)
        assert "2 of 10 confirmations" in text_of(answer)
        assert poll(ada, answer).status_code == 204

    def test_a_new_one_appears_and_is_asked_about_more_often(self, seed: Path, ada: Client, account: Account) -> None:
        ada.post(path_of(account))
        walk_to(1)
        page = ada.get(path_of(account))
        assert "Nothing has come in yet." in text_of(page)
        assert 'hx-trigger="every 5s"' in page.content.decode()
        make_deposit(account, block_number=1)
        answer = poll(ada, page)
        assert "1 ETH On its way" in text_of(answer)
        assert 'hx-trigger="every 2s"' in answer.content.decode()
        said = re.search(r"innerHTML:#progress-said\">([^<]*)<", answer.content.decode())
        assert said is not None
        assert said[1] == "1 ETH on its way: 1 of 10 confirmations."

    @pytest.mark.parametrize("change", ["credited", "gone", "older credited"])
    def test_every_change_is_sent(self, seed: Path, ada: Client, account: Account, change: str) -> None:
        make_deposit(account, block_number=1)
        for _ in range(10):
            make_deposit(account, block_number=2)
        walk_to(10)
        page = ada.get(path_of(account))
        match change:
            case "credited":
                credit_to(2)
            case "gone":
                undo_from(1)
            case _:
                # Of the second page: only the sum of what is on its way tells of it here.
                credit_to(1)
        assert poll(ada, page).status_code == 200

    def test_what_changes_behind_its_credit_is_sent_too(self, seed: Path, ada: Client, account: Account) -> None:
        make_deposit(account, block_number=1)
        walk_to(10)
        credit_to(1)
        page = ada.get(path_of(account))
        undo_from(1)
        answer = poll(ada, page)
        assert "1 ETH Undone by the network" in text_of(answer)

    def test_without_htmx_it_is_the_page(self, seed: Path, ada: Client, account: Account) -> None:
        assert ada.get(f"{path_of(account)}live/")["Location"] == path_of(account)
        make_deposit(account)
        assert '<noscript><meta http-equiv="refresh"' in ada.get(path_of(account)).content.decode()

    def test_a_session_that_ended_leads_to_sign_in(self, seed: Path, ada: Client, account: Account) -> None:
        make_deposit(account)
        page = ada.get(path_of(account))
        ada.logout()
        assert poll(ada, page)["HX-Redirect"].startswith("/sign-in/")


# --- The account's page -----------------------------------------------------------------------------------------------
class TestTheAccountsPage:
    def test_what_is_on_its_way_is_said(self, seed: Path, ada: Client, account: Account) -> None:
        path = f"/accounts/{account.pk}/"
        assert "on its way" not in text_of(ada.get(path))
        make_deposit(account, 3 * ETHER // 2, block_number=1)
        walk_to(3)
        page = ada.get(path)
        assert "1.5 ETH on its way: 3 of 10 confirmations." in text_of(page)
        assert path_of(account) in links_of(page)
        make_deposit(account, ETHER, block_number=3)
        assert "2.5 ETH on their way in 2 deposits; the newest: 1 of 10 confirmations." in text_of(ada.get(path))
        credit_to(3)
        assert "their way" not in text_of(ada.get(path))

    def test_its_entries_lead_to_the_deposits(self, seed: Path, ada: Client, account: Account) -> None:
        make_deposit(account, ETHER, block_number=5)
        walk_to(14)
        credit_to(5)
        undo_from(5)
        credit(account, 3)
        html = ada.get(f"/accounts/{account.pk}/").content.decode()
        assert f'<a href="{path_of(account)}">Deposit</a>' in html
        assert f'<a href="{path_of(account)}">Deposit undone by the network</a>' in html
        assert "Credit or debit by staff" in html


# --- Words ------------------------------------------------------------------------------------------------------------
def test_networks_by_name() -> None:
    assert (network_name(1), network_name(11155111)) == ("Ethereum", "Sepolia (test network)")
    assert network_name(4242) == "Chain 4242"


def test_one_confirmation_is_one(settings: Settings) -> None:
    settings.CONFIRMATIONS = 1
    assert tell_when_credited() == "After 1 confirmation by the network"
