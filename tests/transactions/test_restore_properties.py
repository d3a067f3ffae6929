"""A database restored from a backup, at any moment: nothing that the chain has paid since is paid again, or given back.

The backup knows nothing of what was accepted, approved, cancelled, signed and sent after it. Staff do what the runbook
says: they tell apart what the desk can't, by what was really signed.
"""

from contextlib import suppress

import pytest
from django.core.cache import cache
from django.core.management import call_command
from django.db import connection
from django.db import transaction as db_transaction
from django.utils import timezone
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from accounts.exceptions import InsufficientFundsError
from tests.books import assert_books_balance
from tests.desk import ETHER, NOW, Desk, make_account, make_address, make_officer
from transactions.exceptions import (
    AlreadyDecidedError,
    MayBePaidError,
    NonceNotUnknownError,
    NotCancellableError,
    WalletStateError,
)
from transactions.models import Approval, Attempt, Transaction, Wallet
from transactions.services.approvals import approve_payment, refuse_payment
from transactions.services.cancel import cancel_transaction, cancel_wished
from transactions.services.restored import hold_wallets
from transactions.services.wallet_care import pause, resume
from transactions.states import UNSIGNED, Kind, Purpose, Stage, Status

AMOUNTS = st.sampled_from([ETHER, 2 * ETHER, 40 * ETHER])


def _tables() -> list[str]:
    return [name for name in connection.introspection.table_names() if name != "django_migrations"]


class RestoreMachine(RuleBasedStateMachine):
    """Two wallets, two accounts, three recipients, a backup now and then, and its restoring."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk()
        self.chain = self.desk.chain
        self.desk.add_wallet(balance_in_wei=50 * ETHER)
        self.desk.set_policy(approval_above_in_wei=39 * ETHER)
        self.officer = make_officer()
        self.accounts = [self.desk.account, make_account(balance_in_wei=30 * ETHER)]
        self.recipients = [make_address(number) for number in range(3)]
        self.keys = 0
        self.signed: dict[str, tuple[int, str]] = {}
        """Of each attempt that was ever signed, whose it was and what for: nobody but the test remembers."""
        self.lost: dict[str, bytes] = {}
        self.back_up()

    def teardown(self) -> None:
        """Bring all to its end, check it, and leave the database empty."""
        try:
            self._end_well()
        finally:
            with connection.cursor() as cursor:
                cursor.execute("DROP SCHEMA IF EXISTS backup CASCADE")
            call_command("flush", verbosity=0, interactive=False)

    # --- What the desk and its people do -----------------------------------------------------------------------------
    @rule(account=st.integers(0, 1), to=st.integers(0, 2), amount=AMOUNTS)
    def accept(self, account: int, to: int, amount: int) -> None:
        self.keys += 1
        with suppress(InsufficientFundsError):
            account_, to_ = self.accounts[account], self.recipients[to]
            self.desk.ask(amount, account=account_, to=to_, key=str(self.keys), now=timezone.now())

    @rule()
    def broadcast(self) -> None:
        self.desk.broadcast()
        rows = Attempt.objects.exclude(raw_transaction=b"").values_list("hash", "transaction_id", "purpose")
        self.signed |= {hash_: (row_id, purpose) for hash_, row_id, purpose in rows}

    @rule()
    def follow(self) -> None:
        self.desk.follow()
        cancel_wished(timezone.now())

    @rule(blocks=st.integers(1, 3))
    def mine(self, blocks: int) -> None:
        self.chain.mine(blocks)

    @rule(choice=st.integers(0, 9))
    def cancel(self, choice: int) -> None:
        rows = list(Transaction.objects.filter(kind=Kind.PAYMENT).order_by("pk"))
        if rows:
            with suppress(NotCancellableError):
                cancel_transaction(actor=self.officer, transaction_id=rows[choice % len(rows)].pk, now=timezone.now())

    @rule(choice=st.integers(0, 9), is_approved=st.booleans())
    def decide(self, choice: int, is_approved: bool) -> None:
        rows = list(Approval.objects.order_by("pk"))
        if rows:
            self._decide(rows[choice % len(rows)], is_approved)

    def _decide(self, approval: Approval, is_approved: bool) -> None:
        # What may have been paid can't be refused yet.
        with suppress(AlreadyDecidedError, MayBePaidError):
            if is_approved:
                approve_payment(actor=self.officer, transaction_id=approval.pk, now=timezone.now())
            else:
                refuse_payment(actor=self.officer, transaction_id=approval.pk, reason="No", now=timezone.now())

    @rule(wallet=st.integers(0, 1))
    def pause(self, wallet: int) -> None:
        with suppress(WalletStateError):
            wallet_id = Wallet.objects.order_by("pk")[wallet].pk
            pause(actor=self.officer, wallet_id=wallet_id, reason="for a while", now=NOW)

    @rule()
    def tell_apart_and_resume(self) -> None:
        """Staff tell what each unknown transaction was, by what was really signed, and resume the wallets."""
        for wallet in Wallet.objects.filter(paused_at__isnull=False):
            with suppress(NonceNotUnknownError):
                while True:
                    self._tell(wallet)
            with suppress(WalletStateError):
                resume(actor=self.officer, wallet_id=wallet.pk, reason="x", now=timezone.now())

    def _tell(self, wallet: Wallet) -> None:
        wallet.refresh_from_db()
        found = self.chain.transactions_of(wallet.address, [wallet.next_nonce])
        mined = found.get(wallet.next_nonce)
        row_id, purpose = self.signed.get(mined.hash, (0, "")) if mined is not None else (0, "")
        for approval in Approval.objects.filter(pk=row_id, decided_at=None):
            # What was paid must have been approved, after the backup.
            self._decide(approval, is_approved=True)
        is_known = Transaction.objects.filter(pk=row_id, stage__in=UNSIGNED).exists() and purpose == Purpose.PAYMENT
        self.desk.identify(
            actor=self.officer,
            wallet_id=wallet.pk,
            payment_id=row_id if is_known else None,
            reason="x",
            now=timezone.now(),
        )

    # --- What the chain and its nodes do -----------------------------------------------------------------------------
    @rule(depth=st.integers(1, 3))
    def reorg(self, depth: int) -> None:
        if depth < len(self.chain.blocks):
            self.chain.reorg(depth, back_to_pool=True)

    @rule()
    def lose_the_pool(self) -> None:
        """The node restarts, after the desk has seen what waits there; a peer still has it."""
        self.chain.mine(empty=True)
        self.desk.follow()
        for hash_, lost in self.chain.pool.items():
            self.lost[hash_] = lost.raw
            self.chain.drop(hash_)

    @rule()
    def find_the_pool_again(self) -> None:
        for raw in self.lost.values():
            self.chain.put_back(raw)
        self.lost.clear()

    # --- The backup --------------------------------------------------------------------------------------------------
    @rule()
    def back_up(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("DROP SCHEMA IF EXISTS backup CASCADE; CREATE SCHEMA backup")
            for table in _tables():
                cursor.execute(f"CREATE TABLE backup.{table} AS TABLE public.{table}")

    @rule(account=st.integers(0, 1), to=st.integers(0, 2), amount=AMOUNTS, blocks=st.integers(0, 12))
    def lose_a_payment(self, account: int, to: int, amount: int, blocks: int) -> None:
        """A payment waits in the backup, and is on its way or final when that is restored."""
        self.accept(account, to, amount)
        self.back_up()
        for approval in Approval.objects.filter(decided_at=None):
            self._decide(approval, is_approved=True)
        self.broadcast()
        for _ in range(blocks):
            self.chain.mine()
            self.desk.follow()
        self.restore()

    @rule()
    def restore(self) -> None:
        """Put back all rows as they were; numbers go on where they are. Wallets are held, and the node answers."""
        with db_transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")
            cursor.execute(f"TRUNCATE {', '.join(_tables())}")
            for table in _tables():
                cursor.execute(f"INSERT INTO public.{table} SELECT * FROM backup.{table}")
        cache.clear()
        hold_wallets(timezone.now())

    # --- What must hold ----------------------------------------------------------------------------------------------
    @invariant()
    def the_books_add_up(self) -> None:
        assert_books_balance()

    @invariant()
    def nothing_is_paid_twice(self) -> None:
        paid = self._paid()
        assert len(paid) == len(set(paid)), f"payments {paid}"

    def _paid(self) -> list[int]:
        """Return the numbers of the payments that the chain has made, as often as it has."""
        return [
            self.signed[tx.hash][0]
            for tx, receipt in self.chain.mined
            if receipt.succeeded and tx.hash in self.signed and self.signed[tx.hash][1] == Purpose.PAYMENT
        ]

    def _end_well(self) -> None:
        for blocks in range(60):
            for approval in Approval.objects.filter(decided_at=None):
                self._decide(approval, approval.pk % 2 == 0)
            if blocks > 12 and not Transaction.objects.exclude(stage=Stage.SETTLED).exists():
                break
            self.find_the_pool_again()
            self.tell_apart_and_resume()
            self.broadcast()
            self.chain.mine()
            self.follow()
        assert not Transaction.objects.exclude(stage=Stage.SETTLED).exists(), list(
            Transaction.objects.exclude(stage=Stage.SETTLED).values("pk", "stage", "wait_reason", "kind")
        )
        self.nothing_is_paid_twice()
        paid = set(self._paid())
        for row in Transaction.objects.filter(kind=Kind.PAYMENT):
            assert (row.status == Status.SUCCESSFUL) == (row.pk in paid), f"{row} is {row.status}"
        self.desk.assert_books_balance()


@pytest.mark.django_db(transaction=True)
def test_a_restored_desk_pays_nothing_again_and_gives_nothing_back_that_was_paid() -> None:
    run_state_machine_as_test(
        RestoreMachine,
        settings=settings(
            max_examples=20,
            stateful_step_count=15,
            # A failing run is short enough to be read as it is; to make it shorter takes minutes.
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
