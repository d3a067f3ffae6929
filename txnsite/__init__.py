"""The frame around the house: settings, environment, Celery application, URLs, errors to HTTP."""

from txnsite.celery import app as celery_app

__all__ = ["celery_app"]
