"""How Celery works here, the same in every installation (docs/adr/0001-celery-5.6.md), and what runs when."""

from typing import Any

from celery.schedules import crontab
from kombu import Queue

CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_TIME_LIMIT = 300
CELERY_TASK_SOFT_TIME_LIMIT = 240
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_DEFAULT_QUEUE = "housekeeping"
CELERY_TASK_CREATE_MISSING_QUEUES = False
CELERY_TASK_QUEUES = [Queue("money"), Queue("deposits"), Queue("files"), Queue("housekeeping")]
CELERY_TASK_ROUTES = {
    "tasks.money.*": {"queue": "money"},
    "tasks.deposits.*": {"queue": "deposits"},
    "tasks.housekeeping.*": {"queue": "housekeeping"},
}
CELERY_TASK_PUBLISH_RETRY = False
CELERY_BROKER_CONNECTION_TIMEOUT = 2
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_POOL_LIMIT = 20
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 900,
    "socket_timeout": 15,
    "socket_connect_timeout": 2,
    "socket_keepalive": True,
    "health_check_interval": 10,
    "global_keyprefix": "txnsite:",
    # A publisher that finds no broker gives up after 0.3 s and not after two: a payer may be waiting.
    "max_retries": 2,
    "interval_start": 0.1,
    "interval_step": 0.1,
    "interval_max": 0.2,
}
CELERY_VISIBILITY_TIMEOUT = 900
CELERY_RESULT_EXPIRES = 3600
CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS = {
    "retry_policy": {"max_retries": 3, "interval_start": 0, "interval_step": 0.2, "interval_max": 1},
    "global_keyprefix": "txnsite:",
    "visibility_timeout": 900,
}
CELERY_REDIS_SOCKET_TIMEOUT = 5
CELERY_REDIS_SOCKET_CONNECT_TIMEOUT = 2
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_ETA_TASK_LIMIT = 1000
CELERY_WORKER_MAX_TASKS_PER_CHILD = 10_000
CELERY_WORKER_MAX_MEMORY_PER_CHILD = 400_000
# So long a task may go on when its worker is told to stop; putting it back for others takes some seconds more. Both are
# over before supervisors (ours, Docker) kill, after ten.
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 5
# To cancel a task, Celery writes to the result backend, and where that is gone with the broker the worker ends of it.
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
# Celery closes the database connection around each task unless told to keep it.
CELERY_DB_REUSE_MAX = 10_000
CELERY_BEAT_SCHEDULER = "tasks.beat:DeskScheduler"
CELERY_BEAT_MAX_LOOP_INTERVAL = 5
CELERY_BEAT_SYNC_EVERY = 1
# Created by `setup_desk` where absent and never touched again: afterwards the admin owns them.
DEFAULT_SCHEDULES: dict[str, dict[str, Any]] = {
    "Follow the chain": {"task": "tasks.money.follow", "every_seconds": 1},
    "Call off expired payments": {"task": "tasks.money.expire_payments", "every_seconds": 60},
    "Watch overdue payments": {"task": "tasks.money.sweep_overdue", "every_seconds": 10},
    "Mail alerts": {"task": "tasks.housekeeping.mail_alerts", "every_seconds": 30},
    "Take in blocks": {"task": "tasks.deposits.take_in_blocks", "every_seconds": 2},
    "Watch the desk": {"task": "tasks.money.watch_desk", "every_seconds": 60},
    "Sweep deposits": {"task": "tasks.money.sweep_deposits", "every_seconds": 3600},
    "Sign reserves reports": {"task": "tasks.money.sign_reserves_reports", "every_seconds": 60},
    "Watch wallets": {"task": "tasks.money.watch_wallets", "every_seconds": 60},
    "Close dead task runs": {"task": "tasks.housekeeping.close_dead_runs", "every_seconds": 60},
    "Check the ledger": {"task": "tasks.housekeeping.check_ledger", "crontab": crontab(minute="30", hour="2")},
    "Clean up old task runs": {"task": "tasks.housekeeping.clean_up", "crontab": crontab(minute="15", hour="3")},
}
