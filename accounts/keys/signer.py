"""Signing transfers of ether (EIP-1559, transaction type 2).

RLP, Keccak and coincurve are put together by hand: the bytes are those of eth_account, which takes five times as
long because it validates and copies each transaction several times over. A property test holds the two together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn, Protocol, SupportsIndex

import coincurve
import rlp  # type: ignore[import-untyped]
from django.views.decorators.debug import sensitive_variables
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from accounts.keys.exceptions import UnsignableTransferError

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


class Signer(Protocol):
    """Whoever can sign for one address: a keystore file today, a key management service tomorrow."""

    @property
    def address(self) -> str:
        """The address (EIP-55) whose ether the signatures move."""

    def sign(self, transfers: Sequence[UnsignedTransfer]) -> list[SignedTransfer]:
        """Sign all transfers, in order.

        :raises UnsignableTransferError: when a field is out of range; then none is signed.
        """


class KeystoreSigner:
    """Sign with the key of a keystore file, held in this process's memory; it shows in no repr, copy or pickle."""

    __slots__ = ("_address", "_key")

    @sensitive_variables("private_key")
    def __init__(self, private_key: bytes) -> None:
        self._key = coincurve.PrivateKey(private_key)
        self._address = address_of(self._key.public_key)

    def __repr__(self) -> str:
        return f"<KeystoreSigner {self._address}>"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("A signer holds a private key and can't be copied or pickled.")

    @property
    def address(self) -> str:
        """The address (EIP-55) of the key."""
        return self._address

    def sign(self, transfers: Sequence[UnsignedTransfer]) -> list[SignedTransfer]:
        """Sign all transfers, in order; the same transfer always gets the same bytes (RFC 6979, low s: EIP-2).

        :raises UnsignableTransferError: when a field is out of range; then none is signed.
        """
        fields_of_all = [_checked_fields(transfer) for transfer in transfers]
        return [self._sign_fields(fields) for fields in fields_of_all]

    def _sign_fields(self, fields: list[Field]) -> SignedTransfer:
        digest = keccak(TYPE_2 + rlp.encode(fields, infer_serializer=False))
        signature = self._key.sign_recoverable(digest, hasher=None)
        # Integers have no leading zeros in RLP. The last byte is the parity of y.
        y_parity, r, s = (part.lstrip(b"\0") for part in (signature[64:], signature[:32], signature[32:64]))
        raw = TYPE_2 + rlp.encode([*fields, y_parity, r, s], infer_serializer=False)
        return SignedTransfer(raw, "0x" + keccak(raw).hex())


def address_of(public_key: coincurve.PublicKey) -> str:
    """Return the address (EIP-55) of a public key: the last 20 bytes of its hash (yellow paper, appendix F)."""
    return to_checksum_address(keccak(public_key.format(compressed=False)[1:])[-20:])


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
