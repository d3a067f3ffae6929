"""Derivation equals the test vectors of BIP-32 itself, eth_account's, and its own public half."""

import pytest
from eth_account.hdaccount import key_from_seed
from hypothesis import given
from hypothesis import strategies as st

from accounts.keys import LocalSigner
from accounts.keys.exceptions import BadExtendedKeyError, UnderivableKeyError
from accounts.keys.hd import HARDENED, PrivateNode, _base58check, _from_base58check, master_node, parse_xpub
from accounts.keys.signer import address_of

H = HARDENED
XPRV_VERSION = bytes.fromhex("0488ade4")

# BIP-32, test vectors 1 to 4: seed, path, extended public and private key.
SEED_1 = "000102030405060708090a0b0c0d0e0f"
SEED_2 = (
    "fffcf9f6f3f0edeae7e4e1dedbd8d5d2cfccc9c6c3c0bdbab7b4b1aeaba8a5a2"
    "9f9c999693908d8a8784817e7b7875726f6c696663605d5a5754514e4b484542"
)
SEED_3 = (
    "4b381541583be4423346c643850da4b320e46a87ae3d2a4e6da11eba819cd4ac"
    "ba45d239319ac14f863b8d5ab5a0d0c64d2e8a1e7d1457df2e5a3c51c73235be"
)
SEED_4 = "3ddd5602285899a946114506157c7997e5444528f3003f6134712147db19b678"
VECTORS: list[tuple[str, tuple[int, ...], str, str]] = [
    (
        SEED_1,
        (),
        "xpub661MyMwAqRbcFtXgS5sYJABqqG9YLmC4Q1Rdap9gSE8NqtwybGhePY2gZ29ESFjqJoCu1Rupje8YtGqsefD265TMg7usUDFdp6W1EGMcet8",
        "xprv9s21ZrQH143K3QTDL4LXw2F7HEK3wJUD2nW2nRk4stbPy6cq3jPPqjiChkVvvNKmPGJxWUtg6LnF5kejMRNNU3TGtRBeJgk33yuGBxrMPHi",
    ),
    (
        SEED_1,
        (H,),
        "xpub68Gmy5EdvgibQVfPdqkBBCHxA5htiqg55crXYuXoQRKfDBFA1WEjWgP6LHhwBZeNK1VTsfTFUHCdrfp1bgwQ9xv5ski8PX9rL2dZXvgGDnw",
        "xprv9uHRZZhk6KAJC1avXpDAp4MDc3sQKNxDiPvvkX8Br5ngLNv1TxvUxt4cV1rGL5hj6KCesnDYUhd7oWgT11eZG7XnxHrnYeSvkzY7d2bhkJ7",
    ),
    (
        SEED_1,
        (H, 1),
        "xpub6ASuArnXKPbfEwhqN6e3mwBcDTgzisQN1wXN9BJcM47sSikHjJf3UFHKkNAWbWMiGj7Wf5uMash7SyYq527Hqck2AxYysAA7xmALppuCkwQ",
        "xprv9wTYmMFdV23N2TdNG573QoEsfRrWKQgWeibmLntzniatZvR9BmLnvSxqu53Kw1UmYPxLgboyZQaXwTCg8MSY3H2EU4pWcQDnRnrVA1xe8fs",
    ),
    (
        SEED_1,
        (H, 1, H + 2),
        "xpub6D4BDPcP2GT577Vvch3R8wDkScZWzQzMMUm3PWbmWvVJrZwQY4VUNgqFJPMM3No2dFDFGTsxxpG5uJh7n7epu4trkrX7x7DogT5Uv6fcLW5",
        "xprv9z4pot5VBttmtdRTWfWQmoH1taj2axGVzFqSb8C9xaxKymcFzXBDptWmT7FwuEzG3ryjH4ktypQSAewRiNMjANTtpgP4mLTj34bhnZX7UiM",
    ),
    (
        SEED_1,
        (H, 1, H + 2, 2, 1_000_000_000),
        "xpub6H1LXWLaKsWFhvm6RVpEL9P4KfRZSW7abD2ttkWP3SSQvnyA8FSVqNTEcYFgJS2UaFcxupHiYkro49S8yGasTvXEYBVPamhGW6cFJodrTHy",
        "xprvA41z7zogVVwxVSgdKUHDy1SKmdb533PjDz7J6N6mV6uS3ze1ai8FHa8kmHScGpWmj4WggLyQjgPie1rFSruoUihUZREPSL39UNdE3BBDu76",
    ),
    (
        SEED_2,
        (0,),
        "xpub69H7F5d8KSRgmmdJg2KhpAK8SR3DjMwAdkxj3ZuxV27CprR9LgpeyGmXUbC6wb7ERfvrnKZjXoUmmDznezpbZb7ap6r1D3tgFxHmwMkQTPH",
        "xprv9vHkqa6EV4sPZHYqZznhT2NPtPCjKuDKGY38FBWLvgaDx45zo9WQRUT3dKYnjwih2yJD9mkrocEZXo1ex8G81dwSM1fwqWpWkeS3v86pgKt",
    ),
    (
        SEED_2,
        (0, H + 2_147_483_647),
        "xpub6ASAVgeehLbnwdqV6UKMHVzgqAG8Gr6riv3Fxxpj8ksbH9ebxaEyBLZ85ySDhKiLDBrQSARLq1uNRts8RuJiHjaDMBU4Zn9h8LZNnBC5y4a",
        "xprv9wSp6B7kry3Vj9m1zSnLvN3xH8RdsPP1Mh7fAaR7aRLcQMKTR2vidYEeEg2mUCTAwCd6vnxVrcjfy2kRgVsFawNzmjuHc2YmYRmagcEPdU9",
    ),
    (
        SEED_2,
        (0, H + 2_147_483_647, 1, H + 2_147_483_646, 2),
        "xpub6FnCn6nSzZAw5Tw7cgR9bi15UV96gLZhjDstkXXxvCLsUXBGXPdSnLFbdpq8p9HmGsApME5hQTZ3emM2rnY5agb9rXpVGyy3bdW6EEgAtqt",
        "xprvA2nrNbFZABcdryreWet9Ea4LvTJcGsqrMzxHx98MMrotbir7yrKCEXw7nadnHM8Dq38EGfSh6dqA9QWTyefMLEcBYJUuekgW4BYPJcr9E7j",
    ),
    (
        # Vectors 3 and 4: zeros that a private key begins with are kept.
        SEED_3,
        (H,),
        "xpub68NZiKmJWnxxS6aaHmn81bvJeTESw724CRDs6HbuccFQN9Ku14VQrADWgqbhhTHBaohPX4CjNLf9fq9MYo6oDaPPLPxSb7gwQN3ih19Zm4Y",
        "xprv9uPDJpEQgRQfDcW7BkF7eTya6RPxXeJCqCJGHuCJ4GiRVLzkTXBAJMu2qaMWPrS7AANYqdq6vcBcBUdJCVVFceUvJFjaPdGZ2y9WACViL4L",
    ),
    (
        SEED_4,
        (H,),
        "xpub69AUMk3qDBi3uW1sXgjCmVjJ2G6WQoYSnNHyzkmdCHEhSZ4tBok37xfFEqHd2AddP56Tqp4o56AePAgCjYdvpW2PU2jbUPFKsav5ut6Ch1m",
        "xprv9vB7xEWwNp9kh1wQRfCCQMnZUEG21LpbR9NPCNN1dwhiZkjjeGRnaALmPXCX7SgjFTiCTT6bXes17boXtjq3xLpcDjzEuGLQBM5ohqkao9G",
    ),
    (
        SEED_4,
        (H, H + 1),
        "xpub6BJA1jSqiukeaesWfxe6sNK9CCGaujFFSJLomWHprUL9DePQ4JDkM5d88n49sMGJxrhpjazuXYWdMf17C9T5XnxkopaeS7jGk1GyyVziaMt",
        "xprv9xJocDuwtYCMNAo3Zw76WENQeAS6WGXQ55RCy7tDJ8oALr4FWkuVoHJeHVAcAqiZLE7Je3vZJHxspZdFHfnBEjHqU5hG1Jaj32dVoS6XLT1",
    ),
]
XPUB = VECTORS[1][2]

seeds = st.binary(min_size=16, max_size=64)
numbers = st.one_of(st.sampled_from([0, 1, 2**31 - 1]), st.integers(0, 2**31 - 1))


def xprv_of(node: PrivateNode) -> str:
    at = node.public().position
    place = bytes([at.depth]) + at.parent_fingerprint + at.number.to_bytes(4, "big")
    return _base58check(XPRV_VERSION + place + node.public().chain_code + b"\0" + node.private_key)


@pytest.mark.parametrize(("seed", "path", "xpub", "xprv"), VECTORS)
def test_the_vectors_of_bip_32(seed: str, path: tuple[int, ...], xpub: str, xprv: str) -> None:
    node = master_node(bytes.fromhex(seed)).descend(*path)
    assert node.public().xpub() == xpub
    assert xprv_of(node) == xprv


@pytest.mark.parametrize(
    ("parent", "number", "child"),
    [(VECTORS[1][2], 1, VECTORS[2][2]), (VECTORS[3][2], 2, None), (VECTORS[5][2], 0, None)],
)
def test_the_public_half_alone_derives_the_same(parent: str, number: int, child: str | None) -> None:
    derived = parse_xpub(parent).child(number).xpub()
    assert child in (None, derived)
    (vector,) = (vector for vector in VECTORS if vector[2] == parent)
    assert derived == master_node(bytes.fromhex(vector[0])).descend(*vector[1], number).public().xpub()


@given(seed=seeds, number=numbers)
def test_private_keys_are_those_of_eth_account(seed: bytes, number: int) -> None:
    node = master_node(seed).descend(H + 44, H + 60, H, 0)
    assert node.child(number).private_key == key_from_seed(seed, f"m/44'/60'/0'/0/{number}")


@given(seed=seeds, number=numbers)
def test_public_and_private_derivation_meet(seed: bytes, number: int) -> None:
    node = master_node(seed).descend(H + 44, H + 60, H, 0)
    public = parse_xpub(node.public().xpub())
    assert address_of(public.child(number).key) == LocalSigner(node.child(number).private_key).address


@pytest.mark.parametrize("number", [-1, H, 2**32])
def test_without_the_private_key_there_are_no_hardened_children(number: int) -> None:
    with pytest.raises(UnderivableKeyError):
        parse_xpub(XPUB).child(number)


@pytest.mark.parametrize("number", [-1, 2**32])
def test_children_have_32_bits(number: int) -> None:
    with pytest.raises(UnderivableKeyError):
        master_node(bytes.fromhex(SEED_1)).child(number)


DATA = _from_base58check(XPUB)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "xpub",
        XPUB[:-1],
        XPUB[:-1] + "x",
        XPUB + "1",
        XPUB.replace("y", "0"),
        VECTORS[1][3],
        "1" * 10_000,
        # A private key under the public version (BIP-32, test vector 5).
        "xpub661MyMwAqRbcEYS8w7XLSVeEsBXy79zSzH1J8vCdxAZningWLdN3zgtU6LBpB85b3D2yc8sfvZU521AAwdZafEz7mnzBBsz4wKY5fTtTQBm",
        _base58check(DATA + b"\0"),
        _base58check(DATA[:-1]),
        # What test vector 5 breaks further: the key's first byte, a point off the curve, a root with a parent.
        _base58check(DATA[:45] + b"\x04" + DATA[46:]),
        _base58check(DATA[:45] + b"\x01" + DATA[46:]),
        _base58check(DATA[:46] + bytes(31) + b"\x07"),
        _base58check(DATA[:4] + b"\0" + DATA[5:]),
    ],
)
def test_what_is_no_extended_public_key_is_refused(text: str) -> None:
    with pytest.raises(BadExtendedKeyError):
        parse_xpub(text)


def test_a_node_shows_no_key() -> None:
    node = master_node(bytes.fromhex(SEED_1))
    assert repr(node) == "<PrivateNode at depth 0>"
    assert not hasattr(node, "__dict__")
