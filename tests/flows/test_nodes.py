"""Two ways to a real node, real workers: the preferred one dies, and payments go on by the other."""

from chaos.proxies import Proxy, served
from tests.conftest import StartWorker
from tests.desk import make_address
from tests.flows.conftest import LiveDesk
from transactions.models import Transaction
from transactions.states import Stage
from txnsite.stack.ports import free_ports


def test_payments_go_on_when_the_preferred_node_dies(live_desk: LiveDesk, celery_worker: StartWorker) -> None:
    node = live_desk.anvil
    preferred = Proxy("preferred node", listen=free_ports(1)[0], server=node.port)
    with served(preferred):
        worker = celery_worker("money", env={"CHAIN_RPC_URLS": f"http://127.0.0.1:{preferred.listen},{node.url}"})
        before = live_desk.accept(2, [make_address(), make_address()])
        live_desk.tick_until(
            lambda: Transaction.objects.filter(stage=Stage.BROADCAST).count() == 2, "both payments with a node"
        )

        preferred.refuse()
        after = live_desk.accept(2, [make_address(), make_address()])
        live_desk.run_to_the_end()

    live_desk.assert_paid_once([*before, *after])
    assert "node 1 (127.0.0.1) is set aside" in worker.logs
    assert "Traceback" not in worker.logs
