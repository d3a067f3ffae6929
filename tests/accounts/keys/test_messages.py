"""Signed messages are what other wallets sign and check (EIP-191)."""

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from hypothesis import given
from hypothesis import strategies as st

from accounts.keys import BadSignatureError, LocalSigner, recover_message, sign_message
from tests.accounts.keys.material import ADDRESS, KEY

texts = st.one_of(st.sampled_from(["", "a", "€" * 40, "line\nbreak", "0x1234"]), st.text())


@given(texts)
def test_signatures_are_those_of_eth_account_both_ways(text: str) -> None:
    ours = sign_message(LocalSigner(KEY), text)
    assert ours == Account.sign_message(encode_defunct(text=text), KEY).signature.to_0x_hex()
    assert Account.recover_message(encode_defunct(text=text), signature=ours) == ADDRESS
    assert recover_message(text, ours) == ADDRESS
    assert recover_message(text, ours.removeprefix("0x")) == ADDRESS


def test_the_length_is_that_of_the_bytes() -> None:
    """A signature that every wallet gives for these words with this key."""
    assert sign_message(LocalSigner(KEY), "Some data") == (
        "0xb91467e570a6466aa9e9876cbcd013baba02900b8979d43fe208a4a4f339f5fd"
        "6007e74cd82e037b800186422fc2da167c747ef045e5d18a5f5d4300f8e1a0291c"
    )


def test_other_words_lead_to_another_address() -> None:
    assert recover_message("Pay Bob.", sign_message(LocalSigner(KEY), "Pay Eve.")) != ADDRESS


@pytest.mark.parametrize(
    "signature", ["", "0x", "0xzz", "0x" + "00" * 65, "0x" + "ff" * 65, "0x" + "01" * 64, "0x" + "01" * 66, "ü"]
)
def test_what_is_no_signature_is_refused(signature: str) -> None:
    with pytest.raises(BadSignatureError):
        recover_message("text", signature)
