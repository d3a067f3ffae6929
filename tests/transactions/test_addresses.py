"""Addresses as EIP-55 has them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transactions.addresses import parse_address
from transactions.exceptions import BadAddressError

MIXED = [
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
]
"""The test vectors of EIP-55 whose checksum mixes upper and lower case."""

ONE_CASE = [
    "0x52908400098527886E0F7030069857D2E4169EE7",
    "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
    "0xde709f2102306220921060314715629080e2fb77",
    "0x27b1fdb04752bbc536007a920d24acb045561c26",
]
"""Its vectors whose checksum happens to be all upper or all lower case."""


@pytest.mark.parametrize("address", MIXED + ONE_CASE)
def test_a_checksummed_address_is_taken_as_it_is(address: str) -> None:
    parsed = parse_address(address)
    assert (parsed.address, parsed.is_checksummed) == (address, True)


@pytest.mark.parametrize("address", MIXED)
def test_one_case_only_is_no_checksum_and_gets_one(address: str) -> None:
    for text in (address.lower(), "0x" + address[2:].upper()):
        parsed = parse_address(text)
        assert (parsed.address, parsed.is_checksummed) == (address, False)


def test_spaces_around_are_no_mistake() -> None:
    assert parse_address(f" {MIXED[0]}\n").address == MIXED[0]


@pytest.mark.parametrize("address", MIXED)
def test_each_letter_of_the_wrong_case_is_a_mistake(address: str) -> None:
    for place, letter in enumerate(address[2:], start=2):
        if letter.isalpha():
            with pytest.raises(BadAddressError, match="checksum"):
                parse_address(address[:place] + letter.swapcase() + address[place + 1 :])


@pytest.mark.parametrize("address", MIXED)
def test_two_neighbours_swapped_are_a_mistake(address: str) -> None:
    for place in range(2, 41):
        swapped = address[:place] + address[place + 1] + address[place] + address[place + 2 :]
        if swapped.lower() != address.lower():
            with pytest.raises(BadAddressError, match="checksum"):
                parse_address(swapped)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0x",
        "alice.eth",
        MIXED[0][2:],
        MIXED[0][:-1],
        MIXED[0] + "0",
        "0X" + MIXED[0][2:],
        MIXED[0].replace("5", "g", 1),
        MIXED[0][:20] + " " + MIXED[0][20:],
        "0x" + "٣" * 40,
        "1x" + MIXED[0][2:],
        MIXED[0] + "\x00",
    ],
)
def test_another_form_is_no_address(text: str) -> None:
    with pytest.raises(BadAddressError, match="not an Ethereum address"):
        parse_address(text)


def test_nobody_holds_the_zero_address() -> None:
    with pytest.raises(BadAddressError, match="zero address"):
        parse_address("0x" + "0" * 40)


@given(st.binary(min_size=20, max_size=20).filter(any))
def test_what_comes_out_goes_in_again(address: bytes) -> None:
    parsed = parse_address(f"0x{address.hex()}")
    assert parsed.address.lower() == f"0x{address.hex()}"
    again = parse_address(parsed.address)
    assert (again.address, again.is_checksummed) == (parsed.address, True)
