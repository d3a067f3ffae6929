"""Understanding why a node refused a signed transaction.

Nodes agree on no codes and on few words, so words only sort refusals of a transaction that the node verifiably
does not have: whatever it says, one that it has is accepted.
"""

from transactions.chain.rpc import Reply, RpcError
from transactions.chain.types import SendOutcome, SendResult

WORDS_BY_OUTCOME = {
    SendOutcome.NONCE_TOO_LOW: ("nonce too low", "nonce is too low", "oldnonce"),
    SendOutcome.INSUFFICIENT_FUNDS: (
        "insufficient funds",
        "insufficientfunds",
        "insufficient balance",
        "upfront cost exceeds account balance",
    ),
    SendOutcome.UNDERPRICED: (
        "underpriced",
        "fee too low",
        "feetoolow",
        "gas price too low",
        "gas price below",
        "below minimum",
        "less than block base fee",
        "replacementnotallowed",
    ),
}
"""From the sources of geth, reth, anvil, Besu, Nethermind and Erigon."""


def judge_refusal(refusal: RpcError, lookup: Reply | None) -> SendResult:
    """Turn a refusal into a result, given what the node answered when asked for the transaction by its hash.

    `lookup` is None when that question got no answer; then nothing is known, a "nonce too low" least of all: the
    nonce may have been used up by this very transaction.
    """
    if lookup is None or lookup.error is not None:
        return SendResult(SendOutcome.UNKNOWN, refusal.message)
    if lookup.result is not None:
        return SendResult(SendOutcome.ACCEPTED, refusal.message)
    words_said = refusal.message.lower()
    for outcome, words in WORDS_BY_OUTCOME.items():
        if any(word in words_said for word in words):
            return SendResult(outcome, refusal.message)
    return SendResult(SendOutcome.UNKNOWN, refusal.message)
