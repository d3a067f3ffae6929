"""Does the node follow the chain that this database knows?"""

from django.conf import settings

from transactions.chain.client import Chain, get_chain
from transactions.exceptions import ChainMismatchError
from transactions.models import Block, Transaction
from transactions.states import Stage


def require_matching_chain(chain: Chain | None = None) -> None:
    """Check chain id, recorded blocks and the last settled payments against the node.

    A few changed blocks at the tip are a reorg, and the follower's business; a settled payment whose block the node
    doesn't have, or no recorded block in common, is another chain.

    :raises ChainMismatchError: when it is another chain.
    :raises ChainError: when the node doesn't answer.
    """
    chain = chain or get_chain()
    chain_id = chain.chain_id()
    if chain_id != settings.CHAIN_ID:
        raise ChainMismatchError(f"The node is on chain {chain_id}; CHAIN_ID says {settings.CHAIN_ID}.")
    settled = list(
        Transaction.objects.filter(stage=Stage.SETTLED, block_number__isnull=False)
        .order_by("-id")
        .values_list("block_number", "block_hash")[:20]
    )
    recorded = list(Block.objects.order_by("-number").values_list("number", "hash")[:128])
    recorded += list(Block.objects.order_by("number").values_list("number", "hash")[:1])
    headers = chain.headers(sorted({number for number, _ in settled + recorded if number is not None}))
    canonical = {(number, header.hash) for number, header in headers.items()}
    if not set(settled) <= canonical:
        raise ChainMismatchError("The node does not have the blocks of payments that were settled.")
    if recorded and not set(recorded) & canonical:
        raise ChainMismatchError("The node has none of the blocks that were recorded.")
