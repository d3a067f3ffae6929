"""Beat, with the schedules of django-celery-beat, made fit for a desk.

- Several beats are one: the others stand by and take over when the first is gone (two would send everything twice).
- It writes only what is its own, when and how often a schedule ran: the original writes whole rows back, each second,
  and with them the values from before an operator's edit that was saved in between.
- It adds no schedule of its own: the original adds Celery's clean-up of results, which expire by themselves in Redis,
  and puts it back to its default at each start.
- A database that is away for a while ends nothing.
"""

import datetime as dt
import logging
from typing import Any

from django.db import DatabaseError, InterfaceError, close_old_connections
from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler, ModelEntry

from accounts.locks import Leadership

logger = logging.getLogger(__name__)

STAND_BY_SECONDS = 1.0
LONG_AGO = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class DeskEntry(ModelEntry):  # type: ignore[misc]
    """A schedule as beat holds it."""

    def save(self) -> None:
        """Write when and how often it ran, and nothing else; not for one that was switched off meanwhile."""
        PeriodicTask.objects.filter(pk=self.model.pk, enabled=True).update(
            last_run_at=self.model.last_run_at, total_run_count=self.model.total_run_count
        )

    def _disable(self, model: PeriodicTask) -> None:
        """Switch off what can't run; called by the original."""
        model.enabled = False
        PeriodicTask.objects.filter(pk=model.pk).update(enabled=False, last_run_at=None)


class DeskScheduler(DatabaseScheduler):  # type: ignore[misc]
    """The one beat that leads, or one that stands by."""

    Entry = DeskEntry

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._leadership = Leadership("beat")
        self._leads: bool | None = None
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        """Read nothing yet: whoever stands by would hold what is old by the time it leads."""

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Send what is due, if this beat leads; return how many seconds to sleep."""
        if not self._leadership.is_ours():
            if self._leads is not False:
                logger.info("Another beat leads: this one stands by.")
            self._leads = False
            return STAND_BY_SECONDS
        try:
            if not self._leads:
                self._begin()
            seconds: float = super().tick(*args, **kwargs)
        except (DatabaseError, InterfaceError) as error:
            logger.warning("The database does not answer (%s): schedules wait.", type(error).__name__)
            # The original takes schedules for read as soon as it has begun to: all are read anew.
            self._leads = None
            return STAND_BY_SECONDS
        return seconds

    def sync(self) -> None:
        """Write what ran, if this beat leads: another's times are newer."""
        if self._leads:
            super().sync()

    def close(self) -> None:
        super().close()
        self._leadership.give_up()

    def _begin(self) -> None:
        """Read all schedules anew, as whoever led before has left them."""
        self._dirty.clear()
        self._initial_read = True
        self._heap = None
        # Noted before the reading: the original does it with its first look afterwards, and misses what changes in
        # between. Like it, over a connection that is alive.
        close_old_connections()
        self._last_timestamp = self.Changes.last_change() or LONG_AGO
        self._leads = True
        logger.info("This beat leads.")
