"""Transactions: what is to be paid, and how far it has come."""

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models import Account
from accounts.money import WEI_MAX, WeiField
from transactions.models.wallets import Wallet
from transactions.states import FailureReason, Kind, Stage, Status, WaitReason


class Transaction(models.Model):
    """One payment from a user's account to an address, from acceptance to the ledger.

    `nonce`, `transaction_hash` and `from_public_address` are those of the attempt that counts: the last one sent
    until a block holds one of them.

    What uses up a nonce of a wallet without being anybody's payment is a row as well, of another kind: it is followed
    and settled in the same way, and its account is one of the desk's own.
    """

    kind = models.CharField(max_length=10, choices=Kind.choices, default=Kind.PAYMENT, db_default=Kind.PAYMENT)
    user_account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="transactions", db_index=False)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.PENDING)
    stage = models.CharField(max_length=10, choices=Stage.choices, default=Stage.ACCEPTED)
    failure_reason = models.CharField(max_length=10, choices=FailureReason.choices, blank=True)
    failure_detail = models.CharField(max_length=500, blank=True)
    wait_reason = models.CharField(max_length=20, choices=WaitReason.choices, blank=True)

    to_public_address = models.CharField(max_length=42)
    from_public_address = models.CharField(max_length=42, blank=True)
    transaction_amount_in_wei = WeiField()
    transaction_fee_total_in_wei = WeiField()
    transaction_fee_blockchain_in_wei = WeiField(null=True, blank=True)
    transaction_hash = models.CharField(max_length=66, null=True, blank=True)

    idempotency_key = models.CharField(max_length=255, null=True, blank=True)
    payload_hash = models.CharField(max_length=64)

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, null=True, blank=True, db_index=False)
    nonce = models.BigIntegerField(null=True, blank=True)
    block_number = models.BigIntegerField(null=True, blank=True)
    block_hash = models.CharField(max_length=66, blank=True)
    succeeded_on_chain = models.BooleanField(null=True, blank=True)

    reversals = models.PositiveSmallIntegerField(
        default=0, db_default=0, help_text="How often a reorg has undone its settlement."
    )

    accepted_at = models.DateTimeField(default=timezone.now)
    approved_at = models.DateTimeField(
        null=True, blank=True, help_text="When staff approved it; empty where none was needed."
    )
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    signed_at = models.DateTimeField(null=True, blank=True)
    broadcast_at = models.DateTimeField(null=True, blank=True)
    mined_at = models.DateTimeField(null=True, blank=True)
    settled_at = models.DateTimeField(null=True, blank=True)

    next_check_at = models.DateTimeField(null=True, blank=True, help_text="When the watchdog looks next.")
    checks_done = models.PositiveSmallIntegerField(default=0)
    needs_attention = models.BooleanField(default=False)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(name="transactions_by_account", fields=["user_account", "id"]),
            models.Index(name="transactions_accepted", fields=["id"], condition=Q(stage="ACCEPTED")),
            models.Index(
                name="transactions_in_flight",
                fields=["wallet", "nonce"],
                condition=Q(stage__in=["SIGNED", "BROADCAST"]),
            ),
            BrinIndex(name="transactions_by_block", fields=["block_number"]),
            models.Index(name="transactions_mined", fields=["block_number"], condition=Q(stage="MINED")),
            models.Index(name="transactions_next_check", fields=["next_check_at"], condition=Q(status="PENDING")),
            models.Index(name="transactions_to_address", fields=["to_public_address"]),
            BrinIndex(name="transactions_by_time", fields=["accepted_at"]),
            # Of payments alone, which no list asks for: else the planner might list payments by it and sort them.
            models.Index(
                name="transactions_by_account_time",
                fields=["user_account", "accepted_at"],
                condition=Q(kind="payment") & ~Q(status="FAILED"),
            ),
            models.Index(
                name="transactions_own_pending", fields=["wallet"], condition=~Q(kind="payment") & Q(status="PENDING")
            ),
            models.Index(
                name="transactions_cancel_wished",
                fields=["id"],
                condition=Q(stage__in=["REVIEW", "ACCEPTED"], cancel_requested_at__isnull=False),
            ),
            models.Index(name="transactions_flagged", fields=["id"], condition=Q(needs_attention=True)),
        ]
        constraints = [
            models.CheckConstraint(name="transactions_transaction_kind_known", condition=Q(kind__in=list(Kind.values))),
            # The key first: led by the account, its index would tempt the planner to list payments by it and sort them.
            models.UniqueConstraint(
                name="transactions_transaction_idempotency_key_used_once", fields=["idempotency_key", "user_account"]
            ),
            models.UniqueConstraint(name="transactions_transaction_hash_used_once", fields=["transaction_hash"]),
            models.UniqueConstraint(
                name="transactions_transaction_nonce_used_once",
                fields=["wallet", "nonce"],
                condition=Q(nonce__isnull=False),
            ),
            models.CheckConstraint(
                name="transactions_transaction_amount_within_uint256",
                condition=Q(transaction_amount_in_wei__gte=0, transaction_amount_in_wei__lte=WEI_MAX)
                & (~Q(kind__in=["payment", "sweep"]) | Q(transaction_amount_in_wei__gt=0)),
            ),
            models.CheckConstraint(
                name="transactions_transaction_fee_within_uint256",
                condition=Q(transaction_fee_total_in_wei__gte=0, transaction_fee_total_in_wei__lte=WEI_MAX),
            ),
            models.CheckConstraint(
                name="transactions_transaction_final_only_when_settled",
                condition=Q(status="PENDING", stage__in=["REVIEW", "ACCEPTED", "SIGNED", "BROADCAST", "MINED"])
                | Q(status__in=["SUCCESSFUL", "FAILED"], stage="SETTLED"),
            ),
            models.CheckConstraint(
                name="transactions_transaction_failed_with_a_reason",
                condition=Q(status="FAILED", failure_reason__in=list(FailureReason.values))
                | (~Q(status="FAILED") & Q(failure_reason="")),
            ),
            models.CheckConstraint(
                name="transactions_transaction_signed_with_nonce_and_hash",
                condition=Q(stage__in=["REVIEW", "ACCEPTED"], nonce__isnull=True, transaction_hash__isnull=True)
                | Q(
                    stage__in=["SIGNED", "BROADCAST", "MINED"],
                    wallet__isnull=False,
                    nonce__isnull=False,
                    transaction_hash__isnull=False,
                    signed_at__isnull=False,
                )
                | Q(stage="SETTLED"),
            ),
            models.CheckConstraint(
                name="transactions_transaction_mined_with_its_block",
                condition=Q(
                    stage="MINED",
                    block_number__isnull=False,
                    block_hash__startswith="0x",
                    succeeded_on_chain__isnull=False,
                    transaction_fee_blockchain_in_wei__isnull=False,
                )
                | (
                    Q(stage__in=["REVIEW", "ACCEPTED", "SIGNED", "BROADCAST"], block_number__isnull=True, block_hash="")
                    & Q(succeeded_on_chain__isnull=True, transaction_fee_blockchain_in_wei__isnull=True)
                )
                | Q(stage="SETTLED"),
            ),
            models.CheckConstraint(
                name="transactions_transaction_successful_only_by_its_block",
                condition=~Q(status="SUCCESSFUL")
                | Q(
                    # NULL must be named: a CHECK that comes to NULL passes.
                    succeeded_on_chain=True,
                    succeeded_on_chain__isnull=False,
                    block_number__isnull=False,
                    block_hash__startswith="0x",
                    transaction_hash__isnull=False,
                    transaction_fee_blockchain_in_wei__isnull=False,
                ),
            ),
            models.CheckConstraint(
                name="transactions_transaction_reverted_only_by_its_block",
                condition=~Q(failure_reason="reverted")
                | Q(succeeded_on_chain=False, succeeded_on_chain__isnull=False, block_number__isnull=False),
            ),
            models.CheckConstraint(
                name="transactions_transaction_settled_at_when_settled",
                condition=Q(stage="SETTLED", settled_at__isnull=False)
                | (~Q(stage="SETTLED") & Q(settled_at__isnull=True)),
            ),
            models.CheckConstraint(
                name="transactions_transaction_sweep_bound_to_its_wallet",
                condition=~Q(kind="sweep") | Q(wallet__isnull=False),
            ),
            models.CheckConstraint(
                name="transactions_transaction_in_review_waits_for_people_only",
                condition=~Q(stage="REVIEW")
                | Q(kind="payment", approved_at__isnull=True, next_check_at__isnull=True, wait_reason=""),
            ),
        ]

    def __str__(self) -> str:
        return f"Payment #{self.pk}"

    @property
    def is_final(self) -> bool:
        return self.stage == Stage.SETTLED

    @property
    def is_in_review(self) -> bool:
        return self.stage == Stage.REVIEW

    @property
    def may_be_displaced(self) -> bool:
        """Say whether staff may have to give it up: its nonce was used, and by nothing that the desk knows."""
        return self.stage in (Stage.SIGNED, Stage.BROADCAST) and self.wait_reason == WaitReason.NONCE

    @property
    def ledger_source(self) -> str:
        """Return what its hold and its settlement are known by in the ledger; a reversal starts another round."""
        return f"{self.pk}.{self.reversals}" if self.reversals else str(self.pk)

    @property
    def total_in_wei(self) -> int:
        """Return what leaves the account on success: amount and total fee, in wei."""
        return self.transaction_amount_in_wei + self.transaction_fee_total_in_wei
