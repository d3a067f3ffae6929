"""Hierarchical deterministic keys (BIP-32): a tree of keys from one seed, and their public half without it.

Only what a desk needs of it. libsecp256k1 does the arithmetic; why no library does the rest is in
docs/adr/0006-own-bip32.md.
"""

import hashlib
import hmac
from dataclasses import dataclass

import coincurve
from Crypto.Hash import RIPEMD160
from django.views.decorators.debug import sensitive_variables

from accounts.keys.exceptions import BadExtendedKeyError, UnderivableKeyError
from accounts.keys.signer import Secret

HARDENED = 2**31
"""Child numbers from here on need the private key of their parent; they are written 0', 1' …"""

_XPUB_VERSION = bytes.fromhex("0488b21e")
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Position:
    """Where in its tree a key is: how deep, below which parent, and as which of its children."""

    depth: int = 0
    parent_fingerprint: bytes = bytes(4)
    number: int = 0


class PublicNode:
    """An extended public key: it derives the public keys below it, and no private one."""

    __slots__ = ("chain_code", "key", "position")

    def __init__(self, key: coincurve.PublicKey, chain_code: bytes, position: Position) -> None:
        self.key, self.chain_code, self.position = key, chain_code, position

    def child(self, number: int) -> "PublicNode":
        """Return the child of this number, below `HARDENED` (CKDpub).

        :raises UnderivableKeyError: when there is none.
        """
        if not 0 <= number < HARDENED:
            raise UnderivableKeyError(f"Without the private key there are children 0 to {HARDENED - 1} only.")
        tweak, chain_code = _digest(self.chain_code, self.key.format() + number.to_bytes(4, "big"))
        try:
            key = self.key.add(tweak)
        except ValueError as error:
            raise UnderivableKeyError from error  # one number in 2^127
        return PublicNode(key, chain_code, self.child_position(number))

    def child_position(self, number: int) -> Position:
        """Return where this key's child of a number is."""
        identifier = RIPEMD160.new(hashlib.sha256(self.key.format()).digest()).digest()
        return Position(self.position.depth + 1, identifier[:4], number)

    def xpub(self) -> str:
        """Return the key as text that any wallet software can read (BIP-32, serialization format)."""
        at = self.position
        place = bytes([at.depth]) + at.parent_fingerprint + at.number.to_bytes(4, "big")
        return _base58check(_XPUB_VERSION + place + self.chain_code + self.key.format())


class PrivateNode(Secret):
    """An extended private key: with it comes every key below."""

    __slots__ = ("_chain_code", "_key", "_position")

    def __init__(self, key: coincurve.PrivateKey, chain_code: bytes, position: Position) -> None:
        self._key, self._chain_code, self._position = key, chain_code, position

    def __repr__(self) -> str:
        return f"<PrivateNode at depth {self._position.depth}>"

    @property
    def private_key(self) -> bytes:
        """The private key itself, 32 bytes."""
        return self._key.secret

    def public(self) -> PublicNode:
        """Return the extended public key (N, neuter)."""
        return PublicNode(self._key.public_key, self._chain_code, self._position)

    @sensitive_variables("data", "tweak")
    def child(self, number: int) -> "PrivateNode":
        """Return the child of this number, hardened from `HARDENED` on (CKDpriv).

        :raises UnderivableKeyError: when there is none.
        """
        if not 0 <= number < 2 * HARDENED:
            raise UnderivableKeyError
        parent = self.public()
        data = b"\0" + self._key.secret if number >= HARDENED else parent.key.format()
        tweak, chain_code = _digest(self._chain_code, data + number.to_bytes(4, "big"))
        try:
            key = self._key.add(tweak)
        except ValueError:
            key = None
        if key is None:
            raise UnderivableKeyError  # one number in 2^127
        return PrivateNode(key, chain_code, parent.child_position(number))

    def descend(self, *numbers: int) -> "PrivateNode":
        """Return what is found by going down from child to child."""
        node = self
        for number in numbers:
            node = node.child(number)
        return node


@sensitive_variables("seed", "key")
def master_node(seed: bytes) -> PrivateNode:
    """Return the root of a seed's tree."""
    key, chain_code = _digest(b"Bitcoin seed", seed)
    return PrivateNode(coincurve.PrivateKey(key), chain_code, Position())


def parse_xpub(text: str) -> PublicNode:
    """Return the extended public key that a text stands for.

    :raises BadExtendedKeyError: when it is none, or an extended private key.
    """
    data = _from_base58check(text)
    if len(data) != 78 or data[:4] != _XPUB_VERSION:
        raise BadExtendedKeyError
    position = Position(data[4], data[5:9], int.from_bytes(data[9:13], "big"))
    if position.depth == 0 and position != Position():
        raise BadExtendedKeyError
    try:
        return PublicNode(coincurve.PublicKey(data[45:]), data[13:45], position)
    except ValueError as error:
        raise BadExtendedKeyError from error


@sensitive_variables("data", "digest")
def _digest(key: bytes, data: bytes) -> tuple[bytes, bytes]:
    digest = hmac.digest(key, data, "sha512")
    return digest[:32], digest[32:]


def _checksum(data: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()[:4]


def _base58check(data: bytes) -> str:
    """Return data that doesn't begin with a zero byte as base 58 with a checksum."""
    rest, text = int.from_bytes(data + _checksum(data), "big"), ""
    while rest:
        rest, digit = divmod(rest, 58)
        text = _BASE58[digit] + text
    return text


def _from_base58check(text: str) -> bytes:
    """Return what `_base58check` made a text of; nothing when it is no such text."""
    number = 0
    for character in text[:200]:
        digit = _BASE58.find(character)
        if digit < 0:
            return b""
        number = number * 58 + digit
    octets = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return octets[:-4] if _checksum(octets[:-4]) == octets[-4:] else b""
