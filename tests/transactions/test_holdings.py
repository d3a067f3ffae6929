"""Holdings: at which block the chain is asked, of which wallets, and when its answer counts."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from pytest_django.fixtures import Settings

from tests.desk import ETHER, Desk, make_account, stages
from tests.transactions.test_nonces import send_elsewhere
from transactions.chain import ChainUnavailableError
from transactions.exceptions import BlockNotComparableError
from transactions.models import Block, Wallet
from transactions.services import holdings
from transactions.services.holdings import read_holdings
from transactions.services.wallets import register_wallet


@pytest.fixture(autouse=True)
def four_confirmations(settings: Settings) -> None:
    settings.CONFIRMATIONS = 4


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for nothing."""
    monkeypatch.setattr(holdings, "PATIENCE_SECONDS", 0.0)


def while_waiting(monkeypatch: pytest.MonkeyPatch, do: Callable[[], object]) -> list[float]:
    """Let something happen where the desk would wait for it; return the waits."""
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        do()

    monkeypatch.setattr(holdings, "PATIENCE_SECONDS", 5.0)
    monkeypatch.setattr(time, "sleep", sleep)
    return waits


def walked(desk: Desk, blocks: int = 9) -> None:
    desk.mine(blocks)
    desk.take_in()


class TestBlock:
    def test_it_is_the_newest_final_one(self, desk: Desk) -> None:
        walked(desk)
        found = read_holdings(desk.chain)
        assert (found.block_number, found.block_hash) == (6, desk.chain.blocks[6].header.hash)

    def test_or_the_newest_that_the_chain_finalized(self, desk: Desk, settings: Settings) -> None:
        settings.CHAIN_FINALITY = "finalized"
        desk.chain.finalized_depth = 7
        walked(desk)
        assert read_holdings(desk.chain).block_number == 2

    def test_all_blocks_up_to_it_are_searched_for_deposits(self, desk: Desk) -> None:
        walked(desk)
        Block.objects.filter(number__in=[4, 8]).update(taken_in_at=None)
        assert read_holdings(desk.chain).block_number == 3

    def test_an_older_one_may_be_chosen(self, desk: Desk) -> None:
        walked(desk)
        assert read_holdings(desk.chain, block_number=5).block_number == 5

    @pytest.mark.parametrize("number", [7, 99])
    def test_one_that_is_not_final_may_not(self, desk: Desk, number: int) -> None:
        walked(desk)
        with pytest.raises(BlockNotComparableError, match=f"^Block {number} can't be compared: .* would be 6"):
            read_holdings(desk.chain, block_number=number)

    def test_without_a_walked_chain_there_is_none(self, desk: Desk) -> None:
        with pytest.raises(ChainUnavailableError, match="^No block can be compared"):
            read_holdings(desk.chain)

    def test_the_node_must_have_it(self, desk: Desk) -> None:
        walked(desk)
        Block.objects.filter(number=6).update(hash="0x" + "ab" * 32)
        with pytest.raises(ChainUnavailableError, match="another branch"):
            read_holdings(desk.chain)

    def test_the_follower_is_waited_for(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        walked(desk)
        desk.chain.reorg(6)

        def follow() -> None:
            desk.follow()
            desk.take_in()

        waits = while_waiting(monkeypatch, follow)
        assert read_holdings(desk.chain).block_hash == desk.chain.blocks[6].header.hash
        assert len(waits) == 1

    def test_what_was_read_while_the_chain_changed_is_read_again(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        walked(desk)
        balances = desk.chain.balances
        changes = [lambda: desk.chain.reorg(6)]

        def change(addresses: Sequence[str], *, block_number: int | None) -> dict[str, int]:
            found = balances(addresses, block_number=block_number)
            if changes:
                changes.pop()()
            return found

        monkeypatch.setattr(desk.chain, "balances", change)
        waits = while_waiting(monkeypatch, lambda: (desk.follow(), desk.take_in()))
        assert read_holdings(desk.chain).block_hash == desk.chain.blocks[6].header.hash
        assert len(waits) == 1

    def test_what_was_read_before_the_node_had_it_is_read_again(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        walked(desk)
        headers = desk.chain.headers
        other = [replace(desk.chain.blocks[6].header, hash="0x" + "ab" * 32)]
        monkeypatch.setattr(desk.chain, "headers", lambda numbers: {6: other.pop()} if other else headers(numbers))
        waits = while_waiting(monkeypatch, lambda: None)
        assert read_holdings(desk.chain).block_number == 6
        assert len(waits) == 1

    def test_a_node_that_is_down_is_no_answer(self, desk: Desk) -> None:
        walked(desk)
        with desk.chain.outage(), pytest.raises(ChainUnavailableError):
            read_holdings(desk.chain)


class TestWallets:
    def test_all_are_asked_for_what_they_have_at_that_block(self, desk: Desk) -> None:
        address = desk.add_deposit_address()
        desk.pay_in(address.address)
        walked(desk)
        desk.chain.set_balance(desk.wallet.address, 5)
        found = read_holdings(desk.chain)
        assert found.balances == {desk.wallet.address: 1_000 * ETHER, address.address: ETHER}
        assert found.total_in_wei == 1_001 * ETHER

    def test_those_that_may_have_sent_for_their_nonces(self, desk: Desk) -> None:
        quiet, swept = desk.add_deposit_address(), desk.add_deposit_address(make_account())
        desk.accept()
        desk.broadcast()
        walked(desk)
        Wallet.objects.filter(pk=swept.pk).update(next_nonce=3)
        found = read_holdings(desk.chain)
        assert quiet.address in found.balances
        assert found.nonces == {desk.wallet.address: 1, swept.address: 0}

    def test_in_chunks(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(holdings, "WALLETS_AT_ONCE", 2)
        for _ in range(4):
            desk.add_wallet()
        walked(desk)
        steps: list[int] = []
        assert len(read_holdings(desk.chain, on_progress=steps.append).balances) == 5
        assert steps == [2, 2, 1]
        assert desk.chain.asked["balances"] == 3

    def test_none_that_was_opened_later(self, desk: Desk) -> None:
        walked(desk)
        later = register_wallet(desk.outsider.address, chain=desk.chain)
        assert later.opened_at_block == 5
        desk.take_in()
        assert later.address not in read_holdings(desk.chain, block_number=4).balances
        assert later.address in read_holdings(desk.chain, block_number=5).balances


class TestWaiting:
    def test_for_what_the_follower_has_not_found(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        desk.chain.receipts_lag_blocks = 99
        payment = desk.accept()
        desk.broadcast()
        walked(desk)
        assert stages([payment]) == ["BROADCAST"]

        def find() -> None:
            desk.chain.receipts_lag_blocks = 0
            desk.follow()

        waits = while_waiting(monkeypatch, find)
        assert read_holdings(desk.chain).nonces == {desk.wallet.address: 1}
        assert stages([payment]) == ["SETTLED"]
        assert len(waits) == 1

    def test_for_a_stranger_to_be_told_apart(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        send_elsewhere(desk, 0)
        desk.chain.mine()
        walked(desk)
        assert Wallet.objects.get().next_nonce == 0
        waits = while_waiting(monkeypatch, lambda: (desk.broadcast(), desk.follow()))
        read_holdings(desk.chain)
        assert len(waits) >= 1
        assert Wallet.objects.get().next_nonce == 1

    def test_not_for_ever(self, desk: Desk) -> None:
        send_elsewhere(desk, 0)
        desk.chain.mine()
        walked(desk)
        assert read_holdings(desk.chain).nonces == {desk.wallet.address: 1}

    def test_for_nothing_where_all_is_found(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        desk.accept()
        desk.broadcast()
        walked(desk)
        desk.accept()
        desk.broadcast()
        assert while_waiting(monkeypatch, lambda: None) == []
        read_holdings(desk.chain)
