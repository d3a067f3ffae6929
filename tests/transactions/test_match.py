"""No process starts on a wrong chain, and every process starts while its nodes are down."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from tests.chain.harness import UNREACHABLE_URL
from tests.chain.scripted import well
from tests.conftest import StartWeb, StartWorker
from tests.fakes.node import ScriptedNode, serve
from tests.processes import subprocess_environment
from transactions.exceptions import ChainMismatchError
from transactions.services.match import refuse_wrong_chain, require_matching_chain
from txnsite.stack.apps import CeleryWorker, Web
from txnsite.stack.ports import free_port
from txnsite.stack.process import wait_for

REFUSED = "CHAIN_ID is 31337, but node 1 (127.0.0.1) is on chain 5."


@pytest.fixture
def ours() -> Iterator[ScriptedNode]:
    with serve(well()) as node:
        yield node


@pytest.fixture
def stranger() -> Iterator[ScriptedNode]:
    with serve(well()) as node:
        node.answers["eth_chainId"] = lambda params: "0x5"
        yield node


class TestAtStart:
    def test_our_chain(self, settings: Settings, ours: ScriptedNode) -> None:
        settings.CHAIN_RPC_URLS = [ours.url()]
        refuse_wrong_chain()

    def test_another_chain_is_refused_by_name_and_without_credentials(
        self, settings: Settings, stranger: ScriptedNode, caplog: pytest.LogCaptureFixture
    ) -> None:
        settings.CHAIN_RPC_URLS = [stranger.url("operator:hunter2@", "/v3/8f2d1c0b9a7e6f5d")]
        with pytest.raises(ChainMismatchError) as caught:
            refuse_wrong_chain()
        assert str(caught.value) == REFUSED
        assert "hunter2" not in caplog.text
        assert "8f2d1c0b9a7e6f5d" not in caplog.text

    def test_two_on_other_chains_are_both_named(self, settings: Settings, stranger: ScriptedNode) -> None:
        settings.CHAIN_RPC_URLS = [stranger.url(), stranger.url()]
        with pytest.raises(ChainMismatchError, match=r"node 1 .* is on chain 5, node 2 .* is on chain 5\."):
            refuse_wrong_chain()

    @pytest.mark.parametrize("order", [1, -1])
    def test_one_on_another_chain_beside_one_that_is_down(
        self, settings: Settings, stranger: ScriptedNode, order: int
    ) -> None:
        settings.CHAIN_RPC_URLS = [stranger.url(), UNREACHABLE_URL][::order]
        with pytest.raises(ChainMismatchError, match="is on chain 5"):
            refuse_wrong_chain()

    @pytest.mark.parametrize("order", [1, -1])
    def test_one_on_another_chain_beside_one_on_ours_is_an_error_in_the_log(
        self,
        settings: Settings,
        ours: ScriptedNode,
        stranger: ScriptedNode,
        order: int,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        settings.CHAIN_RPC_URLS = [stranger.url(), ours.url()][::order]
        refuse_wrong_chain()
        assert [record.levelname for record in caplog.records] == ["ERROR"]

    @pytest.mark.parametrize("trouble", ["down", "stall", "garbage", "busy"])
    def test_nodes_that_do_not_answer_are_waited_for(
        self, settings: Settings, ours: ScriptedNode, trouble: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("transactions.chain.client.START_TIMEOUT_SECONDS", 0.2)
        settings.CHAIN_RPC_URLS = [UNREACHABLE_URL if trouble == "down" else ours.url()]
        if trouble == "stall":
            ours.stall.set()
        elif trouble == "garbage":
            ours.body = b"<html>"
        elif trouble == "busy":
            ours.status = 429
        refuse_wrong_chain()

    def test_each_start_looks_anew(self, settings: Settings, ours: ScriptedNode) -> None:
        settings.CHAIN_RPC_URLS = [ours.url()]
        refuse_wrong_chain()
        ours.answers["eth_chainId"] = lambda params: "0x5"
        with pytest.raises(ChainMismatchError):
            refuse_wrong_chain()


@pytest.mark.django_db
class TestCommand:
    def test_the_command_wants_every_node_on_our_chain(
        self, settings: Settings, ours: ScriptedNode, stranger: ScriptedNode
    ) -> None:
        settings.CHAIN_RPC_URLS = [ours.url()]
        require_matching_chain()
        settings.CHAIN_RPC_URLS = [ours.url(), stranger.url()]
        with pytest.raises(
            CommandError, match=r"CHAIN_ID is 31337, but node 2 \(127\.0\.0\.1\) is on chain 5\."
        ) as caught:
            call_command("check_chain")
        assert caught.value.returncode == 3

    def test_the_command_fails_when_no_node_answers(self, settings: Settings) -> None:
        settings.CHAIN_RPC_URLS = [UNREACHABLE_URL]
        with pytest.raises(CommandError, match="can't be asked"):
            call_command("check_chain")


class TestProcesses:
    """Real ones."""

    @pytest.fixture
    def environment(self, stranger: ScriptedNode) -> dict[str, str]:
        return {"CHAIN_RPC_URLS": stranger.url("operator:hunter2@", "/v3/8f2d1c0b9a7e6f5d")}

    def test_a_worker_does_not_start_on_another_chain(
        self, running: ExitStack, environment: dict[str, str], tmp_path: Path
    ) -> None:
        worker = CeleryWorker(
            queues=["money"], env=subprocess_environment(environment), log_path=tmp_path / "worker.log"
        )
        running.callback(worker.kill)
        worker.launch()
        assert worker.process.wait(60) == 1
        assert f"The worker does not start: {REFUSED}" in worker.logs
        assert "hunter2" not in worker.logs
        assert "8f2d1c0b9a7e6f5d" not in worker.logs

    def test_a_web_server_does_not_start_on_another_chain(
        self, running: ExitStack, environment: dict[str, str], tmp_path: Path
    ) -> None:
        web = Web(port=free_port(), workers=1, env=subprocess_environment(environment), log_path=tmp_path / "web.log")
        running.callback(web.kill)
        web.launch()
        refused = f"The web server does not start: {REFUSED}"
        wait_for(lambda: refused in web.logs, what="the refusal", timeout_seconds=60)
        assert web.status_of("/healthz") == 0
        assert "hunter2" not in web.logs
        assert "8f2d1c0b9a7e6f5d" not in web.logs

    def test_both_start_while_the_node_is_down(self, start_web: StartWeb, celery_worker: StartWorker) -> None:
        environment = {"CHAIN_RPC_URLS": UNREACHABLE_URL}
        web = start_web(env=environment)
        worker = celery_worker("money", env=environment)
        assert web.status_of("/readyz") == 200
        assert web.status_of("/readyz?strict=1") == 503
        assert "No Ethereum node answers yet; payments will wait for one." in worker.logs
