"""The page of one payment: what it tells, to whom, and how it stays true while it is watched."""

import re
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings

from tests.desk import ETHER, RECIPIENT, Desk, make_user, stages
from tests.pages import ids_of, links_of, owner_of, text_of
from tests.transactions.test_nonces import send_elsewhere
from transactions.models import Attempt

HTMX = {"HX-Request": "true", "HX-Current-URL": "http://testserver/payments/1/"}


@pytest.fixture
def owner(desk: Desk, client: Client) -> Client:
    """The owner of the desk's account, signed in."""
    client.force_login(owner_of(desk.account))
    return client


def poll(client: Client, page: Any) -> Any:
    """Ask what a watching page asks next."""
    found = re.search(r'hx-get="([^"]+)"', page.content.decode())
    assert found, "the page asks for nothing"
    return client.get(found[1], headers=HTMX)


def test_a_payment_is_told_from_acceptance_to_the_end(desk: Desk, owner: Client) -> None:
    payment = desk.accept(ETHER)
    path = f"/payments/{payment.pk}/"
    assert "Accepted, about to be signed" in text_of(owner.get(path))
    desk.broadcast()
    assert "Sent, waiting for a block" in text_of(owner.get(path))
    desk.mine()
    assert "1 of 10 confirmations" in text_of(owner.get(path))
    desk.mine(8)
    assert "9 of 10 confirmations" in text_of(owner.get(path))
    desk.mine()
    text = text_of(owner.get(path))
    assert "Payment done" in text
    assert "1.008 ETH left your account" in text


def test_a_finished_payment_shows_its_hash_block_addresses_and_fees_to_the_wei(desk: Desk, owner: Client) -> None:
    payment = desk.accept(ETHER + 1)
    desk.run_to_the_end()
    payment.refresh_from_db()
    text = text_of(owner.get(f"/payments/{payment.pk}/"))
    assert f"To {RECIPIENT}" in text
    assert f"Sent from {desk.wallet.address}" in text
    assert f"Transaction hash {payment.transaction_hash}" in text
    assert f"Block {payment.block_number} {payment.block_hash}" in text
    assert "Amount 1.000000000000000001 ETH 1000000000000000001 wei" in text
    assert "Fee 0.008 ETH 8000000000000000 wei" in text
    assert "Total 1.008000000000000001 ETH 1008000000000000001 wei" in text
    assert "Network’s fee 0.000042 ETH 42000000000000 wei Paid by us out of the fee" in text
    assert f'data-copy="{payment.transaction_hash}"' in owner.get(f"/payments/{payment.pk}/").content.decode()


def test_progress_is_a_bar_with_words_for_those_who_do_not_see_it(desk: Desk, owner: Client) -> None:
    payment = desk.accept()
    desk.broadcast()
    desk.mine(3)
    html = owner.get(f"/payments/{payment.pk}/").content.decode()
    assert re.search(r'<progress [^>]*max="100" value="49" aria-label="Progress of the payment"', html)
    assert html.count('aria-current="step"') == 1


def test_without_a_script_the_page_loads_itself_again_until_the_payment_is_final(desk: Desk, owner: Client) -> None:
    payment = desk.accept()
    refresh = '<noscript><meta http-equiv="refresh" content="3"></noscript>'
    assert refresh in owner.get(f"/payments/{payment.pk}/").content.decode()
    desk.run_to_the_end()
    final = owner.get(f"/payments/{payment.pk}/").content.decode()
    assert "http-equiv" not in final
    assert "hx-get" not in final
    assert "htmx" not in final


def test_a_watching_page_gets_an_answer_only_when_something_changed(desk: Desk, owner: Client) -> None:
    payment = desk.accept()
    page = owner.get(f"/payments/{payment.pk}/")
    unchanged = poll(owner, page)
    assert (unchanged.status_code, unchanged.content) == (204, b"")
    desk.broadcast()
    changed = poll(owner, page)
    assert changed.status_code == 200
    assert "Sent, waiting for a block" in text_of(changed)
    assert poll(owner, changed).status_code == 204


def test_an_update_is_a_fragment_with_title_and_words_for_screen_readers(desk: Desk, owner: Client) -> None:
    payment = desk.accept()
    page = owner.get(f"/payments/{payment.pk}/")
    desk.broadcast()
    desk.mine(2)
    update = poll(owner, page).content.decode()
    assert "<html" not in update
    assert " ".join(re.findall(r"<title>(.*?)</title>", update, re.S)[0].split()) == (
        f"2 of 10 confirmations · Payment #{payment.pk} · txnsite"
    )
    assert (
        '<div hx-swap-oob="innerHTML:#progress-said">In a block, being confirmed. 2 of 10 confirmations.</div>'
        in update
    )


def test_polling_ends_with_the_payment(desk: Desk, owner: Client) -> None:
    payment = desk.accept()
    page = owner.get(f"/payments/{payment.pk}/")
    desk.run_to_the_end()
    last = poll(owner, page)
    assert "Payment done" in text_of(last)
    assert "hx-get" not in last.content.decode()
    assert "hx-trigger" not in last.content.decode()


def test_a_page_whose_session_ended_goes_to_sign_in_and_comes_back(desk: Desk, owner: Client) -> None:
    payment = desk.accept()
    page = owner.get(f"/payments/{payment.pk}/")
    owner.logout()
    answer = poll(owner, page)
    assert answer.status_code == 200
    assert answer["HX-Redirect"] == "/sign-in/?next=/payments/1/"


def test_the_fragments_address_in_a_browser_leads_to_the_page(desk: Desk, owner: Client) -> None:
    payment = desk.accept()
    assert owner.get(f"/payments/{payment.pk}/live/")["Location"] == f"/payments/{payment.pk}/"


def test_a_refused_payment_says_that_no_money_was_taken(desk: Desk, owner: Client) -> None:
    desk.chain.reverting.add(RECIPIENT)
    payment = desk.accept()
    desk.broadcast()
    payment.refresh_from_db()
    assert payment.failure_detail
    text = text_of(owner.get(f"/payments/{payment.pk}/"))
    assert "The payment was refused" in text
    assert "No money was taken." in text
    assert f"The network said: “{payment.failure_detail}”" in text


def test_a_reverted_payment_says_that_the_networks_fee_is_on_us(desk: Desk, owner: Client) -> None:
    payment = desk.accept()
    desk.broadcast()
    desk.chain.reverting.add(RECIPIENT)
    desk.mine(10)
    text = text_of(owner.get(f"/payments/{payment.pk}/"))
    assert "The recipient refused the payment" in text
    assert "No money was taken." in text
    assert "Network’s fee" in text
    assert "Paid by us Transaction hash" in text


def test_a_payment_that_waits_says_what_for(desk: Desk, owner: Client) -> None:
    payment = desk.accept()
    desk.chain.down = True
    desk.broadcast()
    text = text_of(owner.get(f"/payments/{payment.pk}/"))
    assert "Waiting for the Ethereum network" in text
    assert "1.008 ETH are reserved on your account" in text


def test_where_the_network_decides_what_is_final_the_page_waits_for_it(
    desk: Desk, owner: Client, settings: Settings
) -> None:
    payment = desk.accept()
    desk.broadcast()
    settings.CHAIN_FINALITY = "finalized"
    desk.mine(10)
    assert "Confirmed, waiting for finality" in text_of(owner.get(f"/payments/{payment.pk}/"))


@pytest.mark.parametrize("suffix", ["", "live/"])
def test_anothers_payment_is_as_good_as_none(desk: Desk, client: Client, suffix: str) -> None:
    payment = desk.accept()
    staff = make_user()
    staff.is_staff = True
    staff.save()
    client.force_login(staff)
    others = client.get(f"/payments/{payment.pk}/{suffix}")
    none = client.get(f"/payments/999999/{suffix}")
    huge = client.get(f"/payments/{10**30}/{suffix}")
    assert [others.status_code, none.status_code, huge.status_code] == [404, 404, 404]
    assert text_of(others) == text_of(none) == text_of(huge)


def test_only_reading_is_possible(desk: Desk, owner: Client) -> None:
    payment = desk.accept()
    assert owner.post(f"/payments/{payment.pk}/").status_code == 405
    assert owner.post(f"/payments/{payment.pk}/live/").status_code == 405


@pytest.mark.django_db(transaction=True)
def test_a_poll_asks_the_database_only_who_asks(
    desk: Desk, owner: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    page = owner.get(f"/payments/{desk.accept().pk}/")
    with django_assert_num_queries(2):  # session, user; the payment comes from the cache
        assert poll(owner, page).status_code == 204


def test_ids_are_unique(desk: Desk, owner: Client) -> None:
    payment = desk.accept()
    desk.run_to_the_end()
    ids = ids_of(owner.get(f"/payments/{payment.pk}/"))
    assert len(ids) == len(set(ids))


class TestCancel:
    def test_the_page_offers_it_says_what_will_happen_and_does_it(self, client: Client, desk: Desk) -> None:
        payment = desk.accept()
        client.force_login(owner_of(desk.account))
        page = f"/payments/{payment.pk}/cancel/"
        assert page in client.get(f"/payments/{payment.pk}/").content.decode()
        assert "ends at once" in client.get(page).content.decode()
        assert stages([payment]) == ["ACCEPTED"]
        assert client.post(page).headers["Location"] == f"/payments/{payment.pk}/"
        payment.refresh_from_db()
        assert payment.failure_reason == "cancelled"
        assert page not in client.get(f"/payments/{payment.pk}/").content.decode()
        assert client.get(page).status_code == 302

    def test_what_may_have_been_paid_is_being_cancelled(self, desk: Desk, owner: Client) -> None:
        payment = desk.accept()
        send_elsewhere(desk, 0)
        desk.broadcast()
        page = f"/payments/{payment.pk}/cancel/"
        assert "since it may have paid this already" in text_of(owner.get(page))
        told = owner.post(page, follow=True)
        assert "Being cancelled" in text_of(told)
        assert page not in links_of(told)
        assert stages([payment]) == ["ACCEPTED"]

    @pytest.mark.parametrize("in_review", [True, False])
    def test_also_where_its_row_does_not_say_so(self, desk: Desk, owner: Client, in_review: bool) -> None:
        payment = desk.accept_for_review() if in_review else desk.accept()
        send_elsewhere(desk, 0)
        desk.mine()
        payment.refresh_from_db()
        assert payment.wait_reason == ""
        assert "at once" not in text_of(owner.get(f"/payments/{payment.pk}/"))
        page = f"/payments/{payment.pk}/cancel/"
        assert "since it may have paid this already" in text_of(owner.get(page))
        assert "Being cancelled" in text_of(owner.post(page, follow=True))
        assert stages([payment]) == ["REVIEW" if in_review else "ACCEPTED"]

    def test_what_is_sent_is_being_cancelled(self, desk: Desk, owner: Client) -> None:
        payment = desk.accept()
        desk.broadcast()
        payment.refresh_from_db()
        page = f"/payments/{payment.pk}/cancel/"
        assert "takes first decides" in text_of(owner.get(page))
        told = owner.post(page, follow=True)
        assert page not in links_of(told)
        assert "Being cancelled" in text_of(told)
        assert "Cancel asked for" in text_of(told)
        assert f"Transaction hash {payment.transaction_hash}" in text_of(told)

    def test_the_hash_is_named_as_the_cancelling_transactions(self, desk: Desk, owner: Client) -> None:
        payment = desk.accept()
        desk.broadcast()
        url = f"/payments/{payment.pk}/"
        owner.post(f"{url}cancel/")
        desk.broadcast()
        named = f"Cancelling transaction’s hash {Attempt.objects.get(purpose='cancel').hash}"
        told = text_of(owner.get(url))
        assert "and after it a transaction that takes its place" in told
        assert named in told
        desk.mine()
        told = text_of(owner.get(url))
        assert "Cancelled, being confirmed" in told
        assert named in told
        desk.run_to_the_end()
        told = text_of(owner.get(url))
        assert "The payment was cancelled" in told
        assert named in told

    def test_a_cancel_at_its_fee_cap_says_what_it_waits_for(
        self, desk: Desk, owner: Client, settings: Settings
    ) -> None:
        payment = desk.accept()
        desk.broadcast()
        url = f"/payments/{payment.pk}/"
        owner.post(f"{url}cancel/")
        settings.CANCEL_FEE_MAX_IN_WEI = 1
        desk.broadcast()
        told = text_of(owner.get(url))
        assert "Being cancelled" in told
        assert "more just now than we pay for a cancel" in told

    def test_too_late_is_told(self, client: Client, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        desk.mine()
        client.force_login(owner_of(desk.account))
        told = client.post(f"/payments/{payment.pk}/cancel/", follow=True).content.decode()
        assert "can&#x27;t be cancelled any more" in told
        assert stages([payment]) == ["MINED"]

    def test_anothers_is_none(self, client: Client, desk: Desk) -> None:
        payment = desk.accept()
        client.force_login(make_user())
        assert client.get(f"/payments/{payment.pk}/cancel/").status_code == 404
        assert client.post(f"/payments/{payment.pk}/cancel/").status_code == 404
        assert stages([payment]) == ["ACCEPTED"]
