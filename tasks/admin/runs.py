"""Task runs: what went on in the background and how it ended."""

from typing import Any

from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html

from accounts.admin import cells
from accounts.admin.base import ReadOnlyAdmin, staff_user
from accounts.models import User
from tasks.models import TaskRun, TaskStatus
from tasks.results import link_to_results


@admin.register(TaskRun)
class TaskRunAdmin(ReadOnlyAdmin):
    list_display = ("name", "owner", "status_pill", "bar", "message", "created_at", "finished_at")
    list_filter = ("status", "created_at")
    list_select_related = ("owner",)
    search_fields = ("name",)
    search_help_text = "A run's name, or its owner's user name."
    ordering = ("-created_at", "-id")
    change_form_template = "admin/tasks/taskrun/change_form.html"
    fields = (
        "name", "owner", "status_pill", "bar", "message", "all_errors", "created_at", "started_at", "updated_at",
        "finished_at", "page",
    )  # fmt: skip
    readonly_fields = fields

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: TaskRun | None = None,
    ) -> HttpResponse:
        if obj is not None:
            context["results"] = link_to_results(obj, staff_user(request))
        return super().render_change_form(request, context, add, change, form_url, obj)

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
