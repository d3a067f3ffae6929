"""`manage.py setup_desk`: groups, permissions, the desk's own accounts and default schedules, where absent."""

from typing import Any

from django.core.management.base import BaseCommand

from accounts.services.setup import create_system_accounts, set_up_groups
from tasks.schedules import create_default_schedules


class Command(BaseCommand):
    help = (
        "Create the groups viewers, operators, approvers and schedulers, the desk's own accounts and the default "
        "schedules, each only where absent. Run it after every migration; what operators changed stays as it is."
    )

    def handle(self, *_args: Any, **_options: Any) -> None:
        create_system_accounts()
        groups = set_up_groups()
        schedules = create_default_schedules()
        for granted in groups:
            self.stdout.write(f"Group {granted.group}: {len(granted.permissions)} permissions given.")
        for name in schedules:
            self.stdout.write(f"Schedule created: {name}.")
        if not groups and not schedules:
            self.stdout.write("Everything is there already.")
