"""A desk of real processes: anvil, Celery workers and, where a test wants it, a web server."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
from django.utils import timezone

from accounts.services.tokens import create_token
from tasks.deposits import take_in_blocks
from tasks.money import follow
from tests.books import assert_books_balance
from tests.desk import ETHER, make_account, make_wallet, write_keystore
from transactions.models import Attempt, Transaction
from transactions.services.accept import accept_transaction
from transactions.states import Stage, Status
from txnsite.stack.anvil import Anvil
from txnsite.stack.process import wait_for

WALLET_FUNDS = 1_000 * ETHER


@dataclass
class LiveDesk:
    """One funded wallet on anvil, one funded account, and the clock: each tick is a message, as beat sends it."""

    anvil: Anvil

    def __post_init__(self) -> None:
        address = write_keystore(0)
        self.anvil.set_balance(address, WALLET_FUNDS)
        self.wallet = make_wallet(address, balance_in_wei=WALLET_FUNDS, next_nonce=self.anvil.nonce(address))
        self.account = make_account(balance_in_wei=100 * ETHER)

    def token(self) -> str:
        """Return a new API token of the account's owner."""
        assert self.account.owner is not None
        return create_token(user=self.account.owner, name="test").text

    def accept(self, count: int, recipients: Sequence[str]) -> list[Transaction]:
        """Accept payments of 1, 2, 3 … wei, one to each recipient in turn, without waking anybody."""
        ids = [
            accept_transaction(
                user_id=self.account.owner_id or 0,
                user_account_id=self.account.pk,
                to_public_address=recipients[number % len(recipients)],
                amount_in_wei=number + 1,
                idempotency_key=None,
                now=timezone.now(),
            ).detail["id"]
            for number in range(count)
        ]
        return list(Transaction.objects.filter(pk__in=ids).order_by("pk"))

    def tick(self) -> None:
        """Send the ticks that beat sends every few seconds; if the broker is down, they are lost like beat's."""
        follow.apply_async(expires=5)
        take_in_blocks.apply_async(expires=5)

    def tick_until(self, condition: Callable[[], bool], what: str, *, mine: bool = False) -> None:
        """Tick, mining a block each time if asked to, until the condition holds."""

        def look() -> bool:
            if mine:
                self.anvil.mine()
            self.tick()
            return condition()

        wait_for(look, what=what, timeout_seconds=60, every_seconds=0.2)

    def run_to_the_end(self) -> None:
        """Tick and mine until nothing is under way."""
        self.tick_until(
            lambda: not Transaction.objects.exclude(stage=Stage.SETTLED).exists(), "all payments final", mine=True
        )

    def assert_paid_once(self, transactions: Sequence[Transaction]) -> None:
        """Check on the chain itself that each payment was mined once, from consecutive nonces, and the books."""
        final = list(Transaction.objects.filter(pk__in=[row.pk for row in transactions]).order_by("nonce"))
        assert [row.status for row in final] == [Status.SUCCESSFUL] * len(transactions)
        mined = []
        for number in range(self.anvil.block_number() + 1):
            mined += [tx for tx in self.anvil.block(number, full=True)["transactions"] if self._is_ours(tx)]
        wanted = [(row.to_public_address.lower(), row.transaction_amount_in_wei) for row in final]
        assert [(tx["to"].lower(), int(tx["value"], 16)) for tx in mined] == wanted
        assert [row.nonce for row in final] == list(range(final[0].nonce or 0, (final[0].nonce or 0) + len(final)))
        assert Attempt.objects.filter(transaction__in=final).count() == len(final), "an attempt was signed twice"
        self.assert_books_equal_chain()

    def assert_books_equal_chain(self) -> None:
        """Check the books, and what they say of the wallet against the chain to the wei."""
        assert_books_balance()
        self.wallet.account.refresh_from_db()
        assert -self.wallet.account.current_balance_in_wei == self.anvil.balance(self.wallet.address)

    def _is_ours(self, transaction: dict[str, str]) -> bool:
        return transaction["from"].lower() == self.wallet.address.lower()


@pytest.fixture
def live_desk(transactional_db: None, anvil: Anvil, monkeypatch: pytest.MonkeyPatch) -> LiveDesk:
    """A desk whose payments are made by real workers on a real chain that mines when told to."""
    # Blocks come as fast as the test can mine them: nothing is stuck for being in none of them yet.
    monkeypatch.setenv("REPLACE_AFTER_BLOCKS", "100000")
    return LiveDesk(anvil)
