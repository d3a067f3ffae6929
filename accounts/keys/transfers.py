"""The bytes of transfers of ether (EIP-1559, transaction type 2): what is signed, and what is sent.

RLP, Keccak and coincurve are put together by hand: the bytes are those of eth_account, which takes five times as
long because it validates and copies each transaction several times over. A property test holds the two together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import rlp  # type: ignore[import-untyped]
from eth_utils.crypto import keccak

from accounts.keys.exceptions import UnsignableTransferError
from accounts.keys.signer import Signer

TYPE_2 = b"\x02"
"""The envelope of EIP-1559 transactions (EIP-2718)."""

WORD_MAX = 2**256 - 1
NONCE_MAX = 2**64 - 2
"""EIP-2681: the nonce of an account stays below 2^64-1."""

GAS_MAX = 2**64 - 1
ADDRESS_BYTES = 20

Field = bytes | list[bytes]
"""What RLP encodes: a byte string or a list of them."""


@dataclass(frozen=True, slots=True)
class UnsignedTransfer:
    """A payment of ether with everything that its signature covers."""

    chain_id: int
    nonce: int
    to_address: str
    value_in_wei: int
    gas_limit: int
    max_fee_per_gas_in_wei: int
    max_priority_fee_per_gas_in_wei: int


@dataclass(frozen=True, slots=True)
class SignedTransfer:
    """A signed transaction, ready to be sent: its bytes, and the hash by which the chain will know it."""

    raw: bytes
    hash: str


def sign_transfers(signer: Signer, transfers: Sequence[UnsignedTransfer]) -> list[SignedTransfer]:
    """Sign all transfers, in order.

    :raises UnsignableTransferError: when a field is out of range; then none is signed.
    :raises SignerUnavailableError: when the signer's service does not answer.
    """
    fields_of_all = [_checked_fields(transfer) for transfer in transfers]
    digests = [keccak(TYPE_2 + rlp.encode(fields, infer_serializer=False)) for fields in fields_of_all]
    signatures = signer.sign_digests(digests)
    return [_signed(fields, signature) for fields, signature in zip(fields_of_all, signatures, strict=True)]


def _signed(fields: list[Field], signature: bytes) -> SignedTransfer:
    # Integers have no leading zeros in RLP. The last byte is the parity of y.
    y_parity, r, s = (part.lstrip(b"\0") for part in (signature[64:], signature[:32], signature[32:64]))
    raw = TYPE_2 + rlp.encode([*fields, y_parity, r, s], infer_serializer=False)
    return SignedTransfer(raw, "0x" + keccak(raw).hex())


def _checked_fields(transfer: UnsignedTransfer) -> list[Field]:
    """Return the fields in the order of EIP-1559, integers as big-endian bytes, data and access list empty."""
    # An empty recipient would create a contract, and a short one would burn the money.
    try:
        recipient = bytes.fromhex(transfer.to_address.removeprefix("0x"))
    except ValueError:
        recipient = b""
    if len(recipient) != ADDRESS_BYTES:
        raise UnsignableTransferError("This transfer can't be signed: to_address is not an address.")
    return [
        _integer("chain_id", transfer.chain_id, WORD_MAX),
        _integer("nonce", transfer.nonce, NONCE_MAX),
        _integer("max_priority_fee_per_gas_in_wei", transfer.max_priority_fee_per_gas_in_wei, WORD_MAX),
        _integer("max_fee_per_gas_in_wei", transfer.max_fee_per_gas_in_wei, WORD_MAX),
        _integer("gas_limit", transfer.gas_limit, GAS_MAX),
        recipient,
        _integer("value_in_wei", transfer.value_in_wei, WORD_MAX),
        b"",
        [],
    ]


def _integer(name: str, value: int, largest: int) -> bytes:
    """Return the shortest big-endian bytes of an integer: none at all for zero (yellow paper, appendix B)."""
    if not 0 <= value <= largest:
        raise UnsignableTransferError(f"This transfer can't be signed: {name} is out of range.")
    return value.to_bytes((value.bit_length() + 7) // 8, "big")
