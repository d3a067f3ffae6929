"""The blocks that transactions are judged by."""

from django.db import models
from django.db.models import Q
from django.utils import timezone


class Block(models.Model):
    """A block of the canonical chain as last seen: what confirmations are counted by and reorgs are found with."""

    number = models.BigIntegerField(primary_key=True)
    hash = models.CharField(max_length=66)
    parent_hash = models.CharField(max_length=66)
    timestamp = models.BigIntegerField()
    recorded_at = models.DateTimeField(default=timezone.now)

    intake_from = models.DateTimeField(
        null=True, blank=True, help_text="Since when its deposits are being taken in; long ago: it is tried again."
    )
    taken_in_at = models.DateTimeField(null=True, blank=True, help_text="When all its deposits were recorded.")

    class Meta:
        ordering = ["-number"]
        indexes = [
            models.Index(
                name="transactions_block_to_take_in", fields=["number"], condition=Q(taken_in_at__isnull=True)
            ),
        ]

    def __str__(self) -> str:
        return f"Block {self.number}"

    @classmethod
    def newest_number(cls) -> int | None:
        """Return how far the chain was walked: the number of the newest recorded block."""
        return cls.objects.order_by("-number").values_list("number", flat=True).first()

    @staticmethod
    def count_confirmations(number: int | None, newest_number: int | None) -> int:
        """Return how many confirmations what is in block `number` has: that block is the first."""
        return 0 if number is None or newest_number is None else max(0, newest_number - number + 1)
