"""Reports of reserves: what was proved, when, at which block, and who put their name to it."""

import hashlib
import json
from typing import Any

from django.db import models
from django.db.models import Q

from accounts.money import WeiField

NOT_COMPARED_LENGTH_MAX = 500


class ReservesReport(models.Model):
    """One check of books and wallets: its text as it was signed, and what lists show of it.

    The text is JSON in the form of RFC 8785 (docs/reserves.md). It never changes; signatures are added once.
    """

    made_at = models.DateTimeField()
    block_number = models.BigIntegerField(null=True, blank=True)
    block_hash = models.CharField(max_length=66, blank=True)
    not_compared = models.CharField(
        max_length=NOT_COMPARED_LENGTH_MAX, blank=True, help_text="Why the chain was not compared; empty where it was."
    )
    owed_in_wei = WeiField(help_text="What the desk owes to all users' accounts together.")
    held_in_wei = WeiField(null=True, blank=True, help_text="What all wallets together have on the chain at the block.")
    in_flight_in_wei = WeiField(null=True, blank=True, help_text="What the chain has more than the ledger, rightly.")
    differences_total = models.BigIntegerField()
    text = models.TextField()
    signatures = models.JSONField(default=list, help_text="Of each: address and signature (EIP-191).")
    signed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(name="transactions_reserves_unsigned", fields=["id"], condition=Q(signed_at__isnull=True)),
            models.Index(name="transactions_reserves_compared", fields=["id"], condition=Q(block_number__isnull=False)),
        ]
        constraints = [
            models.CheckConstraint(
                name="transactions_reservesreport_compared_at_a_block_or_says_why",
                condition=Q(
                    block_number__isnull=False,
                    block_hash__startswith="0x",
                    held_in_wei__isnull=False,
                    in_flight_in_wei__isnull=False,
                    not_compared="",
                )
                | (
                    Q(block_number__isnull=True, block_hash="", held_in_wei__isnull=True, in_flight_in_wei__isnull=True)
                    & ~Q(not_compared="")
                ),
            ),
            models.CheckConstraint(
                name="transactions_reservesreport_differences_not_negative", condition=Q(differences_total__gte=0)
            ),
            models.CheckConstraint(
                name="transactions_reservesreport_signed_with_signatures",
                condition=Q(signed_at__isnull=True, signatures=[]) | (Q(signed_at__isnull=False) & ~Q(signatures=[])),
            ),
        ]

    def __str__(self) -> str:
        return f"Reserves report #{self.pk}"

    @property
    def is_clean(self) -> bool:
        """Say whether books and chain were compared and nothing differs."""
        return self.differences_total == 0 and self.is_compared

    @property
    def is_compared(self) -> bool:
        return self.block_number is not None

    @property
    def is_signed(self) -> bool:
        return self.signed_at is not None

    @property
    def differences_in_words(self) -> str:
        return "1 difference" if self.differences_total == 1 else f"{self.differences_total:,} differences"

    @property
    def surplus_in_wei(self) -> int | None:
        """Return what the wallets have more than the desk owes, below zero where it is less."""
        if self.held_in_wei is None or self.in_flight_in_wei is None:
            return None
        return self.held_in_wei - self.in_flight_in_wei - self.owed_in_wei

    @property
    def statement(self) -> str:
        """Return what is signed: a line that names the text by its SHA-256."""
        return self.statement_of(self.text)

    @staticmethod
    def statement_of(text: str) -> str:
        """Return what is signed of a report's text."""
        return f"Reserves report, sha256 {hashlib.sha256(text.encode()).hexdigest()}"

    @property
    def document(self) -> dict[str, Any]:
        """Return what the text says."""
        document: dict[str, Any] = json.loads(self.text)
        return document

    def is_about(self, address: str) -> bool:
        """Say whether something differs about the wallet of this address."""
        return self.mark_of(address) in self.text

    @staticmethod
    def mark_of(address: str) -> str:
        """Return what stands in a report's text if and only if something differs about the wallet of this address."""
        return f'"subject":"wallet {address}"'
