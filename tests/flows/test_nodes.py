"""Two real nodes, real workers: one node dies, and payments go on by the other."""

from tests.conftest import StartWorker
from tests.desk import ETHER, make_address
from tests.flows.conftest import LiveDesk
from transactions.models import Transaction
from transactions.states import Stage
from txnsite.stack.anvil import Anvil
from txnsite.stack.process import wait_for


def test_payments_go_on_when_the_preferred_node_dies(
    live_desk: LiveDesk, celery_worker: StartWorker, own_anvil: Anvil
) -> None:
    other = live_desk.anvil
    own_anvil.mine(other.block_number() - own_anvil.block_number())
    own_anvil.set_balance(live_desk.wallet.address, 1_000 * ETHER)
    worker = celery_worker("money", env={"CHAIN_RPC_URLS": f"{own_anvil.url},{other.url}"})

    # Sent to both; nothing is mined yet.
    before = live_desk.accept(2, [make_address(), make_address()])
    live_desk.tick_until(
        lambda: Transaction.objects.filter(stage=Stage.BROADCAST).count() == 2, "both payments with a node"
    )
    hashes = list(Transaction.objects.values_list("transaction_hash", flat=True))
    wait_for(
        lambda: all(node.rpc("eth_getTransactionByHash", each) for node in (own_anvil, other) for each in hashes),
        what="both nodes to have both",
        timeout_seconds=10,
    )

    own_anvil.kill()
    after = live_desk.accept(2, [make_address(), make_address()])
    live_desk.run_to_the_end()

    live_desk.assert_paid_once([*before, *after])
    assert "node 1 (127.0.0.1) is set aside" in worker.logs
    assert "Traceback" not in worker.logs
