"""Nodes that follow a script, and a clock that goes when it is told to."""

from collections.abc import Iterator

import pytest

from tests.chain.scripted import Clock, well
from tests.fakes.node import ScriptedNode, serve


@pytest.fixture
def node() -> Iterator[ScriptedNode]:
    with serve(well()) as scripted:
        yield scripted


@pytest.fixture
def second() -> Iterator[ScriptedNode]:
    with serve(well()) as scripted:
        yield scripted


@pytest.fixture
def clock() -> Clock:
    return Clock()
