"""The admin of background work: task runs, and the schedules of django-celery-beat."""

from tasks.admin import runs, schedules

__all__ = ["runs", "schedules"]
