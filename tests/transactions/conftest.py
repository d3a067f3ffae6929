"""What the tests of payments share."""

import pytest

from tests.desk import Desk


@pytest.fixture
def desk(db: None) -> Desk:
    """A desk on an empty database. A test of more than one connection marks itself `django_db(transaction=True)`."""
    return Desk()
