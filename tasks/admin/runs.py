"""Task runs: what went on in the background and how it ended."""

from typing import Any

from django.contrib import admin
from django.db.models import Q
from django.urls import reverse
from django.utils.html import format_html

from accounts.admin import cells
from accounts.admin.base import ReadOnlyAdmin
from accounts.models import User
from tasks.models import TaskRun, TaskStatus


@admin.register(TaskRun)
class TaskRunAdmin(ReadOnlyAdmin):
    list_display = ("name", "owner", "status_pill", "bar", "message", "created_at", "finished_at")
    list_filter = ("status", "created_at")
    list_select_related = ("owner",)
    search_fields = ("name",)
    search_help_text = "A run's name, or its owner's user name."
    ordering = ("-created_at", "-id")
    fields = (
        "name", "owner", "status_pill", "bar", "message", "all_errors", "created_at", "started_at", "updated_at",
        "finished_at", "page",
    )  # fmt: skip
    readonly_fields = fields

    def find(self, term: str) -> Q:
        return Q(name__icontains=term) | Q(owner__in=User.objects.filter(username__icontains=term))

    @admin.display(description="status", ordering="status")
    def status_pill(self, run: TaskRun) -> Any:
        tone = {TaskStatus.SUCCESSFUL: "good", TaskStatus.FAILED: "bad"}.get(TaskStatus(run.status), "plain")
        return cells.pill(run.get_status_display(), tone)

    @admin.display(description="progress")
    def bar(self, run: TaskRun) -> Any:
        return cells.bar(run.percent, run.processed, run.total, is_finished=run.is_finished)

    @admin.display(description="error")
    def all_errors(self, run: TaskRun) -> Any:
        return format_html('<pre class="desk-json">{}</pre>', run.error) if run.error else cells.EMPTY

    @admin.display(description="see also")
    def page(self, run: TaskRun) -> Any:
        return cells.links(("Live page", reverse("task-detail", args=[run.pk])))
