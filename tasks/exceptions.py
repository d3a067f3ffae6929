"""What can go wrong with background work. `code` is stable and goes out to API clients."""


class TasksError(Exception):
    """Something is wrong with a background task."""

    code = "task_error"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip().splitlines()[0])


class TaskRunNotFoundError(TasksError):
    """There is no such task run."""

    code = "task_run_not_found"


class BrokerUnavailableError(TasksError):
    """The broker does not answer, so nothing was started. Try again in a moment."""

    code = "broker_unavailable"


class NothingChosenError(TasksError):
    """Nothing was chosen, or more than can be done at once."""

    code = "nothing_chosen"


class NotPermittedAnyMoreError(TasksError):
    """Who asked for this may not do so any more, so nothing was done. Somebody who may has to ask again."""

    code = "not_permitted_any_more"
