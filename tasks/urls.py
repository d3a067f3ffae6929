"""Pages of background tasks."""

from django.urls import path

from tasks import views

urlpatterns = [
    path("tasks/<uuid:task_run_id>/", views.task_detail, name="task-detail"),
]
