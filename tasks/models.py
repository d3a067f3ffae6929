"""What runs in the background, for people to watch: one row a run."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone


class TaskStatus(models.TextChoices):
    """The words of the progress contract: `{"status": "In Progress", "processed": 17, "total": 80}`."""

    QUEUED = "Queued", "queued"
    IN_PROGRESS = "In Progress", "in progress"
    SUCCESSFUL = "Successful", "successful"
    FAILED = "Failed", "failed"


class TaskRun(models.Model):
    """The progress of one background task."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="task_runs"
    )
    status = models.CharField(max_length=15, choices=TaskStatus.choices, default=TaskStatus.QUEUED)
    processed = models.PositiveBigIntegerField(default=0)
    total = models.PositiveBigIntegerField(null=True, blank=True)
    message = models.CharField(max_length=500, blank=True)
    error = models.CharField(max_length=1000, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    updated_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [models.Index(name="tasks_taskrun_by_age", fields=["created_at"])]
        constraints = [
            models.CheckConstraint(
                name="tasks_taskrun_processed_within_total",
                condition=Q(total__isnull=True) | Q(processed__lte=F("total")),
            ),
            models.CheckConstraint(
                name="tasks_taskrun_finished_at_when_finished",
                condition=Q(status__in=["Queued", "In Progress"], finished_at__isnull=True)
                | Q(status__in=["Successful", "Failed"], finished_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.status})"

    @property
    def is_finished(self) -> bool:
        return self.finished_at is not None

    @property
    def percent(self) -> int | None:
        """Return how much is done, 0 to 100, or nothing while the total isn't known."""
        if self.status == TaskStatus.SUCCESSFUL:
            return 100
        return None if not self.total else 100 * self.processed // self.total
