"""What the tests of payments share."""

from collections.abc import Iterator

import pytest

from tests.desk import Desk
from tests.staff import Staff, make_staff
from transactions.chain import use_chain


@pytest.fixture
def desk(db: None) -> Desk:
    """A desk on an empty database. A test of more than one connection marks itself `django_db(transaction=True)`."""
    return Desk()


@pytest.fixture
def operator(desk: Desk) -> Staff:
    return make_staff("operators")


@pytest.fixture
def asked_by_pages(desk: Desk) -> Iterator[None]:
    """Let this process, and so its pages, ask the desk's chain in memory."""
    use_chain(desk.chain)
    yield
    use_chain(None)
