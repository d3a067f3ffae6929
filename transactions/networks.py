"""Networks by the names that people know, and requests for ether that wallet programs can read."""

NAMES = {
    1: "Ethereum",
    10: "OP Mainnet",
    8453: "Base",
    42161: "Arbitrum One",
    17000: "Holesky (test network)",
    560048: "Hoodi (test network)",
    11155111: "Sepolia (test network)",
    1337: "Development chain",
    31337: "Development chain",
}
"""Names by chain id (EIP-155; https://chainlist.org), of networks whose own coin is ether."""


def network_name(chain_id: int) -> str:
    """Return what people call a network; by its number alone where it has no name here."""
    return NAMES.get(chain_id, f"Chain {chain_id}")


def payment_uri(address: str, chain_id: int) -> str:
    """Return the address as wallet programs read it from a link or a QR code, with the network it is for (EIP-681)."""
    return f"ethereum:{address}@{chain_id}"
