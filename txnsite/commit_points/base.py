"""The backend, in the file where Django looks for it."""

from django.conf import settings

from txnsite.database import base
from txnsite.faults import fault_point


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection at whose commits a drill can kill the process: before, and after but before anybody is told.

    FAULT_ROLE is the first part of the points' names, so that a drill can choose which kind of process dies:
    `web.before_commit`, `web.after_commit`.
    """

    def _commit(self) -> None:
        fault_point(f"{settings.FAULT_ROLE}.before_commit")
        super()._commit()  # type: ignore[misc]  # the stubs leave it out
        fault_point(f"{settings.FAULT_ROLE}.after_commit")
