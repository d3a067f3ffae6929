"""What can go wrong while servers and processes are started and stopped."""


class StackError(Exception):
    """The development stack can't do what was asked; the message is for the person at the terminal."""


class StartError(StackError):
    """A process didn't become ready."""


class InUseError(StackError):
    """Another stack runs in the same state folder, or a port is taken."""


class ForeignStateError(StackError):
    """The state folder's database and chain don't belong together."""
