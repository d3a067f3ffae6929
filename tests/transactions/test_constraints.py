"""Each rule that the database keeps for wallets, transactions and attempts, seen to refuse a row that breaks it."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.db.models import Model

from accounts.ledger import JournalDraft, post, system_account
from accounts.models import Account, AccountKind, JournalKind
from accounts.money import WEI_MAX
from tests.desk import ETHER, FEE, NOW, RECIPIENT, make_account, make_address, make_user
from tests.rules import execute, refused_by, rules_of
from transactions.models import (
    AccountPolicy,
    AllowedRecipient,
    Approval,
    Attempt,
    Deposit,
    PassedNonce,
    Queue,
    ReservesReport,
    Transaction,
    Wallet,
)
from transactions.states import UNSIGNED, FailureReason, Stage, Status

pytestmark = pytest.mark.django_db
LATER = NOW + dt.timedelta(seconds=1)


def tx_hash(number: int) -> str:
    return f"0x{number:064x}"


class Rows:
    """A wallet and one good transaction of each stage and end to break."""

    def __init__(self) -> None:
        self.account = make_account()
        self.other_account = make_account()
        self.wallet = self.add_wallet(1)
        self.other_wallet = self.add_wallet(2)
        self._nonces = 0
        self.accepted = self.add(Stage.ACCEPTED, idempotency_key="key")
        self.signed = self.add(Stage.SIGNED)
        self.broadcast = self.add(Stage.BROADCAST)
        self.mined = self.add(Stage.MINED)
        self.successful = self.add(Stage.SETTLED)
        self.reverted = self.add(
            Stage.SETTLED, status=Status.FAILED, failure_reason=FailureReason.REVERTED, succeeded_on_chain=False
        )
        self.attempt = self.add_attempt(self.signed)
        self.review = self.add(Stage.REVIEW)
        self.open_approval = self.add_approval(self.review)
        self.approved = self.add_approval(self.add(Stage.REVIEW), **APPROVED | {"decided_by": make_user()})
        self.policy = AccountPolicy.objects.create(account=self.account, changed_at=NOW)
        self.allowed = AllowedRecipient.objects.create(account=self.account, address=RECIPIENT)
        self.deposit_address = self.add_wallet(4, role="deposit", credits=self.account)
        self.deposit = self.add_deposit(1)
        self.credited = self.add_deposit(2)
        post_journal("deposit", tx_hash(2))
        change(self.credited, **CREDITED)
        self.report = self.add_report()
        self.signed_report = self.add_report()
        change(self.signed_report, **SIGNED)

    def add_wallet(self, number: int, **columns: Any) -> Wallet:
        account = Account.objects.create(kind=AccountKind.HOT_WALLET, name="x")
        return Wallet.objects.create(address=make_address(number), account=account, **columns)

    def add_deposit(self, number: int, **changes: Any) -> Deposit:
        """Insert a deposit that waits, but for the changes."""
        columns: dict[str, Any] = {
            "wallet": self.deposit_address,
            "transaction_hash": tx_hash(number),
            "from_public_address": RECIPIENT,
            "amount_in_wei": ETHER,
            "block_number": 7,
            "block_hash": tx_hash(7),
        }
        return Deposit.objects.create(**(columns | changes))

    def add_report(self, **changes: Any) -> ReservesReport:
        """Insert a report of reserves that isn't signed yet, but for the changes."""
        columns: dict[str, Any] = {
            "made_at": NOW, "block_number": 7, "block_hash": tx_hash(7), "owed_in_wei": 1, "held_in_wei": 1,
            "in_flight_in_wei": 0, "differences_total": 0, "text": "{}",
        }  # fmt: skip
        return ReservesReport.objects.create(**(columns | changes))

    def add_sweep(self, **changes: Any) -> Transaction:
        """Insert a move to the other wallet, but for the changes."""
        columns: dict[str, Any] = {"kind": "sweep", "wallet": self.wallet, "to_public_address": make_address(2)}
        return self.add(Stage.ACCEPTED, **(columns | changes))

    def add(self, stage: Stage, /, **changes: Any) -> Transaction:
        """Insert a transaction that has what its stage demands, but for the changes."""
        columns: dict[str, Any] = {
            "user_account": self.account,
            "to_public_address": RECIPIENT,
            "transaction_amount_in_wei": ETHER,
            "transaction_fee_total_in_wei": FEE,
            "payload_hash": "p" * 64,
            "stage": stage,
        }
        if stage not in UNSIGNED:
            self._nonces += 1
            columns |= {"wallet": self.wallet, "nonce": self._nonces, "signed_at": NOW}
            columns |= {"transaction_hash": tx_hash(self._nonces)}
        if stage in (Stage.MINED, Stage.SETTLED):
            columns |= {"block_number": 7, "block_hash": tx_hash(7), "succeeded_on_chain": True, "mined_at": NOW}
            columns |= {"transaction_fee_blockchain_in_wei": 1}
        if stage == Stage.SETTLED:
            columns |= {"status": Status.SUCCESSFUL, "settled_at": NOW}
        return Transaction.objects.create(**(columns | changes))

    def add_approval(self, transaction: Transaction, **changes: Any) -> Approval:
        """Insert the request for a verdict on a transaction, but for the changes."""
        columns: dict[str, Any] = {"transaction": transaction, "requested_at": NOW, "above_in_wei": 1}
        return Approval.objects.create(**(columns | changes))

    def add_attempt(self, transaction: Transaction, **changes: Any) -> Attempt:
        """Insert an attempt of a transaction, but for the changes."""
        columns: dict[str, Any] = {
            "wallet": transaction.wallet,
            "nonce": transaction.nonce,
            "transaction": transaction,
            "hash": transaction.transaction_hash,
            "raw_transaction": b"\x02",
            "gas_limit": 21_000,
            "max_fee_per_gas_in_wei": 5,
            "max_priority_fee_per_gas_in_wei": 5,
        }
        return Attempt.objects.create(**(columns | changes))


@pytest.fixture
def rows() -> Rows:
    return Rows()


def change(row: Model, **columns: Any) -> None:
    """Write columns past the services."""
    type(row)._default_manager.filter(pk=row.pk).update(**columns)


def post_journal(kind: str, source: str) -> None:
    """Post a journal that says nothing but its kind and source."""
    funding, fees = system_account(AccountKind.EXTERNAL_FUNDING).pk, system_account(AccountKind.NETWORK_FEES).pk
    post(now=NOW, journals=[JournalDraft(JournalKind(kind), source, [(funding, 1), (fees, -1)])])


def credit_by(rows: Rows, kind: str, source: str, **columns: Any) -> None:
    """Credit the waiting deposit beside a journal that isn't the one it must have."""
    post_journal(kind, source)
    change(rows.deposit, **(CREDITED | columns))


Break = Callable[[Rows], object]


def each_added(stage: Stage, *changes: dict[str, Any]) -> list[Break]:
    """Return one attempt to insert for each of the changes."""
    return [lambda rows, one=one: rows.add(stage, **one) for one in changes]  # type: ignore[misc]


def each_changed(row: str, *changes: dict[str, Any]) -> list[Break]:
    """Return one attempt to update for each of the changes."""
    return [lambda rows, one=one: change(getattr(rows, row), **one) for one in changes]  # type: ignore[misc]


APPROVED: dict[str, Any] = {"verdict": "approved", "decided_at": NOW}
CREDITED: dict[str, Any] = {"status": "credited", "credited_at": NOW, "credits": 1}
SIGNED: dict[str, Any] = {"signatures": [{"address": RECIPIENT, "signature": "0x"}], "signed_at": NOW}
BOOKS_ONLY: dict[str, Any] = {
    "block_number": None, "block_hash": "", "held_in_wei": None, "in_flight_in_wei": None, "not_compared": "x",
}  # fmt: skip
GONE: dict[str, Any] = {"status": "gone", "block_number": None, "block_hash": "", "credited_at": None}
NO_BLOCK: dict[str, Any] = {"block_number": None, "block_hash": "", "succeeded_on_chain": None}
FAILED = {"status": Status.FAILED}
PAID: dict[str, Any] = {"stage": Stage.SETTLED, "status": Status.SUCCESSFUL, "settled_at": NOW}
UNDONE: dict[str, Any] = {
    "stage": Stage.BROADCAST, "status": Status.PENDING, "settled_at": None, "transaction_fee_blockchain_in_wei": None,
    "reversals": 1, **NO_BLOCK,
}  # fmt: skip
OTHER_TERMS: list[dict[str, Any]] = [
    {"to_public_address": make_address(99)},
    {"transaction_amount_in_wei": 1},
    {"transaction_fee_total_in_wei": 1},
    {"idempotency_key": "another"},
    {"idempotency_key": None},
    {"payload_hash": "q" * 64},
    {"accepted_at": NOW},
]


def request_nobody(rows: Rows) -> None:
    """Let a payment wait for an approval that nobody is asked for, and commit."""
    rows.add(Stage.REVIEW)
    connection.check_constraints()


def end(rows: Rows, payment: Transaction, **columns: Any) -> None:
    """End a payment as failed, without any service's verdict."""
    change(payment, stage=Stage.SETTLED, status=Status.FAILED, settled_at=NOW, **columns)


def pass_over(rows: Rows, nonce: int) -> None:
    PassedNonce.objects.create(wallet=rows.wallet, nonce=nonce)


def give_up(rows: Rows, payment: Transaction, *, of: Transaction | None = None, **columns: Any) -> None:
    """End a payment whose nonce, or another one's, is passed over."""
    pass_over(rows, (of or payment).nonce or 0)
    end(rows, payment, **columns)


def pay_by(rows: Rows, **attempt: Any) -> None:
    """Call the mined payment successful, by an attempt that isn't such a one as pays it."""
    rows.add_attempt(rows.mined, **attempt)
    change(rows.mined, **PAID)


BREAKS: dict[str, list[Break]] = {
    # Wallets
    "transactions_wallet_address_key": [lambda rows: rows.add_wallet(1)],
    "transactions_wallet_account_id_key": [
        lambda rows: Wallet.objects.create(address=make_address(3), account=rows.wallet.account)
    ],
    "transactions_wallet_paused_with_a_reason": [
        lambda rows: change(rows.wallet, paused_at=NOW),
        lambda rows: change(rows.wallet, paused_reason="x"),
    ],
    "transactions_wallet_replaced_by_another_gets_no_payments": [
        lambda rows: change(rows.wallet, replaced_by=rows.other_wallet),
        lambda rows: change(rows.wallet, replaced_by=rows.wallet, draining_at=NOW),
    ],
    "transactions_wallet_retired_only_when_replaced_and_paused": [
        lambda rows: change(rows.wallet, retired_at=NOW),
        lambda rows: change(rows.wallet, retired_at=NOW, paused_at=NOW, paused_reason="x"),
        lambda rows: change(rows.wallet, retired_at=NOW, draining_at=NOW, replaced_by=rows.other_wallet),
    ],
    "transactions_passednonce_not_negative": [lambda rows: PassedNonce.objects.create(wallet=rows.wallet, nonce=-1)],
    "transactions_passednonce_passed_once": [
        lambda rows: PassedNonce.objects.bulk_create([PassedNonce(wallet=rows.wallet, nonce=7) for _ in range(2)])
    ],
    "transactions_wallet_next_nonce_not_negative": [lambda rows: change(rows.wallet, next_nonce=-1)],
    "transactions_wallet_opened_at_block_not_negative": [lambda rows: change(rows.wallet, opened_at_block=-1)],
    "transactions_wallet_deposit_address_of_an_account": [
        lambda rows: rows.add_wallet(5, role="deposit"),
        lambda rows: rows.add_wallet(5, credits=rows.other_account),
        lambda rows: rows.add_wallet(5, role="cold"),
    ],
    "transactions_wallet_credits_id_key": [lambda rows: rows.add_wallet(5, role="deposit", credits=rows.account)],
    "transactions_wallet_address_never_changes": [
        lambda rows: change(rows.wallet, address=make_address(5)),
        lambda rows: change(rows.wallet, role="deposit", credits=rows.other_account),
        lambda rows: change(rows.wallet, account=rows.other_account),
        lambda rows: change(rows.deposit_address, credits=rows.other_account),
    ],
    # Deposits
    "transactions_deposit_seen_once": [lambda rows: rows.add_deposit(1), lambda rows: rows.add_deposit(2, **GONE)],
    "transactions_deposit_amount_within_uint256": [
        lambda rows, amount=amount: rows.add_deposit(9, amount_in_wei=amount)  # type: ignore[misc]
        for amount in (0, -1, WEI_MAX + 1)
    ],
    "transactions_deposit_in_a_block_unless_gone": [
        lambda rows: rows.add_deposit(9, block_number=None),
        lambda rows: rows.add_deposit(9, block_hash=""),
        lambda rows: rows.add_deposit(9, status="gone"),
        lambda rows: rows.add_deposit(9, status="lost"),
        lambda rows: rows.add_deposit(9, status="lost", block_number=None, block_hash=""),
        lambda rows: change(rows.credited, block_hash="7"),
    ],
    "transactions_deposit_credited_at_when_credited": [
        lambda rows: rows.add_deposit(9, credited_at=NOW),
        lambda rows: change(rows.credited, credited_at=None),
    ],
    "transactions_deposit_credited_in_the_ledger": [
        lambda rows: rows.add_deposit(9, **CREDITED),
        lambda rows: rows.add_deposit(9, credits=1),
        lambda rows: change(rows.deposit, **CREDITED),
        lambda rows: credit_by(rows, "deposit_reversal", tx_hash(1)),
        lambda rows: credit_by(rows, "deposit", tx_hash(3)),
        lambda rows: credit_by(rows, "deposit", f"{tx_hash(1)}.2", credits=2),
        lambda rows: change(rows.credited, **GONE),
        lambda rows: change(rows.credited, credits=2),
        lambda rows: change(rows.credited, credits=0),
    ],
    "transactions_deposit_terms_never_change": [
        lambda rows: change(rows.deposit, wallet=rows.wallet),
        lambda rows: change(rows.deposit, transaction_hash=tx_hash(9)),
        lambda rows: change(rows.deposit, amount_in_wei=1),
        lambda rows: change(rows.deposit, from_public_address=make_address(9)),
        lambda rows: change(rows.deposit, seen_at=LATER),
    ],
    "transactions_deposit_never_deleted": [
        lambda rows: Deposit.objects.filter(pk=rows.deposit.pk).delete(),
        lambda rows: execute("TRUNCATE transactions_deposit CASCADE"),
    ],
    # Sweeps
    "transactions_transaction_sweep_bound_to_its_wallet": [lambda rows: rows.add_sweep(wallet=None)],
    "transactions_transaction_sweep_keeps_its_wallet": [
        lambda rows: change(rows.add_sweep(), wallet=rows.other_wallet),
        lambda rows: change(rows.add_sweep(), wallet=None),
    ],
    "transactions_transaction_sweep_to_an_own_wallet": [
        lambda rows: rows.add_sweep(to_public_address=RECIPIENT),
        lambda rows: rows.add_sweep(to_public_address=rows.wallet.address),
        lambda rows: rows.add_sweep(to_public_address=rows.deposit_address.address),
    ],
    # The queue
    "transactions_queue_one_row": [lambda _rows: Queue.objects.create(pk=2)],
    # Transactions: the terms
    "transactions_transaction_kind_known": each_added(Stage.ACCEPTED, {"kind": "gift"}, {"kind": ""}),
    "transactions_transaction_kind_never_changes": each_changed("accepted", {"kind": "fill"}),
    "transactions_transaction_idempotency_key_used_once": [
        lambda rows: rows.add(Stage.ACCEPTED, idempotency_key="key"),
        lambda rows: rows.add(Stage.SETTLED, idempotency_key="key", transaction_amount_in_wei=2),
    ],
    "transactions_transaction_amount_within_uint256": each_added(
        Stage.ACCEPTED, *({"transaction_amount_in_wei": amount} for amount in (0, -1, WEI_MAX + 1))
    ),
    "transactions_transaction_fee_within_uint256": each_added(
        Stage.ACCEPTED, *({"transaction_fee_total_in_wei": fee} for fee in (-1, WEI_MAX + 1))
    ),
    "transactions_transaction_terms_never_change": [
        *each_changed("accepted", *OTHER_TERMS),
        *each_changed("mined", *OTHER_TERMS[:2]),
        lambda rows: change(rows.accepted, user_account=rows.other_account),
    ],
    # Transactions: nonces and hashes
    "transactions_transaction_hash_used_once": each_added(Stage.SIGNED, {"transaction_hash": tx_hash(1)}),
    "transactions_transaction_nonce_used_once": [
        *each_added(Stage.SIGNED, {"nonce": 1}),
        *each_added(Stage.SETTLED, {"nonce": 1}),
    ],
    "transactions_transaction_keeps_its_nonce": [
        *each_changed("signed", {"nonce": 100}),
        *each_changed("broadcast", {"nonce": 100}, {"stage": "ACCEPTED", "nonce": None, "transaction_hash": None}),
        lambda rows: change(rows.signed, wallet=rows.other_wallet),
    ],
    # Transactions: what each stage must have
    "transactions_transaction_final_only_when_settled": [
        *(
            attempt
            for stage in (Stage.REVIEW, Stage.ACCEPTED, Stage.SIGNED, Stage.BROADCAST)
            for attempt in each_added(stage, FAILED | {"failure_reason": "rejected"})
        ),
        *each_added(Stage.MINED, {"status": Status.SUCCESSFUL}),
        *each_added(Stage.SETTLED, {"status": Status.PENDING}, {"status": "LOST"}),
        *each_added(Stage.ACCEPTED, {"stage": "LOST", "nonce": None}),
    ],
    "transactions_transaction_failed_with_a_reason": [
        *each_added(Stage.SETTLED, FAILED, FAILED | {"failure_reason": "bad luck"}),
        *each_added(Stage.SETTLED, {"failure_reason": "rejected"}),
        *each_added(Stage.ACCEPTED, {"failure_reason": "rejected"}),
    ],
    "transactions_transaction_signed_with_nonce_and_hash": [
        *each_added(Stage.ACCEPTED, {"nonce": 100}, {"transaction_hash": tx_hash(100)}),
        *each_added(Stage.REVIEW, {"nonce": 100}, {"transaction_hash": tx_hash(100)}),
        *(
            attempt
            for stage in (Stage.SIGNED, Stage.BROADCAST, Stage.MINED)
            for attempt in each_added(
                stage, {"wallet": None}, {"nonce": None}, {"transaction_hash": None}, {"signed_at": None}
            )
        ),
    ],
    "transactions_transaction_mined_with_its_block": [
        *each_added(
            Stage.MINED,
            {"block_number": None},
            {"block_hash": ""},
            {"block_hash": "7"},
            {"succeeded_on_chain": None},
            {"transaction_fee_blockchain_in_wei": None},
        ),
        *(
            attempt
            for stage in (Stage.REVIEW, Stage.ACCEPTED, Stage.SIGNED, Stage.BROADCAST)
            for attempt in each_added(
                stage,
                {"block_number": 7},
                {"block_hash": tx_hash(7)},
                {"succeeded_on_chain": True},
                {"succeeded_on_chain": False},
                {"transaction_fee_blockchain_in_wei": 1},
            )
        ),
    ],
    "transactions_transaction_successful_only_by_its_block": each_added(
        Stage.SETTLED,
        {"succeeded_on_chain": False},
        {"succeeded_on_chain": None},
        {"block_number": None},
        {"block_hash": ""},
        {"transaction_hash": None},
        {"transaction_fee_blockchain_in_wei": None},
        NO_BLOCK,
    ),
    "transactions_transaction_reverted_only_by_its_block": each_added(
        Stage.SETTLED,
        FAILED | {"failure_reason": "reverted"},
        FAILED | {"failure_reason": "reverted", "succeeded_on_chain": None},
        FAILED | {"failure_reason": "reverted", "succeeded_on_chain": False, "block_number": None},
    ),
    "transactions_transaction_settled_at_when_settled": [
        *each_added(Stage.SETTLED, {"settled_at": None}),
        *each_added(Stage.ACCEPTED, {"settled_at": NOW}),
        *each_added(Stage.MINED, {"settled_at": NOW}),
    ],
    # Transactions: in review
    "transactions_transaction_in_review_waits_for_people_only": each_added(
        Stage.REVIEW, {"next_check_at": NOW}, {"wait_reason": "node"}, {"approved_at": NOW}, {"kind": "fill"}
    ),
    "transactions_transaction_in_review_with_its_request": [request_nobody],
    "transactions_transaction_leaves_review_by_its_verdict": [
        *each_changed("review", {"stage": "ACCEPTED", "approved_at": NOW}),
        lambda rows: end(rows, rows.review, failure_reason="cancelled"),
        lambda rows: end(rows, rows.review, failure_reason="refused"),
        lambda rows: end(rows, rows.approved.transaction, failure_reason="cancelled"),
        lambda rows: end(rows, rows.approved.transaction, failure_reason="refused"),
    ],
    "transactions_transaction_checks_done_check": each_added(Stage.ACCEPTED, {"checks_done": -1}),
    # Transactions: what is final, and for ever
    "transactions_transaction_final_stays_final": [
        *each_changed("successful", FAILED | {"failure_reason": "reverted"}, {"block_hash": tx_hash(8)}),
        *each_changed("successful", {"stage": "MINED", "status": "PENDING", "settled_at": None}),
        *each_changed("successful", {"transaction_hash": tx_hash(8)}),
        *each_changed("reverted", {"status": "SUCCESSFUL", "failure_reason": "", "succeeded_on_chain": True}),
        *each_changed("reverted", {"failure_reason": "expired"}),
    ],
    "transactions_transaction_reversals_check": each_added(Stage.ACCEPTED, {"reversals": -1}),
    "transactions_transaction_reversals_count_reversals": [
        *each_changed("accepted", {"reversals": 1}),
        *each_changed("mined", {"reversals": 1}),
    ],
    "transactions_transaction_reversed_in_the_ledger": each_changed("successful", UNDONE),
    "transactions_transaction_successful_only_by_paying": [
        *each_changed("mined", PAID),
        lambda rows: pay_by(rows, purpose="cancel"),
        lambda rows: pay_by(rows, hash=tx_hash(98)),
    ],
    "transactions_transaction_given_up_with_its_nonce": [
        lambda rows: end(rows, rows.signed, failure_reason="displaced"),
        lambda rows: end(rows, rows.broadcast, failure_reason="displaced"),
        lambda rows: give_up(rows, rows.broadcast, failure_reason="cancelled"),
        lambda rows: give_up(rows, rows.broadcast, failure_reason="displaced", block_number=7),
        lambda rows: give_up(rows, rows.broadcast, of=rows.signed, failure_reason="displaced"),
    ],
    "transactions_transaction_never_deleted": [
        lambda rows: Transaction.objects.filter(pk=rows.accepted.pk).delete(),
        lambda rows: execute("DELETE FROM transactions_transaction WHERE id = %s", rows.successful.pk),
        lambda rows: execute("TRUNCATE transactions_transaction CASCADE"),
    ],
    # Approvals
    "transactions_approval_decided_by_somebody": [
        lambda rows: change(rows.open_approval, **APPROVED),
        lambda rows: change(rows.open_approval, verdict="approved", decided_by=make_user()),
        lambda rows: change(rows.open_approval, decided_at=NOW),
        lambda rows: change(rows.open_approval, decided_by=make_user()),
        lambda rows: change(rows.open_approval, verdict="withdrawn"),
        lambda rows: change(rows.open_approval, verdict="withdrawn", decided_at=NOW, decided_by=make_user()),
        lambda rows: change(rows.open_approval, verdict="maybe", decided_at=NOW, decided_by=make_user()),
    ],
    "transactions_approval_refused_with_a_reason": [
        lambda rows: change(rows.open_approval, verdict="refused", decided_at=NOW, decided_by=make_user()),
    ],
    "transactions_approval_above_within_uint256": [
        lambda rows: rows.add_approval(rows.accepted, above_in_wei=-1),
        lambda rows: rows.add_approval(rows.accepted, above_in_wei=WEI_MAX + 1),
    ],
    "transactions_approval_by_a_second_person": [
        lambda rows: change(rows.open_approval, decided_by=rows.account.owner, **APPROVED),
        lambda rows: rows.add_approval(rows.accepted, decided_by=rows.account.owner, **APPROVED),
    ],
    "transactions_approval_decided_once": [
        lambda rows: change(rows.approved, verdict="refused", reason="x"),
        lambda rows: change(rows.approved, verdict="", decided_at=None, decided_by=None),
        lambda rows: change(rows.approved, reason="another"),
    ],
    "transactions_approval_request_never_changes": [
        lambda rows: change(rows.open_approval, above_in_wei=2),
        lambda rows: change(rows.open_approval, requested_at=LATER),
        lambda rows: change(rows.open_approval, transaction=rows.accepted),
    ],
    "transactions_approval_never_deleted": [
        lambda rows: Approval.objects.filter(pk=rows.open_approval.pk).delete(),
        lambda rows: execute("TRUNCATE transactions_approval CASCADE"),
    ],
    # Policies
    "transactions_accountpolicy_amount_max_within_uint256": each_changed(
        "policy", *({"amount_max_in_wei": amount} for amount in (0, -1, WEI_MAX + 1))
    ),
    "transactions_accountpolicy_daily_max_within_uint256": each_changed(
        "policy", *({"daily_amount_max_in_wei": amount} for amount in (0, -1, WEI_MAX + 1))
    ),
    "transactions_accountpolicy_approval_above_within_uint256": each_changed(
        "policy", *({"approval_above_in_wei": amount} for amount in (-1, WEI_MAX + 1))
    ),
    "transactions_accountpolicy_of_a_users_account": [
        lambda rows: AccountPolicy.objects.create(account=rows.wallet.account, changed_at=NOW),
        lambda rows: change(rows.policy, account=rows.wallet.account),
    ],
    "transactions_allowedrecipient_of_a_users_account": [
        lambda rows: AllowedRecipient.objects.create(account=rows.wallet.account, address=RECIPIENT),
        lambda rows: change(rows.allowed, account=rows.wallet.account),
    ],
    "transactions_allowedrecipient_once_for_each_account": [
        lambda rows: AllowedRecipient.objects.create(account=rows.account, address=RECIPIENT, note="again"),
    ],
    "transactions_allowedrecipient_address_well_formed": [
        lambda rows, address=address: change(rows.allowed, address=address)  # type: ignore[misc]
        for address in ("", "0x", RECIPIENT[:-1], RECIPIENT[2:], RECIPIENT[:-1] + "g")
    ],
    # Attempts
    "transactions_attempt_hash_saved_once": [lambda rows: rows.add_attempt(rows.signed)],
    "transactions_attempt_fees_within_reason": [
        lambda rows: rows.add_attempt(rows.broadcast, gas_limit=20_999),
        lambda rows: rows.add_attempt(rows.broadcast, max_priority_fee_per_gas_in_wei=-1),
        lambda rows: rows.add_attempt(rows.broadcast, max_priority_fee_per_gas_in_wei=6),
    ],
    "transactions_attempt_of_a_stranger_with_its_value": [
        lambda rows: rows.add_attempt(rows.broadcast, purpose="stranger", raw_transaction=b""),
        lambda rows: rows.add_attempt(rows.broadcast, purpose="stranger", value_in_wei=1),
        lambda rows: rows.add_attempt(rows.broadcast, purpose="stranger", value_in_wei=-1, raw_transaction=b""),
        lambda rows: rows.add_attempt(rows.broadcast, value_in_wei=1),
        lambda rows: rows.add_attempt(rows.broadcast, purpose="gift"),
    ],
    "transactions_attempt_purpose_never_changes": each_changed("attempt", {"purpose": "cancel"}),
    "transactions_attempt_sends_check": [lambda rows: change(rows.attempt, sends=-1)],
    "transactions_attempt_bytes_never_change": [
        *each_changed("attempt", {"raw_transaction": b"\x03"}, {"hash": tx_hash(99)}, {"nonce": 99}),
        lambda rows: change(rows.attempt, wallet=rows.other_wallet),
        lambda rows: change(rows.attempt, transaction=rows.broadcast),
    ],
    "transactions_attempt_never_deleted": [
        lambda rows: Attempt.objects.filter(pk=rows.attempt.pk).delete(),
        lambda rows: execute("TRUNCATE transactions_attempt CASCADE"),
    ],
    "transactions_attempt_nonce_of_its_transaction": [
        lambda rows: rows.add_attempt(rows.broadcast, nonce=99),
        lambda rows: rows.add_attempt(rows.broadcast, wallet=rows.other_wallet),
        lambda rows: rows.add_attempt(rows.accepted, wallet=rows.wallet, nonce=99, hash=tx_hash(99)),
    ],
    # Reports of reserves
    "transactions_reservesreport_compared_at_a_block_or_says_why": [
        lambda rows, one=one: rows.add_report(**one)  # type: ignore[misc]
        for one in (
            {"block_number": None},
            {"block_hash": ""},
            {"held_in_wei": None},
            {"in_flight_in_wei": None},
            {"not_compared": "x"},
            BOOKS_ONLY | {"not_compared": ""},
            BOOKS_ONLY | {"held_in_wei": 1},
            BOOKS_ONLY | {"in_flight_in_wei": 1},
            BOOKS_ONLY | {"block_number": 7},
            BOOKS_ONLY | {"block_hash": tx_hash(7)},
        )
    ],
    "transactions_reservesreport_differences_not_negative": [lambda rows: rows.add_report(differences_total=-1)],
    "transactions_reservesreport_signed_with_signatures": [
        lambda rows: rows.add_report(signed_at=NOW),
        lambda rows: rows.add_report(signatures=SIGNED["signatures"]),
    ],
    "transactions_reservesreport_only_signed_once": [
        *each_changed("signed_report", {"signed_at": LATER}, {"signatures": [{"address": "0x"}]}),
        *each_changed("signed_report", {"signed_at": None, "signatures": []}),
        *each_changed(
            "report",
            SIGNED | {"text": "{ }"},
            {"made_at": LATER},
            {"block_number": 8},
            {"block_hash": tx_hash(8)},
            {"owed_in_wei": 2},
            {"held_in_wei": 2},
            {"in_flight_in_wei": 2},
            {"differences_total": 1},
            BOOKS_ONLY,
        ),
    ],
    "transactions_reservesreport_never_deleted": [
        lambda rows: ReservesReport.objects.filter(pk=rows.report.pk).delete(),
        lambda rows: execute("TRUNCATE transactions_reservesreport"),
    ],
}


@pytest.mark.parametrize(
    ("name", "attempt"), [(name, attempt) for name, attempts in BREAKS.items() for attempt in range(len(attempts))]
)
def test_refused(rows: Rows, name: str, attempt: int) -> None:
    with refused_by(name):
        BREAKS[name][attempt](rows)


def test_every_rule_has_such_a_test() -> None:
    assert rules_of("transactions") == set(BREAKS)


def test_a_sweep_is_successful_only_by_an_attempt_that_moves(rows: Rows) -> None:
    row = rows.add(Stage.MINED, kind="sweep", to_public_address=rows.other_wallet.address)
    rows.add_attempt(row, purpose="cancel")
    with refused_by("transactions_transaction_successful_only_by_paying"):
        change(row, **PAID)


def test_what_the_rules_leave_free(rows: Rows) -> None:
    credit_by(rows, "deposit", tx_hash(1))
    post_journal("deposit_reversal", tx_hash(1))
    change(rows.deposit, **GONE)
    change(rows.deposit, status="waiting", block_number=8, block_hash=tx_hash(8))
    credit_by(rows, "deposit", f"{tx_hash(1)}.2", credits=2)
    rows.add_sweep()
    change(rows.report, **SIGNED)
    rows.add_report(**BOOKS_ONLY)
    rows.add_report(in_flight_in_wei=-1, differences_total=3, owed_in_wei=-1)
    change(rows.deposit_address, next_nonce=1, paused_at=NOW, paused_reason="x")
    rows.add(Stage.ACCEPTED, transaction_amount_in_wei=WEI_MAX, transaction_fee_total_in_wei=0)
    rows.add(Stage.ACCEPTED, idempotency_key="key", user_account=rows.other_account)
    rows.add(Stage.ACCEPTED, idempotency_key=None)
    rows.add(Stage.SIGNED, nonce=1, wallet=rows.other_wallet)
    rejected = {"status": Status.FAILED, "failure_reason": FailureReason.REJECTED, "settled_at": NOW}
    rows.add(Stage.ACCEPTED, stage=Stage.SETTLED, **rejected)
    rows.add_attempt(rows.signed, hash=tx_hash(99), max_fee_per_gas_in_wei=9)
    change(rows.attempt, sends=2, sent_at=NOW, last_error="refused")
    change(rows.accepted, wait_reason="node", checks_done=1, next_check_at=None, needs_attention=True)
    change(rows.mined, stage=Stage.BROADCAST, transaction_fee_blockchain_in_wei=None, mined_at=None, **NO_BLOCK)
    change(rows.successful, needs_attention=True)
    give_up(rows, rows.signed, failure_reason="displaced")
    change(rows.open_approval, decided_by=make_user(), **APPROVED)
    change(rows.review, stage=Stage.ACCEPTED, approved_at=NOW, next_check_at=NOW)
    change(rows.approved.transaction, stage=Stage.ACCEPTED, approved_at=NOW)
    for verdict, reason in (("refused", "refused"), ("withdrawn", "cancelled")):
        payment = rows.add(Stage.REVIEW)
        approval = rows.add_approval(payment)
        by = {"decided_by": make_user(), "reason": "x"} if verdict == "refused" else {}
        change(approval, verdict=verdict, decided_at=NOW, **by)
        end(rows, payment, failure_reason=reason)
    change(rows.wallet, draining_at=NOW, replaced_by=rows.other_wallet)
    change(rows.wallet, paused_at=NOW, paused_reason="x", retired_at=NOW)
    change(rows.policy, amount_max_in_wei=1, daily_amount_max_in_wei=WEI_MAX, approval_above_in_wei=0)
    AllowedRecipient.objects.create(account=rows.other_account, address=RECIPIENT)
    rows.allowed.delete()
    connection.check_constraints()
