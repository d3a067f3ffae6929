"""Alerts: what an operator has to know about."""

from django.conf import settings
from django.db import models
from django.db.models import Q

SUBJECT_LENGTH_MAX = 200
MESSAGE_LENGTH_MAX = 1_000


class AlertKind(models.TextChoices):
    """What is wrong; with its subject it is open once at most."""

    WALLET_BALANCE_LOW = "wallet_balance_low", "wallet balance low"
    WALLET_PAUSED = "wallet_paused", "wallet paused"
    DEEP_REORG = "deep_reorg", "reorg deeper than finality"
    NONCE_DRIFT = "nonce_drift", "nonce drift"
    BOOKS_DIFFER = "books_differ", "books differ"
    NODE = "node", "node unhealthy"
    PAYMENT_STUCK = "payment_stuck", "payment stuck"
    QUEUE_FULL = "queue_full", "queue full"
    INTAKE_LATE = "intake_late", "deposits late"
    LOSS = "loss", "money lost"


HAPPENED_ONCE = (AlertKind.DEEP_REORG, AlertKind.NONCE_DRIFT, AlertKind.LOSS)
"""Kinds that tell of something that is over: when somebody has seen to it, nothing is left to wait for."""


class Alert(models.Model):
    """Something that is wrong with one subject, from when it was first seen until it is resolved.

    Acknowledged means that somebody of the staff knows; it stays open until its cause is gone. With that, what happened
    once and is over is resolved too.
    """

    kind = models.CharField(max_length=20, choices=AlertKind.choices)
    subject = models.CharField(max_length=SUBJECT_LENGTH_MAX, help_text="What it is about: an address, a payment.")
    message = models.CharField(max_length=MESSAGE_LENGTH_MAX)
    opened_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    times_seen = models.IntegerField(default=1)
    resolved_at = models.DateTimeField(null=True, blank=True)
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+", db_index=False
    )
    mailed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        # Open ones first: PostgreSQL takes NULL for the largest value.
        ordering = ["-resolved_at", "-id"]
        indexes = [
            models.Index(name="accounts_alert_open_first", fields=["-resolved_at", "-id"]),
            models.Index(name="accounts_alert_to_be_mailed", fields=["id"], condition=Q(mailed_at__isnull=True)),
        ]
        constraints = [
            models.UniqueConstraint(
                name="accounts_alert_open_once_for_each_subject",
                fields=["kind", "subject"],
                condition=Q(resolved_at__isnull=True),
            ),
            models.CheckConstraint(name="accounts_alert_kind_known", condition=Q(kind__in=list(AlertKind.values))),
            models.CheckConstraint(
                name="accounts_alert_acknowledged_by_somebody",
                condition=Q(acknowledged_at__isnull=True, acknowledged_by__isnull=True)
                | Q(acknowledged_at__isnull=False, acknowledged_by__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.subject}"

    @property
    def is_open(self) -> bool:
        return self.resolved_at is None

    @property
    def is_acknowledged(self) -> bool:
        return self.acknowledged_at is not None
