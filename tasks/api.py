"""API: how far background work has come."""

import datetime as dt
import uuid
from typing import Annotated

from django.http import HttpResponse
from ninja import Router
from pydantic import BaseModel, Field

from accounts.queries import user_of
from tasks.exceptions import TaskRunNotFoundError
from tasks.models import TaskStatus
from tasks.queries import describe_run, task_run_for
from txnsite.callers import ApiRequest
from txnsite.openapi import tells
from txnsite.replies import reply

router = Router(tags=["tasks"])


class TaskRunOut(BaseModel):
    """One run of a background task."""

    id: uuid.UUID
    name: str
    status: TaskStatus
    processed: Annotated[int, Field(ge=0)]
    total: Annotated[int | None, Field(ge=0, description="Null while it isn't known.")]
    percent: Annotated[int | None, Field(ge=0, le=100)]
    message: str
    error: str
    created_at: dt.datetime
    started_at: dt.datetime | None
    updated_at: dt.datetime
    finished_at: dt.datetime | None


@router.get(
    "/tasks/{uuid:task_run_id}",
    operation_id="get_task",
    summary="The progress of a background task",
    description="For whoever started it, and for staff.",
    response=TaskRunOut,
    openapi_extra=tells(TaskRunNotFoundError),
)
def get_task(request: ApiRequest, task_run_id: uuid.UUID) -> HttpResponse:
    run = task_run_for(user_of(request.auth.user_id), task_run_id)
    return reply(describe_run(run))
