"""Deposits in the admin: what staff see of them, and sweeps that staff ask for."""

import zlib
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from kombu.exceptions import OperationalError
from pytest_django import Settings

from accounts.models import Account
from tasks.models import TaskRun
from tasks.money import sweep_chosen
from tests.deposits import SENDER, address_of, block_hash, credit_to, make_deposit, undo_from, walk_to
from tests.desk import ETHER, Desk, make_account, make_user, write_deposit_seed
from tests.pages import links_of, text_of
from tests.staff import Staff, events, make_staff
from transactions.models import BlockContent, Deposit, Transaction, Wallet
from transactions.services.deposit_addresses import deposit_address_of
from transactions.states import Kind

LIST = "/admin/transactions/deposit/"
WALLETS = "/admin/transactions/wallet/"
PAGE = {"Accept": "text/html"}


@pytest.fixture(autouse=True)
def seed(tmp_path: Path, settings: Settings) -> None:
    settings.KEYSTORE_DIR = tmp_path / "keystore"
    write_deposit_seed()


@pytest.fixture
def viewer(db: None) -> Staff:
    return make_staff("viewers")


@pytest.fixture
def account(db: None) -> Account:
    return make_account(make_user("ada"), name="Savings")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The messages to workers, as (task, arguments)."""
    messages: list[Any] = []
    monkeypatch.setattr("celery.app.task.Task.apply_async", lambda task, args, **_: messages.append((task.name, args)))
    return messages


def numbers(staff: Staff, path: str, **query: Any) -> list[int]:
    """Return the rows of a list, in its order."""
    changelist = staff.client.get(path, query).context["cl"]
    return [row.pk for row in changelist.result_list]


# --- The list and the page --------------------------------------------------------------------------------------------
class TestDeposits:
    def test_the_list_tells_whose_they_are_and_how_far(self, viewer: Staff, account: Account) -> None:
        make_deposit(account, 3 * ETHER // 2, block_number=5)
        text = text_of(viewer.client.get(LIST))
        assert "waiting for confirmations" in text
        assert "1.5 ETH" in text
        assert f"Savings (#{account.pk})" in text

    def test_what_came_to_a_hot_wallet_is_the_desks(self, viewer: Staff, desk: Desk) -> None:
        Deposit.objects.create(
            wallet=desk.wallet,
            transaction_hash="0x" + "ab" * 32,
            from_public_address=SENDER,
            amount_in_wei=1,
            block_number=1,
            block_hash=block_hash(1),
        )
        assert "the desk itself" in text_of(viewer.client.get(LIST))

    def test_found_by_number_account_owner_hash_and_address(self, viewer: Staff, account: Account) -> None:
        other = make_deposit(make_account(make_user("bob")))
        mine = make_deposit(account)
        address = address_of(account)
        for term in (
            f"#{mine.pk}",
            "ada",
            mine.transaction_hash,
            mine.transaction_hash.upper().replace("0X", "0x"),
            address,
            address.lower(),
        ):
            assert numbers(viewer, LIST, q=term) == [mine.pk], term
        assert mine.pk in numbers(viewer, LIST, q=str(account.pk))
        assert numbers(viewer, LIST) == [mine.pk, other.pk]
        for term in ("0x12", "nobody", "999999999999"):
            assert numbers(viewer, LIST, q=term) == []

    def test_filtered_by_status(self, viewer: Staff, account: Account) -> None:
        credited, waiting = make_deposit(account, block_number=1), make_deposit(account, block_number=9)
        walk_to(10)
        credit_to(1)
        assert numbers(viewer, LIST, status__exact="credited") == [credited.pk]
        assert numbers(viewer, LIST, status__exact="waiting") == [waiting.pk]

    def test_a_list_of_twenty_costs_what_a_list_of_five_costs(self, viewer: Staff) -> None:
        def cost() -> int:
            with CaptureQueriesContext(connection) as captured:
                viewer.client.get(LIST)
            return len(captured)

        for _ in range(5):
            make_deposit(make_account())
        few = cost()
        for _ in range(15):
            make_deposit(make_account())
        assert cost() == few <= 8

    def test_its_page_has_everything_and_changes_nothing(self, viewer: Staff, account: Account) -> None:
        deposit = make_deposit(account, ETHER + 1, block_number=5)
        walk_to(14)
        credit_to(5)
        page = viewer.client.get(f"{LIST}{deposit.pk}/change/")
        text = text_of(page)
        for shown in (deposit.transaction_hash, SENDER, address_of(account), block_hash(5), "1000000000000000001"):
            assert shown in text.replace(",", "")
        assert f"/admin/accounts/journal/?q={deposit.transaction_hash}" in links_of(page)
        make_staff(is_superuser=True).client.post(f"{LIST}{deposit.pk}/change/", {"status": "gone"})
        assert Deposit.objects.get().status == "credited"

    def test_the_raw_block_while_it_is_kept(self, viewer: Staff, account: Account) -> None:
        deposit = make_deposit(account, block_number=5)
        raw = reverse("admin:transactions_deposit_block", args=[deposit.pk])
        page = f"{LIST}{deposit.pk}/change/"
        assert viewer.client.get(raw).status_code == 404
        assert raw not in links_of(viewer.client.get(page))
        BlockContent.objects.create(hash=block_hash(5), number=5, body=zlib.compress(b'{"number": "0x5"}'))
        assert raw in links_of(viewer.client.get(page))
        answer = viewer.client.get(raw)
        assert (answer.content, answer["Content-Type"]) == (b'{"number": "0x5"}', "application/json")
        assert make_staff().client.get(raw).status_code == 403

    def test_one_that_is_gone_has_no_block(self, viewer: Staff, account: Account) -> None:
        deposit = make_deposit(account, block_number=5)
        walk_to(5)
        undo_from(5)
        assert "left the chain" in text_of(viewer.client.get(f"{LIST}{deposit.pk}/change/"))

    def test_an_accounts_page_leads_to_its_address_and_deposits(self, viewer: Staff, account: Account) -> None:
        page = reverse("admin:accounts_account_change", args=[account.pk])
        assert "Deposits" not in text_of(viewer.client.get(page)).split("Deposit address")[1].split("Created")[0]
        make_deposit(account)
        wallet = Wallet.objects.get(credits=account)
        links = links_of(viewer.client.get(page))
        assert reverse("admin:transactions_wallet_change", args=[wallet.pk]) in links
        (deposits,) = [link for link in links if link.startswith(LIST) and "?" in link]
        assert numbers(viewer, deposits) == [Deposit.objects.get().pk]


# --- Wallets ----------------------------------------------------------------------------------------------------------
class TestWallets:
    def test_the_list_is_of_hot_wallets_unless_others_are_asked_for(
        self, viewer: Staff, desk: Desk, account: Account
    ) -> None:
        wallet = deposit_address_of(account.pk)
        assert numbers(viewer, WALLETS) == [desk.wallet.pk]
        assert numbers(viewer, WALLETS, role="deposit") == [wallet.pk]
        assert numbers(viewer, WALLETS, role="all") == [desk.wallet.pk, wallet.pk]
        text = text_of(viewer.client.get(WALLETS, {"role": "deposit"}))
        assert f"deposits to Savings (#{account.pk})" in text
        assert "taking deposits" in text
        assert "Hot wallets" in text

    def test_a_search_finds_any(self, viewer: Staff, desk: Desk, account: Account) -> None:
        wallet = deposit_address_of(account.pk)
        for term in (wallet.address, wallet.address.lower(), f"#{account.pk}", "ada"):
            assert numbers(viewer, WALLETS, q=term) == [wallet.pk]
        assert numbers(viewer, WALLETS, q=desk.wallet.address) == [desk.wallet.pk]
        assert numbers(viewer, WALLETS, q="0x12") == []

    def test_the_chain_is_not_asked(self, viewer: Staff, desk: Desk, account: Account, asked_by_pages: None) -> None:
        deposit_address_of(account.pk)
        viewer.client.get(WALLETS, {"role": "all"})
        assert sum(desk.chain.asked.values()) == 0


# --- Sweeps -----------------------------------------------------------------------------------------------------------
class TestSweep:
    def sweep_page(self, *wallets: Wallet) -> str:
        query = "&".join(f"id={wallet.pk}" for wallet in wallets)
        return f"{WALLETS}sweep/?{query}" if wallets else f"{WALLETS}sweep/"

    def test_chosen_addresses(self, operator: Staff, desk: Desk, account: Account, sent: list[Any]) -> None:
        wallet, other = deposit_address_of(account.pk), deposit_address_of(make_account().pk)
        chosen = {"action": "sweep", "_selected_action": [desk.wallet.pk, wallet.pk]}
        asked = operator.client.post(f"{WALLETS}?role=all", chosen)
        assert asked["Location"] == self.sweep_page(wallet), "hot wallets are left out"
        assert "Sweep 1 deposit address" in text_of(operator.client.get(asked["Location"]))
        answer = operator.client.post(asked["Location"], {"reason": "moving the safe"})
        run = TaskRun.objects.get()
        assert answer["Location"] == reverse("task-detail", args=[run.pk])
        assert sent == [("tasks.money.sweep_chosen", (str(run.pk), [wallet.pk]))]
        (event,) = events("wallet.sweep_started")
        assert (event.actor, event.reason) == (operator.user, "moving the safe")
        assert (event.target_id, event.details) == (str(wallet.pk), {"task_run": str(run.pk)})
        assert other.pk not in sent[0][1][1]

    def test_all_of_them(self, operator: Staff, account: Account, sent: list[Any]) -> None:
        assert self.sweep_page() in links_of(operator.client.get(WALLETS))
        operator.client.post(self.sweep_page(), {"reason": "audit"})
        run = TaskRun.objects.get()
        assert sent == [("tasks.money.sweep_chosen", (str(run.pk), None))]
        (event,) = events("wallet.all_sweeps_started")
        assert (event.target_id, event.reason) == (str(run.pk), "audit")

    @pytest.mark.parametrize("ids", ["id=", "id=x", "id=987654"])
    def test_none_is_not_all(self, operator: Staff, account: Account, sent: list[Any], ids: str) -> None:
        answer = operator.client.post(f"{WALLETS}sweep/?{ids}", {"reason": "audit"}, follow=True)
        assert "Choose at least one deposit address." in text_of(answer)
        assert sent == []

    def test_without_a_reason_nothing_happens(self, operator: Staff, account: Account, sent: list[Any]) -> None:
        assert operator.client.post(self.sweep_page(), {"reason": " "}).status_code == 200
        assert (sent, TaskRun.objects.count()) == ([], 0)

    def test_viewers_may_not(self, viewer: Staff, account: Account, sent: list[Any]) -> None:
        wallet = deposit_address_of(account.pk)
        assert self.sweep_page() not in links_of(viewer.client.get(WALLETS))
        assert viewer.client.get(self.sweep_page(wallet)).status_code == 403
        assert viewer.client.post(self.sweep_page(), {"reason": "x"}).status_code == 403
        chosen = {"action": "sweep", "_selected_action": [wallet.pk]}
        viewer.client.post(f"{WALLETS}?role=all", chosen)
        assert (sent, TaskRun.objects.count()) == ([], 0)

    def test_a_silent_broker_is_said(self, operator: Staff, account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_args: object, **_options: object) -> None:
            raise OperationalError("connection refused")

        monkeypatch.setattr("celery.app.task.Task.apply_async", refuse)
        answer = operator.client.post(self.sweep_page(), {"reason": "audit"}, follow=True)
        assert "The broker does not answer" in text_of(answer)
        assert TaskRun.objects.get().is_finished


class TestTheTaskOfASweep:
    @pytest.fixture
    def rich(self, desk: Desk, asked_by_pages: None) -> list[Wallet]:
        """Three deposit addresses with an ether each, credited and on the chain."""
        rows = []
        for _ in range(3):
            deposit = make_deposit(make_account(), ETHER, block_number=1)
            desk.chain.set_balance(deposit.wallet.address, ETHER)
            rows.append(deposit.wallet)
        walk_to(10)
        credit_to(1)
        return rows

    def run(self, desk: Desk, wallet_ids: list[int] | None, operator: Staff, sent: list[Any]) -> TaskRun:
        query = "" if wallet_ids is None else "?" + "&".join(f"id={pk}" for pk in wallet_ids)
        operator.client.post(f"{WALLETS}sweep/{query}", {"reason": "audit"})
        sweep_chosen(*sent.pop()[1])
        return TaskRun.objects.latest("created_at")

    def test_only_those_chosen(self, desk: Desk, rich: list[Wallet], operator: Staff, sent: list[Any]) -> None:
        run = self.run(desk, [rich[1].pk], operator, sent)
        assert (run.status, run.message) == ("Successful", "1 sweep ordered; they go out like payments.")
        sweep = Transaction.objects.get(kind=Kind.SWEEP)
        assert (sweep.wallet_id, sweep.to_public_address) == (rich[1].pk, desk.wallet.address)

    def test_all_also_beyond_what_is_ordered_at_once(
        self, desk: Desk, rich: list[Wallet], operator: Staff, sent: list[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("transactions.services.sweep.AT_ONCE", 2)
        run = self.run(desk, None, operator, sent)
        assert run.message == "3 sweeps ordered; they go out like payments."
        assert set(Transaction.objects.values_list("wallet_id", flat=True)) == {wallet.pk for wallet in rich}
        run = self.run(desk, None, operator, sent)
        assert run.message.startswith("Nothing to sweep: none holds 0.1 ETH")
        assert Transaction.objects.count() == 3
        staff = make_staff("viewers")
        page = text_of(staff.client.get("/admin/transactions/transaction/", {"kind__exact": "sweep"}))
        assert page.count(Kind.SWEEP.label) >= 3

    def test_its_page_leads_to_what_was_ordered(
        self, desk: Desk, rich: list[Wallet], operator: Staff, sent: list[Any]
    ) -> None:
        one = self.run(desk, [rich[0].pk], operator, sent)
        first = Transaction.objects.get()
        desk.accept()
        rest, none = (self.run(desk, None, operator, sent) for _ in range(2))
        lists = {}
        for run in (one, rest, none):
            pages = [reverse("task-detail", args=[run.pk]), reverse("admin:tasks_taskrun_change", args=[run.pk])]
            found = [
                {link for link in links_of(operator.client.get(page, headers=PAGE)) if "/transaction/" in link}
                for page in pages
            ]
            assert found[0] == found[1]
            lists[run] = found[0]
        assert lists[one] == {reverse("admin:transactions_transaction_change", args=[first.pk])}
        (of_rest,) = lists[rest]
        listed = set(operator.client.get(of_rest).context["cl"].result_list)
        assert listed == set(Transaction.objects.filter(kind=Kind.SWEEP).exclude(pk=first.pk))
        assert len(listed) == 2
        assert lists[none] == set()
        schedulers = make_staff("schedulers").client.get(reverse("task-detail", args=[one.pk]), headers=PAGE)
        assert not any("/transaction/" in link for link in links_of(schedulers)), "they may not see payments"

    def test_a_run_that_is_over_is_not_done_again(
        self, desk: Desk, rich: list[Wallet], operator: Staff, sent: list[Any]
    ) -> None:
        run = self.run(desk, [rich[0].pk], operator, sent)
        sweep_chosen(str(run.pk), [rich[1].pk])
        assert Transaction.objects.count() == 1

    def test_a_node_that_is_down_is_told(
        self, desk: Desk, rich: list[Wallet], operator: Staff, sent: list[Any]
    ) -> None:
        desk.chain.down = True
        run = self.run(desk, None, operator, sent)
        assert run.status == "Failed"
        assert run.error
        assert Transaction.objects.count() == 0
