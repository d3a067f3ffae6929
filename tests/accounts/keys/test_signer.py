"""Whoever signs: keys show nowhere, and a service that knows only r and s is all that it takes."""

import copy
import pickle
from collections.abc import Sequence

import coincurve
import pytest
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from accounts.keys import BadSignatureError, LocalSigner, Signer, complete_signature, sign_message, sign_transfers
from accounts.keys.deposits import CHAIN_OF_ADDRESSES
from accounts.keys.environment import EnvironmentSource
from accounts.keys.hd import master_node
from accounts.keys.keystore import KeystoreSource
from accounts.keys.signer import CURVE_ORDER, recover_address
from tests.accounts.keys.material import ADDRESS, KEY, OTHER_ADDRESS
from tests.accounts.keys.test_transfers import unsigned

DIGEST = bytes(range(32))
SECRETS = {
    "signer": LocalSigner(KEY),
    "node": master_node(KEY).descend(*CHAIN_OF_ADDRESSES),
    "keystore": KeystoreSource(),
    "environment": EnvironmentSource(),
}
digests = st.binary(min_size=32, max_size=32)


def test_a_signer_shows_its_address_only() -> None:
    signer = LocalSigner(KEY)
    shown = f"{signer!r} {signer!s} {signer} {[signer]!r} {signer._key!r} {signer.sign_digests!r}"
    assert repr(signer) == f"<LocalSigner {ADDRESS}>"
    assert KEY.hex() not in shown
    assert str(int.from_bytes(KEY, "big")) not in shown
    assert repr(KEY) not in shown
    assert not hasattr(signer, "__dict__")


@pytest.mark.parametrize("name", SECRETS)
def test_what_holds_keys_can_not_be_pickled_or_copied(name: str) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="private key"):
            pickle.dumps(SECRETS[name], protocol)
    for copier in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="private key"):
            copier(SECRETS[name])


@given(digests)
def test_signatures_are_those_of_eth_account(digest: bytes) -> None:
    (signature,) = LocalSigner(KEY).sign_digests([digest])
    theirs = Account.unsafe_sign_hash(digest, KEY)
    assert signature == theirs.signature[:64] + bytes([theirs.v - 27])
    assert recover_address(digest, signature) == ADDRESS


# --- A key management service -----------------------------------------------------------------------------------------
class ServiceSigner:
    """A signer as one for a service is written: it gets r and s of a digest, of which s may be the high one."""

    address = ADDRESS

    def __init__(self, *, gives_high_s: bool = False) -> None:
        self._key = coincurve.PrivateKey(KEY)
        self._gives_high_s = gives_high_s

    def sign_digests(self, digests: Sequence[bytes]) -> list[bytes]:
        return [self._sign(digest) for digest in digests]

    def _sign(self, digest: bytes) -> bytes:
        signature = self._key.sign_recoverable(digest, hasher=None)
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
        if self._gives_high_s:
            s = CURVE_ORDER - s
        return complete_signature(digest=digest, r=r, s=s, address=self.address)


@pytest.mark.parametrize("gives_high_s", [False, True])
def test_a_service_gives_the_same_bytes_as_a_key_in_memory(gives_high_s: bool) -> None:
    service: Signer = ServiceSigner(gives_high_s=gives_high_s)
    transfers = [unsigned(nonce=nonce) for nonce in range(20)]
    assert sign_transfers(service, transfers) == sign_transfers(LocalSigner(KEY), transfers)
    assert sign_message(service, "hello") == sign_message(LocalSigner(KEY), "hello")


def rs_of(digest: bytes) -> tuple[int, int]:
    (signature,) = LocalSigner(KEY).sign_digests([digest])
    return int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")


def test_a_signature_of_another_key_or_digest_is_refused() -> None:
    r, s = rs_of(DIGEST)
    with pytest.raises(BadSignatureError, match=OTHER_ADDRESS):
        complete_signature(digest=DIGEST, r=r, s=s, address=OTHER_ADDRESS)
    with pytest.raises(BadSignatureError, match=ADDRESS):
        complete_signature(digest=bytes(32), r=r, s=s, address=ADDRESS)


@pytest.mark.parametrize(("r", "s"), [(0, 1), (1, 0), (CURVE_ORDER, 1), (1, CURVE_ORDER), (-1, 1), (1, 2**300)])
def test_numbers_out_of_range_are_no_signature(r: int, s: int) -> None:
    with pytest.raises(BadSignatureError):
        complete_signature(digest=DIGEST, r=r, s=s, address=ADDRESS)


@pytest.mark.parametrize("signature", [b"", bytes(64), bytes(65), bytes(66), b"\xff" * 65, b"\1" * 64 + b"\2"])
def test_what_is_no_signature_is_nobodys(signature: bytes) -> None:
    with pytest.raises(BadSignatureError):
        recover_address(DIGEST, signature)
