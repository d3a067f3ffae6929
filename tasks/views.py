"""Pages: one background task with its live progress, for people and for programs."""

import uuid
from typing import cast

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from django.views.decorators.vary import vary_on_headers

from accounts.models import User
from accounts.services.tokens import authenticate
from accounts.signed_in import PageRequest, signed_in
from tasks.exceptions import TaskRunNotFoundError
from tasks.models import TaskRun, TaskStatus
from tasks.queries import describe_run, task_run_for
from tasks.results import link_to_results
from txnsite.exceptions import BadTokenError, UnauthorizedError
from txnsite.problems import problem

POLL_SECONDS = 1


@require_safe
@never_cache
@vary_on_headers("Accept", "Authorization", "HX-Request")
def task_detail(request: HttpRequest, task_run_id: uuid.UUID) -> HttpResponse:
    """Show how far a task is: a page with a progress bar for people, JSON for programs."""
    wants_page = request.get_preferred_type(["application/json", "text/html"]) == "text/html"
    if wants_page or cast(PageRequest, request).htmx:
        return _task_page(request, task_run_id)
    try:
        return JsonResponse(describe_run(task_run_for(_program_user(request), task_run_id)))
    except (TaskRunNotFoundError, UnauthorizedError, BadTokenError) as error:
        return problem(error)


@signed_in
def _task_page(request: PageRequest, task_run_id: uuid.UUID) -> HttpResponse:
    """Answer people, or a page that watches: nothing (204) as long as what it shows is still true."""
    try:
        run = task_run_for(request.user, task_run_id)
    except TaskRunNotFoundError:
        raise Http404 from None
    seen = str(run.updated_at.timestamp())
    context = {
        "run": run,
        "counted": _counted(run),
        "succeeded": run.status == TaskStatus.SUCCESSFUL,
        "seen": seen,
        "poll_seconds": POLL_SECONDS,
        "results": link_to_results(run, request.user),
    }
    if not request.htmx:
        return render(request, "tasks/taskrun_detail.html", context)
    if request.GET.get("seen") == seen:
        return HttpResponse(status=204)
    return render(request, "tasks/_partials/task_update.html", context)


def _counted(run: TaskRun) -> str:
    """Return how far the run is, in words."""
    if run.total is not None:
        return f"{run.processed:,} of {run.total:,} processed"
    if run.processed:
        return f"{run.processed:,} processed"
    return "Nothing to count" if run.is_finished else "Not counted yet"


def _program_user(request: HttpRequest) -> User:
    """Return whom a program speaks for: by its token, or by the session it runs in.

    :raises BadTokenError: when it sends a token that isn't valid.
    :raises UnauthorizedError: when it says nothing of who it is.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        owner = authenticate(token.strip())
        user = None if owner is None else User.objects.filter(pk=owner.user_id, is_active=True).first()
        if user is None:
            raise BadTokenError
        return user
    if not request.user.is_authenticated:
        raise UnauthorizedError
    return request.user
