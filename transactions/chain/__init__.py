"""The one door to Ethereum nodes. Nothing outside of this package imports web3."""

from transactions.chain.bodies import read_transfers
from transactions.chain.client import Chain, get_chain, use_chain
from transactions.chain.exceptions import ChainError, ChainReplyError, ChainUnavailableError, WrongChainError
from transactions.chain.types import (
    BlockBody,
    BlockHeader,
    BlockTransfer,
    BroadcastTerms,
    ChainView,
    EstimateOutcome,
    FeeQuote,
    GasEstimate,
    MinedTransaction,
    NodeState,
    NodeTrouble,
    NonceCount,
    Receipt,
    SendOutcome,
    SendResult,
    Transfer,
)

__all__ = [
    "BlockBody",
    "BlockHeader",
    "BlockTransfer",
    "BroadcastTerms",
    "Chain",
    "ChainError",
    "ChainReplyError",
    "ChainUnavailableError",
    "ChainView",
    "EstimateOutcome",
    "FeeQuote",
    "GasEstimate",
    "MinedTransaction",
    "NodeState",
    "NodeTrouble",
    "NonceCount",
    "Receipt",
    "SendOutcome",
    "SendResult",
    "Transfer",
    "WrongChainError",
    "get_chain",
    "read_transfers",
    "use_chain",
]
