"""Wallets: registered once, with what the chain knows of them; and whether the node follows our chain at all."""

import datetime as dt
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import pytest
from django.db import connections
from pytest_django.fixtures import Settings

from accounts.keys import sign_transfers
from accounts.ledger import post
from accounts.models import Account, Alert, AlertKind, Journal
from accounts.services.alerts import resolve_alert
from tests.chain.harness import fresh_signer, transfer
from tests.desk import ETHER, NOW, Desk, make_address
from tests.fakes.chain import FakeChain
from tests.transactions.test_reorg_races import wait_for_a_waiter
from transactions.chain import ChainUnavailableError
from transactions.exceptions import ChainMismatchError, WalletStateError
from transactions.models import Block, Deposit, Wallet
from transactions.services import wallets
from transactions.services.match import require_matching_chain
from transactions.services.wallets import find_opening, open_wallet, pause_wallet, register_wallet, sending_wallets

LATER = NOW + dt.timedelta(minutes=1)


def new_chain(blocks: int) -> FakeChain:
    """Return a chain of the same id that shares nothing but its genesis with the others."""
    chain = FakeChain()
    chain.mine(blocks)
    chain.reorg(blocks)
    return chain


class TestRegister:
    @pytest.mark.django_db
    def test_a_new_wallet_is_opened_by_what_it_held_and_had_sent_at_a_final_block(self, settings: Settings) -> None:
        settings.CONFIRMATIONS = 4
        chain, signer = FakeChain(), fresh_signer()
        chain.set_balance(signer.address, ETHER)
        sent = sign_transfers(signer, [transfer(nonce=nonce, to_address=make_address()) for nonce in range(3)])
        chain.send_raw([one.raw for one in sent[:2]], [one.hash for one in sent[:2]])
        chain.mine(5)
        chain.send_raw([sent[2].raw], [sent[2].hash])
        chain.mine()

        wallet = register_wallet(signer.address, chain=chain)

        held = chain.balances([signer.address], block_number=2)[signer.address]
        assert 0 < held < ETHER
        assert (wallet.address, wallet.next_nonce, wallet.paused_at) == (signer.address, 2, None)
        assert (wallet.role, wallet.opened_at_block) == ("hot", 2)
        wallet.account.refresh_from_db()
        assert (wallet.account.kind, wallet.account.current_balance_in_wei) == ("hot_wallet", -held)
        assert wallet.account.name == f"Hot wallet {signer.address}"
        journal = Journal.objects.get()
        assert (journal.kind, journal.source) == ("wallet_funding", f"opening {signer.address}")
        # The walk has begun below the head, so that nothing that came meanwhile is missed.
        assert set(Block.objects.values_list("number", flat=True)) == set(range(7))

    @pytest.mark.django_db
    @pytest.mark.parametrize("question", ["balances", "nonces"])
    def test_none_is_opened_by_two_branches(self, monkeypatch: pytest.MonkeyPatch, question: str) -> None:
        chain, address = FakeChain(), fresh_signer().address
        chain.mine(20)
        asked = getattr(chain, question)

        def ask_and_reorg(*arguments: Any, **options: Any) -> Any:
            answer = asked(*arguments, **options)
            chain.reorg(20)
            return answer

        monkeypatch.setattr(chain, question, ask_and_reorg)
        with pytest.raises(WalletStateError, match=r"chain has changed meanwhile. Try again in a minute"):
            register_wallet(address, chain=chain)
        assert not Wallet.objects.exists()

    @pytest.mark.django_db
    def test_nor_by_a_node_on_another_branch_than_was_walked(self, desk: Desk) -> None:
        desk.mine(20)
        desk.chain.reorg(20)
        with pytest.raises(WalletStateError, match="chain has changed"):
            register_wallet(fresh_signer().address, chain=desk.chain)
        assert Wallet.objects.get() == desk.wallet

    @pytest.mark.django_db
    def test_nor_by_a_block_that_was_undone_meanwhile(self, desk: Desk) -> None:
        desk.mine(20)
        address = fresh_signer().address
        opening = find_opening(address, desk.chain)
        desk.chain.reorg(20)
        desk.follow()
        with pytest.raises(WalletStateError, match="chain has changed"):
            open_wallet(address, opening)
        assert Wallet.objects.get() == desk.wallet

    @pytest.mark.django_db(transaction=True)
    def test_a_reorg_that_comes_then_waits_and_finds_the_wallet(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch, settings: Settings
    ) -> None:
        settings.CONFIRMATIONS = 4
        address = fresh_signer().address
        desk.chain.set_balance(address, ETHER)
        desk.mine(10)
        desk.take_in()
        opening = find_opening(address, desk.chain)
        assert opening.block_number == 6
        desk.chain.reorg(6)

        def follow() -> None:
            try:
                desk.follow()
            finally:
                connections.close_all()

        with ThreadPoolExecutor(1) as thread:

            def post_late(**drafts: Any) -> None:
                followed.append(thread.submit(follow))
                wait_for_a_waiter()
                post(**drafts)

            followed: list[Future[None]] = []
            monkeypatch.setattr(wallets, "post", post_late)
            wallet = open_wallet(address, opening)
            followed[0].result(timeout=20)
        wallet.refresh_from_db()
        assert wallet.opened_at_block == 4, "what comes from there on is a deposit"

    @pytest.mark.django_db
    def test_before_the_first_walk_any_block_will_do(self, monkeypatch: pytest.MonkeyPatch) -> None:
        chain, address = FakeChain(), fresh_signer().address
        chain.mine(20)
        monkeypatch.setattr("transactions.services.blocks.advisory_lock", lambda *_: nullcontext(False))
        assert register_wallet(address, chain=chain).opened_at_block == 10
        assert not Block.objects.exists()

    def test_blocks_that_were_taken_in_without_it_are_taken_in_again(self, desk: Desk, settings: Settings) -> None:
        settings.CONFIRMATIONS = 2
        address = fresh_signer().address
        desk.mine()
        desk.pay_in(address, 5 * ETHER)
        desk.mine()
        desk.pay_in(address, 7 * ETHER)
        desk.mine(2)
        assert desk.take_in() == 0
        wallet = register_wallet(address, chain=desk.chain)
        assert desk.take_in() == 1
        desk.mine(2)
        wallet.account.refresh_from_db()
        assert wallet.account.current_balance_in_wei == -12 * ETHER
        assert Deposit.objects.get().amount_in_wei == 7 * ETHER
        desk.assert_books_balance()

    @pytest.mark.django_db
    def test_the_second_time_nothing_is_asked_or_changed(self, desk: Desk) -> None:
        Wallet.objects.update(next_nonce=7)
        before = Account.objects.count()
        with desk.chain.outage():
            assert register_wallet(desk.wallet.address, chain=desk.chain) == desk.wallet
        assert Wallet.objects.get().next_nonce == 7
        assert Account.objects.count() == before

    @pytest.mark.django_db
    def test_without_a_node_there_is_no_wallet(self) -> None:
        chain = FakeChain()
        with chain.outage(), pytest.raises(ChainUnavailableError):
            register_wallet(make_address(), chain=chain)
        assert not Wallet.objects.exists()
        assert not Account.objects.exists()

    def test_those_that_may_send(self, desk: Desk) -> None:
        second, third = desk.add_wallet(), desk.add_wallet()
        Wallet.objects.filter(pk=second.pk).update(paused_at=desk.wallet.created_at, paused_reason="x")
        assert sending_wallets() == [desk.wallet, third]


class TestPause:
    def why(self, desk: Desk) -> str:
        desk.wallet.refresh_from_db()
        return desk.wallet.paused_reason

    def test_what_staff_have_said_stays_beside_what_the_desk_finds(self, desk: Desk) -> None:
        pause_wallet(desk.wallet, "Key leaked: never resume", NOW)
        for found in ("No node can tell.", "Nonce 0 was used."):
            pause_wallet(desk.wallet, found, LATER, again=True)
            assert self.why(desk) == f"Key leaked: never resume Found by the desk:\n{found}"
        assert desk.wallet.paused_at == NOW
        pause_wallet(desk.wallet, "Me too", LATER)
        assert "Me too" not in self.why(desk)
        alert = Alert.objects.get()
        assert (alert.kind, alert.message) == ("wallet_paused", self.why(desk))

    def test_what_the_desk_has_found_gives_way_to_what_it_finds(self, desk: Desk) -> None:
        for found in ("No node can tell.", "Nonce 0 was used."):
            pause_wallet(desk.wallet, found, NOW, again=True)
            assert self.why(desk) == f"Found by the desk:\n{found}"

    @pytest.mark.parametrize("length", [470, 500])
    def test_what_staff_have_said_is_never_cut(self, desk: Desk, length: int) -> None:
        said = "x" * length
        pause_wallet(desk.wallet, said, NOW)
        for found in ("No node can tell.", "Nonce 0 was used."):
            pause_wallet(desk.wallet, found, LATER, again=True)
            assert self.why(desk) == f"{said} Found by the desk:\n{found}"

    def test_it_is_an_alert_again_when_it_was_resolved(self, desk: Desk) -> None:
        for _ in range(2):
            pause_wallet(desk.wallet, "Nonce 0 was used.", NOW, again=True)
            assert resolve_alert(kind=AlertKind.WALLET_PAUSED, subject=desk.wallet.address, now=NOW)


class TestMatch:
    @pytest.fixture
    def paid(self, desk: Desk) -> Desk:
        """A desk with a settled payment in block 1 and one waiting in block 11."""
        desk.accept()
        desk.broadcast()
        desk.mine(10)
        desk.accept()
        desk.broadcast()
        desk.mine(2)
        return desk

    def test_the_chain_that_was_followed(self, paid: Desk) -> None:
        require_matching_chain(paid.chain)

    def test_a_chain_of_another_id(self, paid: Desk, settings: Settings) -> None:
        settings.CHAIN_ID = 1
        with pytest.raises(ChainMismatchError, match="CHAIN_ID is 1, but the node is on chain 31337"):
            require_matching_chain(paid.chain)

    def test_a_new_chain_of_the_same_id(self, paid: Desk) -> None:
        with pytest.raises(ChainMismatchError, match="does not have the blocks of payments"):
            require_matching_chain(new_chain(100))

    def test_an_empty_chain(self, paid: Desk) -> None:
        with pytest.raises(ChainMismatchError):
            require_matching_chain(FakeChain())

    def test_a_few_other_blocks_at_the_tip_are_a_reorg(self, paid: Desk) -> None:
        paid.chain.reorg(3)
        require_matching_chain(paid.chain)

    def test_another_chain_before_anything_was_settled(self, desk: Desk) -> None:
        desk.mine(5)
        Block.objects.filter(number=0).delete()  # All chains in memory begin alike.
        require_matching_chain(desk.chain)
        with pytest.raises(ChainMismatchError, match="none of the blocks"):
            require_matching_chain(new_chain(20))

    def test_a_new_database_matches_any_chain(self, desk: Desk) -> None:
        require_matching_chain(desk.chain)
