"""People and programs that sign in."""

from django.contrib.auth.models import AbstractUser


class User(AbstractUser):
    """A person who signs in, or the program behind an API token."""
