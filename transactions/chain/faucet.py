"""Money from a development node's own unlocked account. No real node has one."""

from web3 import Web3
from web3.types import TxParams, Wei


def fund_from_node_account(rpc_url: str, address: str, amount_in_wei: int) -> str:
    """Send ether from the node's first account, wait until a block holds it, and return the transaction's hash.

    :raises LookupError: when the node manages no accounts, as any node outside development.
    """
    web3 = Web3(Web3.HTTPProvider(rpc_url))
    accounts = web3.eth.accounts
    if not accounts:
        raise LookupError("The node has no account of its own: this is not a development node.")
    params: TxParams = {"from": accounts[0], "to": Web3.to_checksum_address(address), "value": Wei(amount_in_wei)}
    transaction_hash = web3.eth.send_transaction(params)
    web3.eth.wait_for_transaction_receipt(transaction_hash, timeout=30, poll_latency=0.2)
    return transaction_hash.to_0x_hex()
