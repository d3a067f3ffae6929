"""What the tests of the API share."""

import pytest

from tests.api.callers import Caller


@pytest.fixture
def caller(db: None) -> Caller:
    """A program with its token and an account of 100 ether."""
    return Caller()


@pytest.fixture
def stranger(db: None) -> Caller:
    """Another user's program, which must learn nothing of the first."""
    return Caller()
