"""Which chain a process uses."""

import os
from collections.abc import Iterator

import pytest
from pytest_django import Settings

from tests.chain.scripted import well
from tests.fakes.chain import FakeChain
from tests.fakes.node import serve
from transactions.chain import Chain, NodeTrouble, WrongChainError, get_chain, use_chain
from transactions.chain.client import chain_for_pages


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


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_knows_nothing_of_the_nodes() -> None:
    chain = get_chain()
    child = os.fork()
    if child == 0:
        os._exit(get_chain() is chain)
    assert os.waitpid(child, 0)[1] == 0


def test_pages_have_an_impatient_one_to_themselves(settings: Settings) -> None:
    assert chain_for_pages() is chain_for_pages()
    assert chain_for_pages() is not get_chain()
    settings.CHAIN_RPC_TIMEOUT_SECONDS = 2
    assert chain_for_pages() is get_chain(), "never more patient than the settings say"


def test_settings_are_read_when_the_chain_is_used(settings: Settings) -> None:
    first = get_chain()
    settings.CHAIN_RPC_URLS = ["http://127.0.0.1:1/first", "http://localhost:2"]
    assert get_chain() is not first
    assert repr(get_chain()) == "<NodeChain node 1 (127.0.0.1), node 2 (localhost)>"


def test_a_test_can_put_its_own_chain_in_place() -> None:
    fake: Chain = FakeChain()
    use_chain(fake)
    assert get_chain() is chain_for_pages() is fake
    use_chain(None)
    assert get_chain() is not fake


def test_the_settings_say_how_nodes_are_asked(settings: Settings) -> None:
    with serve(well()) as first, serve(well()) as second:
        first.answers["eth_blockNumber"] = lambda params: "0x60"
        settings.CHAIN_RPC_URLS = [first.url(), second.url()]
        settings.CHAIN_LAG_BLOCKS_MAX = 4
        get_chain().chain_id()
        settings.CHAIN_LAG_BLOCKS_MAX = 3
        assert [state.trouble for state in get_chain().node_states()] == [NodeTrouble.UNKNOWN] * 2, "a new chain"
        get_chain().chain_id()
        assert [state.trouble for state in get_chain().node_states()] == [NodeTrouble.BEHIND, None]

        settings.CHAIN_RPC_URLS = [second.url()]
        settings.CHAIN_RPC_CALLS_PER_SECOND = 6
        second.trips.clear()
        get_chain().known([f"0x{number:064x}" for number in range(5)])
        assert [len(trip) for trip in second.trips] == [1, 3, 2]

        settings.CHAIN_ID = 5
        with pytest.raises(WrongChainError):
            get_chain().chain_id()
