"""Estimating the gas of many transfers in one call.

eth_simulateV1 runs them all in one pretended block (execution-apis, eth_simulateV1). Each may use what a plain
transfer needs and no more: a recipient's code can't slow the others down, and whoever needs more is asked about
one by one with eth_estimateGas. Senders are pretended rich enough: whether a wallet can pay is another question,
and one poor transfer would fail the simulation of all.
"""

from collections.abc import Sequence
from typing import Any

from transactions.chain.replies import quantity
from transactions.chain.rpc import Call, Reply
from transactions.chain.types import EstimateOutcome, GasEstimate, Transfer

PLAIN_TRANSFER_GAS = 21_000
"""What a transfer to an account without code uses (yellow paper, appendix G: G_transaction)."""

SIMULATED_TRANSFERS_MAX = 1_000
"""Per call; 1,000 plain transfers use 21 million gas, within the block gas limit that bounds a simulation."""

BALANCE_MAX = 2**256 - 1
INSUFFICIENT_FUNDS = "insufficient funds for the value of this transfer"


def simulation_call(transfers: Sequence[Transfer]) -> Call:
    """Return the one call that simulates all these transfers on top of the latest block."""
    spent: dict[str, int] = {}
    for transfer in transfers:
        spent[transfer.from_address] = spent.get(transfer.from_address, 0) + transfer.value_in_wei
    block = {
        "stateOverrides": {sender: {"balance": hex(min(total, BALANCE_MAX))} for sender, total in spent.items()},
        "calls": [{**_fields(transfer), "gas": hex(PLAIN_TRANSFER_GAS)} for transfer in transfers],
    }
    return "eth_simulateV1", [{"blockStateCalls": [block], "validation": False}, "latest"]


def read_simulation(reply: Reply, count: int) -> list[GasEstimate | None]:
    """Return an estimate for each transfer that passed as a plain one, and None for those to be asked about alone."""
    try:
        calls: Any = reply.result[0]["calls"]
        passed = [quantity(call["status"]) == 1 and quantity(call["gasUsed"]) == PLAIN_TRANSFER_GAS for call in calls]
    except (KeyError, TypeError, IndexError):
        return [None] * count
    if len(passed) != count:
        return [None] * count
    plain = GasEstimate(PLAIN_TRANSFER_GAS, EstimateOutcome.OK)
    return [plain if transfer_passed else None for transfer_passed in passed]


def estimate_call(transfer: Transfer) -> Call:
    """Return the call that estimates one transfer alone."""
    return "eth_estimateGas", [_fields(transfer)]


def read_estimate(reply: Reply) -> GasEstimate:
    """Read a reply to eth_estimateGas; only the EVM's own revert is REVERTED, whatever else went wrong is UNKNOWN."""
    if reply.error is None:
        return GasEstimate(quantity(reply.result), EstimateOutcome.OK)
    outcome = EstimateOutcome.REVERTED if reply.error.is_revert else EstimateOutcome.UNKNOWN
    return GasEstimate(None, outcome, reply.error.message)


def affordable(estimate: GasEstimate, transfer: Transfer, balance_in_wei: int) -> GasEstimate:
    """Return the estimate, or UNKNOWN when the sender's balance does not cover the value: that says nothing of it."""
    if transfer.value_in_wei <= balance_in_wei:
        return estimate
    return GasEstimate(None, EstimateOutcome.UNKNOWN, INSUFFICIENT_FUNDS)


def _fields(transfer: Transfer) -> dict[str, str]:
    return {"from": transfer.from_address, "to": transfer.to_address, "value": hex(transfer.value_in_wei)}
