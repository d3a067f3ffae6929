"""What can go wrong between the desk and a node. No message ever holds a node's address, which may hold a secret."""


class ChainError(Exception):
    """The chain could not be asked."""

    code = "chain_error"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip().splitlines()[0])


class ChainUnavailableError(ChainError):
    """No Ethereum node answers at the moment. Ask again later."""

    code = "chain_unavailable"


class ChainReplyError(ChainError):
    """The Ethereum node gave an answer that can't be understood; what it did is unknown."""

    code = "chain_reply"


class ChainForkError(ChainError):
    """The node's chain holds none of the blocks that this desk has recorded: a deeper reorg than it can follow."""

    code = "chain_fork"


class ChainBusyError(ChainUnavailableError):
    """The Ethereum node has been asked as often as is allowed at the moment. Ask again later."""

    code = "chain_busy"


class WrongChainError(ChainUnavailableError):
    """The Ethereum node is on another chain than the desk; nothing it says counts."""

    code = "wrong_chain"


class NotOfferedError(ChainReplyError):
    """The Ethereum node does not offer what it was asked for: the method, or blocks that old."""

    code = "chain_not_offered"
