"""The queue of payments that wait to be sent, and whether it is full."""

from django.db import models
from django.db.models import Q


class Queue(models.Model):
    """The one row that acceptance looks at; the follower keeps it true."""

    id = models.SmallIntegerField(primary_key=True, default=1, editable=False)
    full_since = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        constraints = [models.CheckConstraint(name="transactions_queue_one_row", condition=Q(id=1))]

    def __str__(self) -> str:
        return "Queue of payments"
