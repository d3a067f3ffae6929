"""The life of payments under random faults: whatever happens, each is paid once or given back, and the books add up.

Broadcaster, follower and watchdog run on the real database against the chain in memory, which loses answers, drops,
refuses, reorganises and goes down; processes die at any fault point. After each step the books are audited, and at the
end, when all is well again, every payment must have come to its end on chain and in the ledger alike.
"""

from contextlib import suppress
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.management import call_command
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from accounts.exceptions import InsufficientFundsError
from accounts.keys import UnsignedTransfer, load_signer, sign_transfers
from tests.books import assert_books_balance
from tests.desk import ETHER, GWEI, NOW, Desk, crash_at, dies, make_account, make_address, make_officer
from tests.transactions.test_crashes import POINTS
from transactions.chain import ChainError
from transactions.exceptions import AlreadyDecidedError, MayBePaidError, NotCancellableError
from transactions.models import Approval, Attempt, Block, Deposit, Transaction, Wallet
from transactions.services.approvals import approve_payment, refuse_payment
from transactions.services.cancel import cancel_transaction, cancel_wished
from transactions.services.sweep import sweep_deposits
from transactions.states import DepositStatus, Kind, Purpose, Stage, Status

STRANGER = make_address(2**102)
CONFIRMATIONS = 4
AMOUNTS = st.sampled_from([1, ETHER, 40 * ETHER, 99 * ETHER])


class LifeMachine(RuleBasedStateMachine):
    """Two wallets, two accounts and their deposit addresses, five recipients, and all that can go wrong between."""

    def __init__(self) -> None:
        super().__init__()
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(django_settings, "CONFIRMATIONS", CONFIRMATIONS)
        self._patch.setattr(django_settings, "CHAIN_RPC_BATCH_SIZE", 3)
        self._patch.setattr(django_settings, "REPLACE_AFTER_BLOCKS", 3)
        self._patch.setattr(django_settings, "SWEEP_MIN_IN_WEI", ETHER // 10)
        self.desk = Desk()
        self.chain = self.desk.chain
        self.desk.add_wallet(balance_in_wei=50 * ETHER)
        self.desk.set_policy(approval_above_in_wei=39 * ETHER)
        self.officer = make_officer()
        self.accounts = [self.desk.account, make_account(balance_in_wei=30 * ETHER)]
        self.recipients = [make_address(number) for number in range(5)]
        self.addresses = [
            *(self.desk.add_deposit_address(account).address for account in self.accounts),
            self.desk.wallet.address,
        ]
        self.keys = 0
        self.is_followed = True

    def teardown(self) -> None:
        """Bring all to its end, check it, and leave the database empty."""
        try:
            self._end_well()
        finally:
            self._patch.undo()
            call_command("flush", verbosity=0, interactive=False)

    # --- What the desk does ------------------------------------------------------------------------------------------
    @rule(account=st.integers(0, 1), to=st.integers(0, 4), amount=AMOUNTS)
    def accept_one(self, account: int, to: int, amount: int) -> None:
        self.accept(account, to, amount)

    def accept(self, account: int, to: int, amount: int) -> None:
        self.keys += 1
        self._ask(account, to, amount)

    @rule(account=st.integers(0, 1), to=st.integers(0, 4), blocks=st.integers(0, 2))
    def pay(self, account: int, to: int, blocks: int) -> None:
        """Go some of the usual way at once, so that random steps don't have to find it."""
        self.pay_now(account, to)
        for _ in range(blocks):
            self.chain.mine()
            self._unless_down(self.desk.follow)

    def pay_now(self, account: int, to: int) -> None:
        self.accept(account, to, ETHER)
        self.desk.broadcast()

    @precondition(lambda self: self.keys)
    @rule(account=st.integers(0, 1), to=st.integers(0, 4), amount=AMOUNTS)
    def repeat_a_request(self, account: int, to: int, amount: int) -> None:
        self._ask(account, to, amount)
        before = Transaction.objects.count()
        self._ask(account, to, amount)
        assert Transaction.objects.count() == before

    def _ask(self, account: int, to: int, amount: int) -> None:
        key = f"{self.keys}-{account}-{to}-{amount}"
        with suppress(InsufficientFundsError):
            self.desk.ask(amount, account=self.accounts[account], to=self.recipients[to], key=key)

    @rule()
    def broadcast(self) -> None:
        self.desk.broadcast()

    @rule()
    def follow(self) -> None:
        self._unless_down(self._follow)

    def _follow(self) -> None:
        self.desk.follow()
        self.is_followed = True

    @rule(choice=st.integers(0, 9))
    def reconcile_one(self, choice: int) -> None:
        self.reconcile(choice)

    def reconcile(self, choice: int) -> None:
        rows = list(Transaction.objects.order_by("pk"))
        if rows:
            self._unless_down(lambda: self.desk.reconcile(rows[choice % len(rows)]))

    @rule(address=st.integers(0, 2), amount=AMOUNTS)
    def pay_in(self, address: int, amount: int) -> None:
        """Somebody outside pays to a deposit address or to a hot wallet."""
        self.desk.pay_in(self.addresses[address], amount)

    @rule(address=st.integers(0, 1), blocks=st.integers(0, CONFIRMATIONS))
    def receive(self, address: int, blocks: int) -> None:
        """Go some of a deposit's usual way at once."""
        self.pay_in(address, ETHER)
        self.mine_and_follow(1)
        self.take_in()
        for _ in range(blocks):
            self.mine_and_follow(1)

    @rule()
    def take_in(self) -> None:
        Block.objects.filter(taken_in_at=None).update(intake_from=None)
        # What a node can't tell now, or tells of another block, is taken in later.
        with suppress(ChainError):
            self.desk.take_in()

    @rule()
    def sweep(self) -> None:
        self._unless_down(lambda: sweep_deposits(NOW, chain=self.chain))

    @rule(point=st.sampled_from(POINTS), step=st.sampled_from(["broadcast", "follow"]))
    def die(self, point: str, step: str) -> None:
        """Run one step in a process that dies at a fault point if it comes there."""
        with pytest.MonkeyPatch.context() as patch:
            crash_at(patch, point)
            with dies():
                self._unless_down(getattr(self.desk, step))

    def _unless_down(self, step: Any) -> None:
        try:
            step()
        except ChainError:
            assert self.chain.down

    # --- What the chain does -----------------------------------------------------------------------------------------
    @rule(blocks=st.integers(1, CONFIRMATIONS + 1), empty=st.booleans())
    def mine(self, blocks: int, empty: bool) -> None:
        self.chain.mine(blocks, empty=empty)

    @rule(blocks=st.integers(1, 3))
    def mine_and_follow(self, blocks: int) -> None:
        self.chain.mine(blocks)
        self.follow()

    @rule(depth=st.integers(1, CONFIRMATIONS + 3), back_to_pool=st.booleans())
    def replace_blocks(self, depth: int, back_to_pool: bool) -> None:
        self.reorg(depth, back_to_pool)

    def reorg(self, depth: int, back_to_pool: bool) -> None:
        """Replace blocks, also deeper than CONFIRMATIONS: what was settled in them comes undone."""
        depth = min(depth, self.chain.blocks[-1].header.number)
        if depth > 0:
            self.chain.reorg(depth, back_to_pool=back_to_pool)
            self.is_followed = False

    @rule(depth=st.integers(1, CONFIRMATIONS - 1), back_to_pool=st.booleans(), to=st.integers(0, 4))
    def let_the_watchdog_see_a_fork_before_the_follower(self, depth: int, back_to_pool: bool, to: int) -> None:
        """The newest payment is looked at alone, on a chain where older ones are no longer where they were."""
        self.pay_now(0, to)
        self.reorg(depth, back_to_pool)
        self.chain.mine()
        self.reconcile(-1)

    @rule(choice=st.integers(0, 9))
    def cancel(self, choice: int) -> None:
        rows = list(Transaction.objects.filter(kind=Kind.PAYMENT).select_related("user_account__owner").order_by("pk"))
        if rows:
            row = rows[choice % len(rows)]
            assert row.user_account.owner is not None
            with suppress(NotCancellableError):
                cancel_transaction(actor=row.user_account.owner, transaction_id=row.pk, now=NOW)

    @rule()
    def end_what_was_called_off(self) -> None:
        cancel_wished(NOW)

    @rule(choice=st.integers(0, 9), is_approved=st.booleans())
    def decide(self, choice: int, is_approved: bool) -> None:
        """A second person looks at a payment of more than 39 ether, or has done so before."""
        rows = list(Approval.objects.order_by("pk"))
        if rows:
            with suppress(AlreadyDecidedError, MayBePaidError):
                self.decide_on(rows[choice % len(rows)], is_approved)

    def decide_on(self, approval: Approval, is_approved: bool) -> None:
        if is_approved:
            approve_payment(actor=self.officer, transaction_id=approval.pk, now=NOW)
        else:
            refuse_payment(actor=self.officer, transaction_id=approval.pk, reason="No", now=NOW)

    @rule(choice=st.integers(0, 9))
    def keep_an_older_attempt(self, choice: int) -> None:
        """A miner has an attempt that was replaced long ago, and may put it into a block yet."""
        attempts = list(Attempt.objects.exclude(raw_transaction=b"").order_by("pk"))
        if attempts:
            attempt = attempts[choice % len(attempts)]
            for waiting in list(self.chain.pool.values()):
                if waiting.slot == (attempt.wallet.address, attempt.nonce):
                    self.chain.drop(waiting.hash)
            if attempt.nonce >= self.chain.blocks[-1].nonces.get(attempt.wallet.address, 0):
                self.chain.put_back(bytes(attempt.raw_transaction))

    @rule(wallet=st.integers(0, 1), value=st.sampled_from([0, 1, ETHER]), is_mined=st.booleans())
    def use_the_key_elsewhere(self, wallet: int, value: int, is_mined: bool) -> None:
        """Another program sends from one of the wallets."""
        address = Wallet.objects.order_by("pk")[wallet].address
        nonce = self.chain.blocks[-1].nonces.get(address, 0)
        transfer = UnsignedTransfer(31337, nonce, STRANGER, value, 21_000, 500 * GWEI, 20 * GWEI)
        [signed] = sign_transfers(load_signer(address), [transfer])
        for waiting in list(self.chain.pool.values()):
            if waiting.slot == (address, nonce):
                self.chain.drop(waiting.hash)
        self.chain.put_back(signed.raw)
        if is_mined:
            self.chain.mine()

    @rule(choice=st.integers(0, 9))
    def drop(self, choice: int) -> None:
        pool = sorted(self.chain.pool.values(), key=lambda tx: tx.slot)
        if pool:
            self.chain.drop(pool[choice % len(pool)].hash)

    @rule()
    def lose_an_answer(self) -> None:
        self.chain.lose_answers()

    @rule()
    def refuse(self) -> None:
        self.chain.refuse("no room", times=2)

    @rule(step=st.sampled_from(["broadcast", "follow"]))
    def be_down(self, step: str) -> None:
        with self.chain.outage():
            self._unless_down(getattr(self.desk, step))

    @rule(lag=st.sampled_from([0, 0, 1]))
    def let_receipts_lag(self, lag: int) -> None:
        self.chain.receipts_lag_blocks = lag

    @rule(gwei=st.sampled_from([1, 1, 1, 20, 300, 500]))
    def change_the_base_fee(self, gwei: int) -> None:
        self.chain.base_fee_per_gas_in_wei = gwei * GWEI

    @rule(to=st.integers(0, 4))
    def let_a_recipient_refuse_or_accept(self, to: int) -> None:
        self.chain.reverting ^= {self.recipients[to]}

    @rule(to=st.integers(0, 4))
    def let_estimates_fail_or_succeed(self, to: int) -> None:
        self.chain.unknown_recipients ^= {self.recipients[to]}

    # --- What must hold ----------------------------------------------------------------------------------------------
    @invariant()
    def the_books_add_up(self) -> None:
        assert_books_balance()

    @invariant()
    def what_waits_for_approval_is_unsigned_and_what_was_refused_unpaid(self) -> None:
        waiting = set(Approval.objects.filter(decided_at=None).values_list("pk", flat=True))
        assert waiting == set(Transaction.objects.filter(stage=Stage.REVIEW).values_list("pk", flat=True))
        stopped = Approval.objects.exclude(verdict="approved").values_list("pk", flat=True)
        assert not Attempt.objects.filter(transaction__in=stopped).exists()

    @invariant()
    def each_nonce_is_one_transactions_and_each_has_an_attempt(self) -> None:
        signed = Transaction.objects.filter(nonce__isnull=False).values_list("wallet_id", "nonce", "pk")
        attempts = Attempt.objects.values_list("wallet_id", "nonce", "transaction_id")
        assert sorted(signed) == sorted(set(attempts))

    @invariant()
    def what_was_settled_is_on_chain(self) -> None:
        if self.is_followed:
            self.see_what_was_settled_on_chain()

    def see_what_was_settled_on_chain(self) -> None:
        on_chain = {receipt.transaction_hash: receipt for _, receipt in self.chain.mined}
        purposes = dict(Attempt.objects.values_list("hash", "purpose"))
        for row in Transaction.objects.filter(stage=Stage.SETTLED, transaction_hash__isnull=False):
            receipt = on_chain[row.transaction_hash or ""]
            pays = row.kind not in (Kind.PAYMENT, Kind.SWEEP) or purposes[receipt.transaction_hash] == Purpose.PAYMENT
            assert (row.status == Status.SUCCESSFUL) == (receipt.succeeded and pays)
            assert row.block_hash == receipt.block_hash
        for deposit in Deposit.objects.filter(status=DepositStatus.CREDITED):
            receipt = on_chain[deposit.transaction_hash]
            assert (deposit.block_hash, receipt.succeeded) == (receipt.block_hash, True)

    def _end_well(self) -> None:
        """Let everything be well again, and see every payment come to its end."""
        chain = self.chain
        chain.down, chain.receipts_lag_blocks, chain.base_fee_per_gas_in_wei = False, 0, GWEI
        chain.unknown_recipients.clear()
        chain._lost_answers, chain._refusals = 0, []
        for blocks in range(60):
            pending = list(Transaction.objects.exclude(stage=Stage.SETTLED).order_by("pk"))
            coming = Deposit.objects.filter(status=DepositStatus.WAITING).exists()
            # What another program has sent is a row only once it was looked for.
            if not pending and not coming and blocks > CONFIRMATIONS + 2:
                break
            for approval in Approval.objects.filter(decided_at=None):
                with suppress(MayBePaidError):
                    self.decide_on(approval, approval.pk % 2 == 0)
            self.desk.broadcast()
            cancel_wished(NOW)
            self.desk.mine()
            self.take_in()
            for row in pending:
                self.desk.reconcile(row)
        rows = list(Transaction.objects.filter(kind=Kind.PAYMENT))
        assert {row.stage for row in rows} <= {Stage.SETTLED}, [(row.stage, row.wait_reason) for row in rows]
        wanted = [(row.to_public_address, row.transaction_amount_in_wei) for row in rows if row.status == "SUCCESSFUL"]
        paid = [
            (tx.to_address, tx.value_in_wei)
            for tx, receipt in chain.mined
            if receipt.succeeded and tx.to_address in self.recipients
        ]
        assert sorted(paid) == sorted(wanted)
        wallets = set(Wallet.objects.values_list("address", flat=True))
        came = {tx.hash for tx, _ in chain.mined if tx.to_address in wallets and tx.value_in_wei}
        assert came == set(
            Deposit.objects.filter(status=DepositStatus.CREDITED).values_list("transaction_hash", flat=True)
        )
        self.see_what_was_settled_on_chain()
        self.desk.assert_books_balance()


@pytest.mark.django_db(transaction=True)
def test_each_payment_comes_to_one_end_whatever_happens() -> None:
    run_state_machine_as_test(
        LifeMachine,
        settings=settings(
            max_examples=15, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
