"""A payments desk in miniature: accounts with money, a wallet with its key, and a chain in memory to pay on.

Everything goes through the doors that production uses: balances come from journals, payments from `accept_transaction`.
"""

import datetime as dt
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import coincurve
import pytest
from django.conf import settings
from django.utils import timezone
from eth_keyfile.keyfile import create_keyfile_json

from accounts.keys import LocalSigner, UnsignedTransfer, restore_deposit_xpub, sign_transfers
from accounts.keys.deposits import SEED_NAME
from accounts.keys.signer import address_of
from accounts.ledger import JournalDraft, post, system_account
from accounts.models import Account, AccountKind, JournalKind, User
from tests.books import assert_books_balance
from tests.fakes.chain import FakeChain
from transactions.models import AccountPolicy, Deposit, Transaction, Wallet
from transactions.services import broadcast, deposits, follow, intake, nonces, replace, send, settle, sweep
from transactions.services.accept import Acceptance, accept_transaction
from transactions.services.broadcast import broadcast_payments
from transactions.services.cancel import cancel_wished
from transactions.services.deposit_addresses import deposit_address_of
from transactions.services.follow import follow_chain
from transactions.services.policies import Terms, allow_recipients, set_policy
from transactions.services.reconcile import reconcile_transaction
from transactions.services.tell_apart import find_unknown, identify_nonce
from transactions.states import DepositStatus, Stage

ETHER = 10**18
GWEI = 10**9
FEE = 8 * 10**15
"""The desk's fixed fee of one payment in wei, as the settings have it by default."""

NETWORK_FEE = 21_000 * 2 * GWEI
"""What the fake chain burns for a plain transfer at its first prices: 1 gwei of base fee, 1 gwei of tip."""

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
WALLET_FUNDS = 1_000 * ETHER

_numbers = itertools.count(1)


def make_address(number: int | None = None) -> str:
    """Return an address (EIP-55) whose key nobody needs: the same for the same number, else a new one."""
    secret = 2**128 + (next(_numbers) if number is None else number)
    return address_of(coincurve.PrivateKey(secret.to_bytes(32, "big")).public_key)


RECIPIENT = make_address(2**100)


def make_user(username: str | None = None) -> User:
    """Return a new user who can't sign in."""
    return User.objects.create(username=username or f"user-{next(_numbers)}")


def make_officer() -> User:
    """Return the member of staff who does what tests want of staff."""
    return User.objects.get_or_create(username="officer")[0]


def make_account(owner: User | None = None, *, balance_in_wei: int = 0, name: str = "Main") -> Account:
    """Return a new account of a user, with a balance that a journal has put there."""
    account = Account.objects.create(owner=owner or make_user(), name=name)
    if balance_in_wei:
        credit(account, balance_in_wei)
    return account


def credit(account: Account, amount_in_wei: int) -> None:
    """Add wei to an account (take them off when below zero), opposite to external funding."""
    funding = system_account(AccountKind.EXTERNAL_FUNDING).pk
    kind = JournalKind.WALLET_FUNDING if account.kind == AccountKind.HOT_WALLET else JournalKind.ADJUSTMENT
    entries = [(account.pk, amount_in_wei), (funding, -amount_in_wei)]
    post(now=NOW, journals=[JournalDraft(kind, f"test-{next(_numbers)}", entries)])
    account.refresh_from_db()


def freeze(account: Account) -> None:
    """Freeze an account."""
    Account.objects.filter(pk=account.pk).update(frozen_at=NOW, frozen_reason="A test froze it.")


def write_keystore(number: int) -> str:
    """Write a keystore file that opens at once, not after scrypt's half second, and return its address (EIP-55)."""
    private_key = coincurve.PrivateKey((2**160 + number).to_bytes(32, "big"))
    address = address_of(private_key.public_key)
    path = settings.KEYSTORE_DIR / f"UTC--2026-01-01T00-00-00.000000000Z--{address[2:].lower()}"
    if not path.exists():
        passphrase = settings.KEYSTORE_PASSPHRASE.encode()
        content = create_keyfile_json(private_key.secret, passphrase, kdf="pbkdf2", iterations=1)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    return address


def write_deposit_seed(entropy: bytes = b"\x05" * 32) -> None:
    """Write the seed of deposit addresses where there is none, encrypted so that it opens at once."""
    path = settings.KEYSTORE_DIR / SEED_NAME
    if not path.exists():
        content = create_keyfile_json(entropy, settings.KEYSTORE_PASSPHRASE.encode(), kdf="pbkdf2", iterations=1)
        del content["address"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
        restore_deposit_xpub(settings.KEYSTORE_DIR, settings.KEYSTORE_PASSPHRASE)


def make_wallet(address: str, *, balance_in_wei: int = WALLET_FUNDS, next_nonce: int = 0) -> Wallet:
    """Return a new hot wallet whose ledger account holds what the chain is about to."""
    account = Account.objects.create(kind=AccountKind.HOT_WALLET, name=f"Hot wallet {address}")
    if balance_in_wei:
        credit(account, -balance_in_wei)
    return Wallet.objects.create(address=address, account=account, next_nonce=next_nonce)


@dataclass
class Desk:
    """One hot wallet, one funded account, and what happens to them."""

    chain: FakeChain = field(default_factory=FakeChain)

    def __post_init__(self) -> None:
        self.wallet = self.add_wallet()
        self.account = make_account(balance_in_wei=100 * ETHER)
        self.outsider = LocalSigner((2**161).to_bytes(32, "big"))
        self.chain.set_balance(self.outsider.address, 100_000 * ETHER)

    def add_wallet(self, *, balance_in_wei: int = WALLET_FUNDS) -> Wallet:
        """Add a hot wallet with its key, funded on the chain and in the ledger."""
        wallet = make_wallet(write_keystore(Wallet.objects.count()), balance_in_wei=balance_in_wei)
        self.chain.set_balance(wallet.address, balance_in_wei)
        return wallet

    def add_deposit_address(self, account: Account | None = None) -> Wallet:
        """Give an account a deposit address whose key the desk has."""
        write_deposit_seed()
        return deposit_address_of((account or self.account).pk)

    def pay_in(self, to: str, amount_in_wei: int = ETHER) -> str:
        """Let somebody outside send ether to an address; return the hash, which waits to be mined."""
        sender = self.outsider.address
        nonce = self.chain.view([sender], with_finalized=False).nonces[sender].pending
        transfer = UnsignedTransfer(self.chain.id, nonce, to, amount_in_wei, 50_000, 1_000 * GWEI, GWEI)
        [signed] = sign_transfers(self.outsider, [transfer])
        self.chain.put_back(signed.raw)
        return signed.hash

    def take_in(self, now: dt.datetime | None = None) -> int:
        """Take in all walked blocks, as the workers of queue deposits do; return how many deposits they brought."""
        found = 0
        for number, block_hash in intake.claim_blocks(10_000, now or timezone.now()):
            intake.fetch_block(number, block_hash, chain=self.chain)
            if intake.record_block(number, block_hash):
                found += intake.record_transfers(number, block_hash, chain=self.chain)
        return found

    def accept(
        self,
        amount_in_wei: int = ETHER,
        *,
        account: Account | None = None,
        to: str = RECIPIENT,
        key: str | None = None,
        now: dt.datetime = NOW,
    ) -> Transaction:
        """Accept a payment and return its row."""
        acceptance = self.ask(amount_in_wei, account=account, to=to, key=key, now=now)
        return Transaction.objects.get(pk=acceptance.detail["id"])

    def ask(
        self,
        amount_in_wei: int = ETHER,
        *,
        account: Account | None = None,
        to: str = RECIPIENT,
        key: str | None = None,
        now: dt.datetime = NOW,
    ) -> Acceptance:
        """Ask for a payment as the account's owner does, and return the answer."""
        account = account or self.account
        return accept_transaction(
            user_id=account.owner_id or 0,
            user_account_id=account.pk,
            to_public_address=to,
            amount_in_wei=amount_in_wei,
            idempotency_key=key,
            now=now,
        )

    def set_policy(self, account: Account | None = None, **terms: Any) -> None:
        """Set what an account may pay, as staff do."""
        account = account or self.account
        changed_at = AccountPolicy.objects.filter(pk=account.pk).values_list("changed_at", flat=True).first()
        set_policy(
            actor=make_officer(),
            account_id=account.pk,
            terms=Terms(**terms),
            reason="A test wants it.",
            seen_at=changed_at,
            now=timezone.now(),
        )

    def allow(self, *addresses: str, account: Account | None = None) -> None:
        """Put recipients on an account's allow-list, as staff do."""
        allow_recipients(
            actor=make_officer(),
            account_id=(account or self.account).pk,
            notes_by_address=dict.fromkeys(addresses, ""),
            reason="A test wants it.",
            now=timezone.now(),
        )

    def accept_for_review(self, amount_in_wei: int = 2 * ETHER, *, to: str = RECIPIENT) -> Transaction:
        """Accept a payment that a second person has to approve."""
        self.set_policy(approval_above_in_wei=ETHER)
        payment = self.accept(amount_in_wei, to=to)
        assert payment.stage == Stage.REVIEW
        return payment

    def accept_many(self, count: int) -> list[Transaction]:
        """Accept payments of 1, 2, 3 … wei, each to a recipient of its own."""
        return [self.accept(number + 1, to=make_address()) for number in range(count)]

    def identify(
        self,
        *,
        actor: User,
        wallet_id: int,
        payment_id: int | None,
        reason: str = "Looked it up",
        now: dt.datetime = NOW,
    ) -> str:
        """Tell what the transaction was that used a paused wallet's next nonce, as staff do; return its hash."""
        _, mined = find_unknown(wallet_id=wallet_id, chain=self.chain)
        identify_nonce(
            actor=actor,
            wallet_id=wallet_id,
            transaction_hash=mined.hash,
            payment_id=payment_id,
            reason=reason,
            now=now,
            chain=self.chain,
        )
        return mined.hash

    def broadcast(self) -> int:
        """Run the broadcaster once."""
        return broadcast_payments(self.chain)

    def follow(self) -> int:
        """Run the follower once and return how many payments it settled."""
        return follow_chain(self.chain)

    def reconcile(self, transaction: Transaction, now: dt.datetime = NOW) -> Stage:
        """Reconcile one payment and return its stage."""
        return reconcile_transaction(transaction.pk, now, chain=self.chain)

    def mine(self, blocks: int = 1) -> None:
        """Mine blocks, the follower looking at each."""
        for _ in range(blocks):
            self.chain.mine()
            self.follow()

    def run_to_the_end(self) -> None:
        """Broadcast, mine, follow and take in until nothing is under way; fail when that takes for ever."""
        leaving = Transaction.objects.exclude(stage=Stage.SETTLED)
        coming = Deposit.objects.filter(status=DepositStatus.WAITING)
        for _ in range(60):
            if not leaving.exists() and not coming.exists():
                return
            self.broadcast()
            cancel_wished(timezone.now())
            self.mine()
            self.take_in()
        raise AssertionError(f"Still under way: {list(leaving.values())} {list(coming.values())}")

    def assert_paid_once(self, transactions: Sequence[Transaction]) -> None:
        """Check that the chain holds each payment once, with its value and recipient, and nothing else but no-ops."""
        wanted = sorted((row.to_public_address, row.transaction_amount_in_wei) for row in transactions)
        found = sorted(
            (tx.to_address, tx.value_in_wei)
            for tx, receipt in self.chain.mined
            if receipt.succeeded and (tx.to_address, tx.value_in_wei) != (tx.from_address, 0)
        )
        assert found == wanted
        for sender in {tx.from_address for tx, _ in self.chain.mined}:
            used = [tx.nonce for tx, _ in self.chain.mined if tx.from_address == sender]
            assert used == list(range(len(used))), "a gap or a repetition among the nonces"

    def assert_books_balance(self) -> None:
        """Check ledger, holds, payments and, when nothing is under way, the chain."""
        assert_books_balance(self.chain)


class Crash(BaseException):  # noqa: N818 (it stands for SIGKILL, and nothing may catch it by being an Exception)
    """The process dies here."""


def crash_at(monkeypatch: pytest.MonkeyPatch, point: str) -> Callable[[], bool]:
    """Let the process die where it first comes to a fault point; return a function that says whether it did."""
    fired: list[str] = []

    def die_once(name: str) -> None:
        if name == point and not fired:
            fired.append(name)
            raise Crash(name)

    for module in (broadcast, deposits, follow, intake, nonces, replace, send, settle, sweep):
        monkeypatch.setattr(module, "fault_point", die_once, raising=True)
    return lambda: bool(fired)


@contextmanager
def dies() -> Iterator[None]:
    """Run a block as a process that may crash: what it had not committed is gone, and the next one goes on."""
    with suppress(Crash):
        yield


def stages(transactions: Sequence[Transaction]) -> list[str]:
    """Return the stages of rows as they are now, in their order."""
    now = dict(Transaction.objects.values_list("pk", "stage"))
    return [now[row.pk] for row in transactions]
