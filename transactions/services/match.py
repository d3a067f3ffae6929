"""Do the nodes follow the chain of the settings, and the one that this database knows?"""

import logging

from django.conf import settings

from transactions.chain.client import Chain, chain_for_start, get_chain
from transactions.chain.exceptions import ChainError
from transactions.chain.types import NodeTrouble
from transactions.exceptions import ChainMismatchError
from transactions.models import Block, Transaction
from transactions.states import Stage

logger = logging.getLogger(__name__)


def refuse_wrong_chain(chain: Chain | None = None) -> None:
    """Let no process start whose nodes are on another chain than CHAIN_ID says.

    Nodes that don't answer are waited for; one on another chain beside one on ours is an error in the log, and never
    asked: a process that can work must not be kept from it by a node that it doesn't need.

    :raises ChainMismatchError: when none of the nodes that answer is on our chain.
    """
    try:
        require_our_chain(chain or chain_for_start())
    except ChainError as error:
        logger.warning("No Ethereum node answers yet; payments will wait for one. %s", error)


def require_our_chain(chain: Chain) -> None:
    """Make sure that a node answers and is on the chain of the settings.

    :raises ChainMismatchError: when none of those that answer is.
    :raises ChainError: when none answers.
    """
    try:
        chain_id = chain.chain_id()
    except ChainError:
        _refuse_strangers(chain)
        raise
    if chain_id != settings.CHAIN_ID:
        raise ChainMismatchError(f"CHAIN_ID is {settings.CHAIN_ID}, but the node is on chain {chain_id}.")


def require_matching_chain(chain: Chain | None = None) -> None:
    """Check every node's chain id, and recorded blocks and the last settled payments against the first node.

    A few changed blocks at the tip are a reorg, and the follower's business; a settled payment whose block the node
    doesn't have, or no recorded block in common, is another chain.

    :raises ChainMismatchError: when it is another chain.
    :raises ChainError: when the node doesn't answer.
    """
    chain = chain or get_chain()
    require_our_chain(chain)
    _refuse_strangers(chain)
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


def _refuse_strangers(chain: Chain) -> None:
    strangers = [state.detail for state in chain.node_states() if state.trouble is NodeTrouble.WRONG_CHAIN]
    if strangers:
        raise ChainMismatchError(f"CHAIN_ID is {settings.CHAIN_ID}, but {', '.join(strangers)}.")
