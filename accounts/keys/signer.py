"""Who signs: the one thing a key has to do, wherever it lives.

A signer has an address and signs digests of 32 bytes; what the digests are of (`transfers`, `messages`) is not its
business. So a key management service needs a class of two members, and `complete_signature` for what such services
leave out (docs/keys.md has one written out).
"""

from collections.abc import Sequence
from typing import NoReturn, Protocol, SupportsIndex

import coincurve
from django.views.decorators.debug import sensitive_variables
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from accounts.keys.exceptions import BadSignatureError

CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""The order n of secp256k1 (SEC 2, section 2.4.1)."""

SIGNATURE_BYTES = 65


class Signer(Protocol):
    """Whoever can sign for one address: a key in this process's memory, or a key management service."""

    @property
    def address(self) -> str:
        """The address (EIP-55) whose ether the signatures move."""

    def sign_digests(self, digests: Sequence[bytes]) -> list[bytes]:
        """Sign digests of 32 bytes, in order: r, s (the lower of the two: EIP-2) and the parity of y, 65 bytes each.

        All at once, so that a service can be asked once for a batch.

        :raises SignerUnavailableError: when a service does not answer; then nothing was signed, as far as we know.
        """


class Secret:
    """What holds a private key: it shows in no repr, and can't be copied or pickled."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("This holds a private key and can't be copied or pickled.")


class LocalSigner(Secret):
    """Sign with a key in this process's memory, whether it came from a file, the environment or a seed."""

    __slots__ = ("_address", "_key")

    @sensitive_variables("private_key")
    def __init__(self, private_key: bytes) -> None:
        self._key = coincurve.PrivateKey(private_key)
        self._address = address_of(self._key.public_key)

    def __repr__(self) -> str:
        return f"<LocalSigner {self._address}>"

    @property
    def address(self) -> str:
        """The address (EIP-55) of the key."""
        return self._address

    def sign_digests(self, digests: Sequence[bytes]) -> list[bytes]:
        """Sign all digests, in order; the same digest always gets the same signature (RFC 6979), with the low s."""
        sign = self._key.sign_recoverable
        return [sign(digest, hasher=None) for digest in digests]


def address_of(public_key: coincurve.PublicKey) -> str:
    """Return the address (EIP-55) of a public key: the last 20 bytes of its hash (yellow paper, appendix F)."""
    return to_checksum_address(keccak(public_key.format(compressed=False)[1:])[-20:])


def recover_address(digest: bytes, signature: bytes) -> str:
    """Return the address (EIP-55) whose key made a signature of 65 bytes.

    :raises BadSignatureError: when no key can have made it.
    """
    if len(signature) != SIGNATURE_BYTES or signature[-1] > 1:
        raise BadSignatureError
    try:
        return address_of(coincurve.PublicKey.from_signature_and_message(signature, digest, hasher=None))
    except Exception as error:  # coincurve raises bare ones
        raise BadSignatureError from error


def complete_signature(*, digest: bytes, r: int, s: int, address: str) -> bytes:
    """Return the 65 bytes of a signature of which only r and s are known, as key management services give it.

    Takes the lower of the two possible s (EIP-2), and finds the parity of y by trying both.

    :raises BadSignatureError: when the key of this address did not sign this digest.
    """
    s = min(s, CURVE_ORDER - s)
    if not (0 < r < CURVE_ORDER and s > 0):
        raise BadSignatureError
    for parity in (0, 1):
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([parity])
        try:
            if recover_address(digest, signature) == address:
                return signature
        except BadSignatureError:
            continue
    raise BadSignatureError(f"The service's signature is not one of the key of {address}.")
