"""The Celery application: settings from Django, task modules listed by name."""

import os

from celery import Celery
from celery.signals import task_prerun
from django.db import close_old_connections

from txnsite.broker import use_for_redis_urls

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "txnsite.settings")

use_for_redis_urls()
app = Celery("txnsite")
app.config_from_object("django.conf:settings", namespace="CELERY")
# `tasks/` is a package of ours, so autodiscovery (which looks for `<app>.tasks`) would find nothing.
app.conf.imports = ("tasks.money", "tasks.deposits", "tasks.housekeeping", "tasks.starting")


@task_prerun.connect
def _drop_dead_connections(**_kwargs: object) -> None:
    """Let a task begin on a live database connection even when PostgreSQL was restarted since the last one."""
    close_old_connections()
