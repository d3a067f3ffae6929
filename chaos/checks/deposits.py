"""What came to the desk's addresses, by the chain alone, against what was credited; and what was moved between them."""

from collections import defaultdict
from collections.abc import Iterator

from chaos.checks.payments import made_wrongly
from chaos.evidence import Evidence
from chaos.rows import Deposit


def what_came_is_credited_once(evidence: Evidence) -> Iterator[str]:
    """Each transfer to an address of the desk's is one deposit, credited, with its amount and block."""
    address_of = {wallet.id: wallet.address.lower() for wallet in evidence.rows.wallets}
    by_hash: defaultdict[str, list[Deposit]] = defaultdict(list)
    for deposit in evidence.rows.deposits:
        by_hash[deposit.transaction_hash].append(deposit)
    for each in evidence.came():
        expected = ("credited", each.to_address, each.value_in_wei, each.block_number, each.block_hash)
        found = [
            (row.status, address_of[row.wallet_id], row.amount_in_wei, row.block_number, row.block_hash)
            for row in by_hash[each.hash]
        ]
        if found != [expected]:
            yield f"{each.hash} came as {expected}; deposits of it are {found}"


def nothing_else_is_credited(evidence: Evidence) -> Iterator[str]:
    """What the chain doesn't hold at the end has left it, and no deposit waits."""
    came = {each.hash for each in evidence.came()}
    for deposit in evidence.rows.deposits:
        if deposit.status == "waiting" or (deposit.status == "credited" and deposit.transaction_hash not in came):
            yield f"deposit #{deposit.id} of {deposit.transaction_hash} is {deposit.status}, and is not in the chain"


def each_sweep_is_made_once(evidence: Evidence) -> Iterator[str]:
    """A successful sweep is in the chain once, to a hot wallet; any other one is not."""
    yield from made_wrongly(evidence, evidence.rows.sweeps)
    hot = {wallet.lower() for wallet in evidence.cast.wallets}
    for sweep in evidence.rows.sweeps:
        if sweep.to_public_address.lower() not in hot:
            yield f"sweep #{sweep.id} goes to {sweep.to_public_address}, which is no hot wallet"
