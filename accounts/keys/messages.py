"""Signed messages (EIP-191, version 0x45, "personal_sign"): words that only a wallet's key can have put its name to."""

from eth_utils.crypto import keccak

from accounts.keys.exceptions import BadSignatureError
from accounts.keys.signer import Signer, recover_address

_V_OFFSET = 27
"""What is added to the parity of y in the last byte (yellow paper, appendix F)."""


def sign_message(signer: Signer, text: str) -> str:
    """Return the signature of a text: 0x and the hex of r, s and v.

    :raises SignerUnavailableError: when the signer's service does not answer.
    """
    (signature,) = signer.sign_digests([_digest_of(text)])
    return "0x" + (signature[:64] + bytes([signature[64] + _V_OFFSET])).hex()


def recover_message(text: str, signature: str) -> str:
    """Return the address (EIP-55) whose key signed a text.

    Another text, or another signature, leads to another address: compare it with the one you expect.

    :raises BadSignatureError: when it is no signature.
    """
    try:
        octets = bytes.fromhex(signature.removeprefix("0x"))
        return recover_address(_digest_of(text), octets[:64] + bytes([octets[-1] - _V_OFFSET]))
    except (ValueError, IndexError) as error:
        raise BadSignatureError from error


def _digest_of(text: str) -> bytes:
    octets = text.encode()
    return keccak(b"\x19Ethereum Signed Message:\n%d" % len(octets) + octets)
