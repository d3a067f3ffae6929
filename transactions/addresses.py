"""Ethereum addresses as people and programs write them, checked by EIP-55."""

import re
from dataclasses import dataclass

from eth_utils.address import to_checksum_address

from transactions.exceptions import BadAddressError

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_ZERO = "0x" + "0" * 40


@dataclass(frozen=True, slots=True)
class ParsedAddress:
    """An address in EIP-55 form, and whether it was written with its checksum."""

    address: str
    is_checksummed: bool


def parse_address(text: str) -> ParsedAddress:
    """Return the address that `text` writes.

    An address all in lower or all in upper case carries no checksum (EIP-55) and is taken as it is.

    :raises BadAddressError: when the form is wrong, the checksum does not match, or it is the zero address, from
        which nothing can ever be recovered.
    """
    text = text.strip()
    if not _ADDRESS.fullmatch(text):
        raise BadAddressError("This is not an Ethereum address: it is 0x and then 40 digits from 0-9 and a-f.")
    if text.lower() == _ZERO:
        raise BadAddressError("This is the zero address. What is sent there is lost.")
    digits = text[2:]
    address = str(to_checksum_address(text.lower()))
    if digits.lower() == digits or digits.upper() == digits:
        return ParsedAddress(address, is_checksummed=address == text)
    if address != text:
        raise BadAddressError("The checksum of this address is wrong (EIP-55): at least one character was mistyped.")
    return ParsedAddress(address, is_checksummed=True)
