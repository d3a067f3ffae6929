"""The schedules of django-celery-beat, in its own forms, with our rules: permissions, an audit trail, known tasks.

Its own actions ask for no permission but to look; ours ask for the one to change.
"""

from typing import Any

import django_celery_beat.admin as beat
from celery import current_app
from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.db import transaction as db_transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)
from kombu.exceptions import OperationalError

from accounts.admin import cells
from accounts.admin.base import AuditedAdmin
from tasks.exceptions import BrokerUnavailableError
from tasks.schedules import is_default, stopped

# django-celery-beat registers its own classes when its module is imported, above.
for model in (ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule):
    admin.site.unregister(model)

PERIODS = [(value, label) for value, label in IntervalSchedule.PERIOD_CHOICES if value != IntervalSchedule.MICROSECONDS]


def known_tasks() -> set[str]:
    """Return the names of the tasks that a schedule may start: the desk's own."""
    current_app.loader.import_default_modules()
    return {name for name in current_app.tasks if name.startswith("tasks.")}


class ScheduleForm(beat.PeriodicTaskForm):
    """A schedule that starts a task which exists, on a queue that somebody reads."""

    queue = forms.ChoiceField(
        required=False,
        choices=[("", "the task's own"), *((queue.name, queue.name) for queue in settings.CELERY_TASK_QUEUES)],
        help_text="Leave it to the task: each queue has workers of its own.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "name" not in self.fields:  # for whoever only looks
            return
        # The select fills `task`; what could be typed there beside it could only be wrong.
        self.fields["task"].widget = forms.HiddenInput()
        self.fields["regtask"].label = "Task"
        self.initial["regtask"] = self.instance.task
        for name in ("name", "regtask"):
            self.fields[name].disabled = bool(self.instance.pk) and is_default(self.instance.name)

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean()
        if data.get("regtask") not in known_tasks():
            self.add_error("regtask", "Choose one of the tasks in the list.")
        for name, kind, words in (("args", list, "a list, like [1]"), ("kwargs", dict, 'an object, like {"a": 1}')):
            if name in data and not isinstance(beat.loads(data[name]), kind):
                self.add_error(name, f"This must be {words}.")
        return data

    def clean_queue(self) -> str | None:
        return self.cleaned_data["queue"] or None


@admin.register(PeriodicTask)
class ScheduleAdmin(AuditedAdmin, beat.PeriodicTaskAdmin):
    """What runs when. The desk's own schedules keep name and task, and are switched off, not deleted."""

    form = ScheduleForm
    list_display = ("name", "enabled", "scheduler", "task", "last_run_at", "one_off")
    list_filter = ("enabled", "one_off")
    search_fields = ("name", "task")
    ordering = ("name",)
    date_hierarchy = None
    # The original's has a script in the page, which our Content-Security-Policy keeps from running.
    change_form_template = None
    actions = ("enable_tasks", "disable_tasks", "run_tasks")
    fieldsets = (
        (None, {"fields": ("name", "regtask", "task", "enabled", "description")}),
        (
            "Schedule",
            {
                "description": "Choose one of interval, crontab and clocked. A change counts within seconds.",
                "fields": (
                    "interval", "crontab", "crontab_translation", "clocked", "start_time", "one_off", "last_run_at",
                ),
            },
        ),
        ("Arguments", {"fields": ("args", "kwargs"), "classes": ("collapse",)}),
        ("Execution", {"fields": ("expires", "expire_seconds", "queue"), "classes": ("collapse",)}),
    )  # fmt: skip

    def get_fieldsets(self, request: HttpRequest, obj: PeriodicTask | None = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        if self.has_change_permission(request, obj) or obj is None:
            return fieldsets
        # Whoever only looks is shown the task itself, not the select that sets it.
        return [
            (heading, {**options, "fields": tuple(name for name in options["fields"] if name != "regtask")})
            for heading, options in fieldsets
        ]

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Leave out the one that deletes: it would refuse whenever one of the desk's own is among those chosen."""
        actions = super().get_actions(request)
        actions.pop("delete_selected", None)
        return actions

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        _warn_of_stopped(request)
        return super().changelist_view(request, extra_context)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        _warn_of_stopped(request)
        return super().changeform_view(request, object_id, form_url, extra_context)

    def has_delete_permission(self, request: HttpRequest, obj: PeriodicTask | None = None) -> bool:
        if obj is not None and is_default(obj.name):
            return False
        return super().has_delete_permission(request, obj)

    @admin.display(description="in words")
    def crontab_translation(self, obj: PeriodicTask) -> str:
        return cells.EMPTY if obj.crontab is None else str(obj.crontab.human_readable)

    @admin.action(description="Switch on", permissions=["change"])
    @db_transaction.atomic
    def enable_tasks(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        self.record_each(request, queryset, "enabled")
        super().enable_tasks(request, queryset)

    @admin.action(description="Switch off", permissions=["change"])
    @db_transaction.atomic
    def disable_tasks(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        self.record_each(request, queryset, "disabled")
        super().disable_tasks(request, queryset)

    @admin.action(description="Run now", permissions=["change"])
    def run_tasks(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        self.record_each(request, queryset, "run")
        try:
            super().run_tasks(request, queryset)
        except OperationalError:
            self.message_user(request, str(BrokerUnavailableError()), messages.ERROR)


def _warn_of_stopped(request: HttpRequest) -> None:
    """Say on a page that is looked at what does not happen now."""
    if request.method == "GET":
        for words in stopped():
            messages.warning(request, words)


class UsersInline(beat.PeriodicTaskInline):
    """The schedules that a crontab or an interval serves: they all change with it."""

    fields = ("name", "task", "enabled")
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[PeriodicTask]:
        rows: QuerySet[PeriodicTask] = super().get_queryset(request)
        return rows.select_related("interval", "crontab", "solar", "clocked")


class TimingAdmin(AuditedAdmin):
    """A crontab, an interval or a point in time. One in use can't be deleted: its schedules would go with it."""

    inlines = (UsersInline,)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if obj is not None and obj.periodictask_set.exists():
            return False
        return super().has_delete_permission(request, obj)


@admin.register(CrontabSchedule)
class CrontabAdmin(TimingAdmin):
    list_display = ("__str__", "human_readable")
    fields = ("human_readable", "minute", "hour", "day_of_month", "month_of_year", "day_of_week", "timezone")
    readonly_fields = ("human_readable",)
    ordering = ("pk",)


class IntervalForm(forms.ModelForm[IntervalSchedule]):
    period = forms.ChoiceField(choices=PERIODS)

    class Meta:
        model = IntervalSchedule
        fields = ("every", "period")


@admin.register(IntervalSchedule)
class IntervalAdmin(TimingAdmin):
    """An interval of a second at least: beat would do nothing else."""

    form = IntervalForm
    list_display = ("__str__",)
    ordering = ("pk",)


@admin.register(ClockedSchedule)
class ClockedAdmin(TimingAdmin):
    list_display = ("clocked_time",)
    ordering = ("-clocked_time",)
