"""What the tests of the API share."""

import pytest

from tests.api.callers import Caller
from tests.desk import Desk


@pytest.fixture
def caller(db: None) -> Caller:
    """A program with its token and an account of 100 ether."""
    return Caller()


@pytest.fixture
def stranger(db: None) -> Caller:
    """Another user's program, which must learn nothing of the first."""
    return Caller()


@pytest.fixture
def desk(db: None) -> Desk:
    """A hot wallet with a chain in memory, to carry payments to their end."""
    return Desk()
