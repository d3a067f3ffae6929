"""Which chain a process uses."""

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from tests.fakes.chain import FakeChain
from transactions.chain import Chain, get_chain, use_chain


@pytest.fixture(autouse=True)
def own_settings(settings: Settings) -> Iterator[None]:
    settings.CHAIN_RPC_URLS = ["http://127.0.0.1:1/first"]
    settings.CHAIN_RPC_BATCH_SIZE = 7
    settings.CHAIN_RPC_TIMEOUT_SECONDS = 3
    yield
    use_chain(None)


def test_a_process_has_one_chain() -> None:
    assert get_chain() is get_chain()
    assert repr(get_chain()) == "<NodeChain node 1 (127.0.0.1)>"


def test_settings_are_read_when_the_chain_is_used(settings: Settings) -> None:
    first = get_chain()
    settings.CHAIN_RPC_URLS = ["http://127.0.0.1:1/first", "http://localhost:2"]
    assert get_chain() is not first
    assert repr(get_chain()) == "<NodeChain node 1 (127.0.0.1), node 2 (localhost)>"


def test_a_test_can_put_its_own_chain_in_place() -> None:
    fake: Chain = FakeChain()
    use_chain(fake)
    assert get_chain() is fake
    use_chain(None)
    assert get_chain() is not fake
