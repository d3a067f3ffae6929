"""Replacement: what no block takes goes out again at the same nonce and a higher fee, and is paid once all the same."""

import pytest
from pytest_django.fixtures import Settings

from accounts.keys import SignerUnavailableError
from tests.desk import ETHER, FEE, GWEI, NOW, Desk, crash_at, dies, make_user, stages
from transactions.chain.types import FeeQuote
from transactions.models import Attempt, Transaction, Wallet
from transactions.services import replace
from transactions.services.broadcast import has_work
from transactions.services.cancel import cancel_transaction
from transactions.services.pricing import Price, price_replacement

BLOCKS = 5
POINTS = ["replace.before_commit", "replace.saved"]


@pytest.fixture(autouse=True)
def few_blocks(settings: Settings) -> None:
    settings.REPLACE_AFTER_BLOCKS = BLOCKS


def wait_unmined(desk: Desk, blocks: int) -> None:
    """Let blocks pass that take nothing."""
    for _ in range(blocks):
        desk.chain.mine(empty=True)
        desk.follow()


def fees(payment: Transaction) -> list[tuple[int, int]]:
    """Return (max fee, tip) of each attempt, in gwei when whole."""
    attempts = Attempt.objects.filter(transaction=payment).order_by("id")
    return [(each.max_fee_per_gas_in_wei, each.max_priority_fee_per_gas_in_wei) for each in attempts]


def waits_for(payment: Transaction) -> str:
    payment.refresh_from_db()
    return str(payment.wait_reason)


class TestPrice:
    @pytest.mark.parametrize(
        ("quote", "last", "ceiling", "expected"),
        [
            pytest.param((1, 1), (100, 8), 10**6, (113, 9), id="an eighth more on both, rounded up"),
            pytest.param((1, 1), (7, 1), 10**6, (8, 2), id="more in any case"),
            pytest.param((1, 0), (0, 0), 10**6, (3, 1), id="even than nothing"),
            pytest.param((500, 20), (100, 8), 10**6, (1020, 20), id="the market where it asks for more"),
            pytest.param((500, 20), (100, 8), 700, (700, 20), id="but not more than the most"),
            pytest.param((500, 20), (100, 8), 113, (113, 20), id="to the last wei of it"),
            pytest.param((1, 1), (100, 8), 112, None, id="an eighth more would be too much"),
            pytest.param((1, 200), (100, 8), 150, None, id="the tip alone would be"),
        ],
    )
    def test_offers(
        self, quote: tuple[int, int], last: tuple[int, int], ceiling: int, expected: tuple[int, int] | None
    ) -> None:
        price = price_replacement(FeeQuote(*quote), Price(*last), gas_limit=21_000, fee_max_in_wei=21_000 * ceiling)
        assert price == (None if expected is None else Price(*expected))


class TestReplaced:
    def test_after_so_many_blocks_at_the_same_nonce_for_more(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        wait_unmined(desk, BLOCKS - 1)
        assert not has_work()
        wait_unmined(desk, 1)
        assert has_work()
        assert desk.broadcast() == 1

        first, second = Attempt.objects.order_by("id")
        payment.refresh_from_db()
        assert fees(payment) == [(3 * GWEI, GWEI), (3_375_000_000, 1_125_000_000)]
        assert (first.nonce, second.nonce, second.purpose) == (0, 0, "payment")
        assert (payment.stage, payment.nonce, payment.transaction_hash) == ("BROADCAST", 0, second.hash)
        assert list(desk.chain.pool) == [second.hash]
        desk.run_to_the_end()
        desk.assert_paid_once([payment])
        desk.assert_books_balance()

    def test_only_once_in_so_many_blocks(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        wait_unmined(desk, BLOCKS)
        for _ in range(3):
            desk.broadcast()
        assert len(fees(payment)) == 2
        wait_unmined(desk, BLOCKS)
        desk.broadcast()
        assert len(fees(payment)) == 3

    def test_the_market_is_followed(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        desk.chain.base_fee_per_gas_in_wei = 20 * GWEI
        wait_unmined(desk, BLOCKS)
        desk.broadcast()
        assert fees(payment)[-1] == (2 * 20 * GWEI + 1_125_000_000, 1_125_000_000)
        desk.run_to_the_end()
        desk.assert_paid_once([payment])
        desk.assert_books_balance()

    def test_an_older_attempt_that_is_mined_after_all_decides(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        wait_unmined(desk, BLOCKS)
        desk.broadcast()
        first, second = Attempt.objects.order_by("id")
        # A miner had the first one all the time.
        desk.chain.drop(second.hash)
        desk.chain.put_back(bytes(first.raw_transaction))
        desk.mine()
        payment.refresh_from_db()
        assert (payment.stage, payment.transaction_hash) == ("MINED", first.hash)
        desk.run_to_the_end()
        desk.assert_paid_once([payment])
        desk.assert_books_balance()

    def test_while_a_wallets_payments_are_mined_one_by_one_nothing_is_replaced(self, desk: Desk) -> None:
        payments = desk.accept_many(BLOCKS + 3)
        desk.broadcast()
        hashes = list(Attempt.objects.order_by("nonce").values_list("hash", flat=True))
        for hash_ in hashes:
            desk.chain.mine(only=[hash_])
            desk.follow()
            desk.broadcast()
        assert Attempt.objects.count() == len(payments)

    def test_all_that_is_stuck_is_replaced_in_nonce_order(self, desk: Desk) -> None:
        payments = desk.accept_many(7)
        desk.broadcast()
        wait_unmined(desk, BLOCKS)
        assert desk.broadcast() == 7
        assert [tx.nonce for tx in desk.chain.pool.values()] == list(range(7))
        desk.run_to_the_end()
        desk.assert_paid_once(payments)

    def test_a_signer_that_is_away_is_asked_once_in_a_run(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch, settings: Settings
    ) -> None:
        desk.accept_many(3)
        desk.broadcast()
        wait_unmined(desk, BLOCKS)
        settings.CHAIN_RPC_BATCH_SIZE = 1
        asked = []

        def away(signer: object, transfers: list[object]) -> None:
            asked.append(len(transfers))
            raise SignerUnavailableError

        monkeypatch.setattr(replace, "sign_transfers", away)
        assert desk.broadcast() == 0
        assert asked == [1]

    def test_what_is_mined_and_not_found_yet_is_not_replaced(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        desk.chain.receipts_lag_blocks = BLOCKS + 3
        desk.mine(BLOCKS + 2)
        assert stages([payment]) == ["BROADCAST"]
        desk.broadcast()
        assert len(fees(payment)) == 1
        desk.run_to_the_end()
        desk.assert_paid_once([payment])

    def test_a_paused_wallet_replaces_nothing(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        wait_unmined(desk, BLOCKS)
        type(desk.wallet).objects.update(paused_at=desk.wallet.created_at, paused_reason="A test.")
        assert not has_work()
        desk.broadcast()
        assert len(fees(payment)) == 1


class TestMost:
    def test_at_the_fee_paid_the_last_attempt_is_sent_again_and_the_wait_is_told(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        desk.chain.base_fee_per_gas_in_wei = 200 * GWEI
        for _ in range(4):
            wait_unmined(desk, BLOCKS)
            desk.broadcast()
        payment.refresh_from_db()
        ceiling = FEE // 21_000
        assert fees(payment)[-1][0] <= ceiling
        assert (payment.stage, payment.wait_reason) == ("BROADCAST", "network_fee")
        count = len(fees(payment))
        last = Attempt.objects.order_by("-id")[0]
        desk.chain.drop(last.hash)
        wait_unmined(desk, 1)
        assert list(desk.chain.pool) == [last.hash], "dropped from the pool and sent again"
        wait_unmined(desk, BLOCKS)
        desk.broadcast()
        assert len(fees(payment)) == count
        desk.chain.base_fee_per_gas_in_wei = GWEI
        desk.run_to_the_end()
        payment.refresh_from_db()
        assert (payment.status, payment.wait_reason) == ("SUCCESSFUL", "")
        desk.assert_paid_once([payment])
        desk.assert_books_balance()

    def test_below_the_base_fee_the_wait_is_told_with_the_next_block(self, desk: Desk) -> None:
        desk.chain.base_fee_per_gas_in_wei = 200 * GWEI
        payment = desk.accept()
        desk.broadcast()
        ceiling = FEE // 21_000
        assert fees(payment) == [(ceiling, GWEI)]
        desk.chain.base_fee_per_gas_in_wei = ceiling
        wait_unmined(desk, 1)
        assert waits_for(payment) == ""
        desk.chain.base_fee_per_gas_in_wei = ceiling + 1
        asked = desk.chain.asked.copy()
        wait_unmined(desk, 1)
        assert waits_for(payment) == "network_fee"
        assert (desk.chain.asked - asked).keys() == {"view"}, "the base fee came with the head"
        desk.chain.base_fee_per_gas_in_wei = ceiling
        desk.run_to_the_end()
        assert waits_for(payment) == ""
        desk.assert_paid_once([payment])

    def test_the_wait_is_told_however_many_may_be_raised_before_it(self, desk: Desk, settings: Settings) -> None:
        settings.CHAIN_RPC_BATCH_SIZE = 2
        raisable = desk.accept_many(4)
        settings.PAYMENT_FEE_IN_WEI = 21_000 * 3 * GWEI
        capped = [desk.accept() for _ in range(3)]
        for _ in range(4):
            desk.broadcast()
        assert stages([*raisable, *capped]) == ["BROADCAST"] * 7
        desk.chain.base_fee_per_gas_in_wei = 20 * GWEI
        wait_unmined(desk, 1)
        assert [waits_for(payment) for payment in [*raisable, *capped]] == [""] * 4 + ["network_fee"] * 3

    def test_what_may_be_raised_is_replaced_and_waits_for_no_fee(self, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        desk.chain.base_fee_per_gas_in_wei = 20 * GWEI
        wait_unmined(desk, 1)
        assert waits_for(payment) == ""

    def test_a_cancel_does_not_wait_for_what_the_payment_waited_for(self, desk: Desk, settings: Settings) -> None:
        settings.CANCEL_FEE_MAX_IN_WEI = 10 * FEE
        desk.chain.base_fee_per_gas_in_wei = 200 * GWEI
        payment = desk.accept()
        desk.broadcast()
        desk.chain.base_fee_per_gas_in_wei = 400 * GWEI
        wait_unmined(desk, 1)
        assert waits_for(payment) == "network_fee"
        cancel_transaction(actor=make_user(), transaction_id=payment.pk, now=NOW)
        wait_unmined(desk, 1)
        assert waits_for(payment) == ""
        assert desk.broadcast() == 1
        assert [each.purpose for each in Attempt.objects.order_by("id")] == ["payment", "cancel"]

    def test_no_attempt_ever_costs_more_than_the_fee_paid(self, desk: Desk) -> None:
        desk.accept(2 * ETHER)
        desk.broadcast()
        desk.chain.base_fee_per_gas_in_wei = 300 * GWEI
        for _ in range(20):
            wait_unmined(desk, BLOCKS)
            desk.broadcast()
        for attempt in Attempt.objects.all():
            assert attempt.gas_limit * attempt.max_fee_per_gas_in_wei <= FEE


class TestSignedAndRefused:
    """What is signed, and the node takes none of it, is replaced and cancelled like what was sent."""

    @pytest.fixture
    def payment(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Transaction:
        payment = desk.accept()
        with monkeypatch.context() as patch:
            crash_at(patch, "broadcast.saved")
            with dies():
                desk.broadcast()
        return payment

    def go_on(self, desk: Desk, blocks: int) -> None:
        for _ in range(blocks):
            desk.broadcast()
            desk.chain.mine()
            desk.follow()

    def test_one_that_the_network_has_become_too_dear_for(self, desk: Desk, payment: Transaction) -> None:
        desk.chain.base_fee_per_gas_in_wei = 20 * GWEI
        self.go_on(desk, 2)
        assert (stages([payment]), waits_for(payment)) == (["SIGNED"], "network_fee")
        self.go_on(desk, BLOCKS)
        assert stages([payment]) == ["MINED"]
        later = desk.accept()
        desk.run_to_the_end()
        desk.assert_paid_once([payment, later])
        desk.assert_books_balance()

    def test_above_the_fee_paid_it_waits(self, desk: Desk, payment: Transaction) -> None:
        desk.chain.base_fee_per_gas_in_wei = 500 * GWEI
        self.go_on(desk, 2 * BLOCKS)
        assert (stages([payment]), waits_for(payment)) == (["SIGNED"], "network_fee")
        raised = fees(payment)
        assert raised[-1][0] <= FEE // 21_000
        self.go_on(desk, 2 * BLOCKS)
        assert (stages([payment]), waits_for(payment), fees(payment)) == (["SIGNED"], "network_fee", raised)
        desk.chain.base_fee_per_gas_in_wei = GWEI
        desk.run_to_the_end()
        desk.assert_paid_once([payment])

    @pytest.mark.parametrize("why", ["dear", "poor"])
    def test_it_can_be_cancelled(self, desk: Desk, payment: Transaction, why: str) -> None:
        if why == "dear":
            desk.chain.base_fee_per_gas_in_wei = 20 * GWEI
        else:
            desk.chain.set_balance(desk.wallet.address, ETHER // 2)
        self.go_on(desk, 1)
        assert stages([payment]) == ["SIGNED"]
        cancel_transaction(actor=make_user(), transaction_id=payment.pk, now=NOW)
        desk.run_to_the_end()
        payment.refresh_from_db()
        assert (payment.status, payment.failure_reason) == ("FAILED", "cancelled")

    def test_however_much_of_it_another_wallets_cancel_is_signed(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch, settings: Settings
    ) -> None:
        settings.CANCEL_FEE_MAX_IN_WEI = 10 * FEE
        second = desk.add_wallet(balance_in_wei=5_000 * ETHER)
        called_off = desk.accept()
        desk.broadcast()
        called_off.refresh_from_db()
        assert called_off.wallet_id == second.pk, "it has most left"
        Wallet.objects.filter(pk=second.pk).update(draining_at=NOW)
        refused = desk.accept_many(4)
        with monkeypatch.context() as patch, dies():
            crash_at(patch, "broadcast.saved")
            desk.broadcast()
        settings.CHAIN_RPC_BATCH_SIZE = 2
        desk.chain.base_fee_per_gas_in_wei = 500 * GWEI
        self.go_on(desk, 3 * BLOCKS)
        assert stages([called_off, *refused]) == ["BROADCAST", *["SIGNED"] * 4]
        assert fees(refused[0])[-1][0] * 9 // 8 > FEE // 21_000, "no more may be offered"
        cancel_transaction(actor=make_user(), transaction_id=called_off.pk, now=NOW)
        desk.broadcast()
        assert Attempt.objects.filter(transaction=called_off).latest("id").purpose == "cancel"


class TestDropped:
    def test_what_the_node_has_lost_is_sent_again_with_the_next_block(self, desk: Desk) -> None:
        payments = desk.accept_many(3)
        desk.broadcast()
        for hash_ in list(desk.chain.pool):
            desk.chain.drop(hash_)
        desk.follow()
        assert not desk.chain.pool, "once a block is enough"
        wait_unmined(desk, 1)
        assert [tx.nonce for tx in desk.chain.pool.values()] == [0, 1, 2]
        assert [attempt.sends for attempt in Attempt.objects.all()] == [2, 2, 2]
        desk.run_to_the_end()
        desk.assert_paid_once(payments)
        desk.assert_books_balance()

    def test_what_it_still_has_is_not(self, desk: Desk) -> None:
        desk.accept_many(3)
        desk.broadcast()
        wait_unmined(desk, 2)
        assert [attempt.sends for attempt in Attempt.objects.all()] == [1, 1, 1]


@pytest.mark.parametrize("point", [*POINTS, "broadcast.before_send", "broadcast.after_send"])
def test_a_process_that_dies_while_it_replaces_pays_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    payments = desk.accept_many(2)
    desk.broadcast()
    wait_unmined(desk, BLOCKS)
    died = crash_at(monkeypatch, point)
    with dies():
        desk.broadcast()
    assert died()
    assert Attempt.objects.count() == (2 if point == "replace.before_commit" else 4)
    wait_unmined(desk, 1)
    desk.run_to_the_end()
    desk.assert_paid_once(payments)
    desk.assert_books_balance()


def test_an_attempt_is_saved_before_it_is_sent(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.accept()
    desk.broadcast()
    wait_unmined(desk, BLOCKS)
    send = desk.chain.send_raw

    def look(raw: list[bytes], hashes: list[str]) -> object:
        assert set(hashes) <= set(Attempt.objects.values_list("hash", flat=True))
        return send(raw, hashes)

    monkeypatch.setattr(desk.chain, "send_raw", look)
    assert desk.broadcast() == 1
