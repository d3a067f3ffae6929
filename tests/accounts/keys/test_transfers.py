"""The bytes of transfers equal eth_account's, whoever signs them."""

import pytest
import rlp  # type: ignore[import-untyped]
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from accounts.keys import LocalSigner, Signer, UnsignableTransferError, UnsignedTransfer, sign_transfers
from accounts.keys.signer import CURVE_ORDER
from accounts.money import WEI_MAX
from tests.accounts.keys.material import KEY, RECIPIENT

words = st.one_of(st.sampled_from([0, 1, 127, 128, 255, 256, WEI_MAX]), st.integers(0, WEI_MAX))
nonces = st.one_of(st.sampled_from([0, 1, 127, 128, 2**64 - 2]), st.integers(0, 2**64 - 2))
gas_limits = st.one_of(st.sampled_from([0, 21_000, 2**64 - 1]), st.integers(0, 2**64 - 1))
keys = st.one_of(st.sampled_from([1, CURVE_ORDER - 1]), st.integers(1, CURVE_ORDER - 1))
recipients = st.one_of(st.just(bytes(20)), st.just(b"\xff" * 20), st.binary(min_size=20, max_size=20))


def unsigned(**fields: int | str) -> UnsignedTransfer:
    defaults: dict[str, int | str] = {
        "chain_id": 1,
        "nonce": 0,
        "to_address": RECIPIENT,
        "value_in_wei": 10**18,
        "gas_limit": 21_000,
        "max_fee_per_gas_in_wei": 3 * 10**9,
        "max_priority_fee_per_gas_in_wei": 10**9,
    }
    return UnsignedTransfer(**(defaults | fields))  # type: ignore[arg-type]


@given(key=keys, chain_id=words, nonce=nonces, recipient=recipients, value=words, gas=gas_limits, fee=words, tip=words)
def test_bytes_and_hashes_are_those_of_eth_account(
    key: int, chain_id: int, nonce: int, recipient: bytes, value: int, gas: int, fee: int, tip: int
) -> None:
    private_key = key.to_bytes(32, "big")
    signer = LocalSigner(private_key)
    transfer = UnsignedTransfer(chain_id, nonce, "0x" + recipient.hex(), value, gas, fee, tip)
    [signed] = sign_transfers(signer, [transfer])
    account = Account.from_key(private_key)
    theirs = account.sign_transaction(
        {
            "type": 2,
            "chainId": chain_id,
            "nonce": nonce,
            "to": recipient,
            "value": value,
            "gas": gas,
            "maxFeePerGas": fee,
            "maxPriorityFeePerGas": tip,
        }
    )
    assert signed.raw == theirs.raw_transaction
    assert signed.hash == theirs.hash.to_0x_hex()
    assert signer.address == account.address
    assert Account.recover_transaction(signed.raw) == signer.address


@given(nonces)
def test_signatures_have_a_low_s(nonce: int) -> None:
    [signed] = sign_transfers(LocalSigner(KEY), [unsigned(nonce=nonce)])
    assert 0 < int.from_bytes(rlp.decode(signed.raw[1:])[-1], "big") <= CURVE_ORDER // 2


def test_many_are_signed_in_order() -> None:
    signer: Signer = LocalSigner(KEY)
    together = sign_transfers(signer, [unsigned(nonce=nonce) for nonce in range(5)])
    assert together == [sign_transfers(signer, [unsigned(nonce=nonce)])[0] for nonce in range(5)]
    assert sign_transfers(signer, []) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"value_in_wei": -1},
        {"value_in_wei": WEI_MAX + 1},
        {"nonce": -1},
        {"nonce": 2**64 - 1},
        {"gas_limit": 2**64},
        {"chain_id": -1},
        {"max_fee_per_gas_in_wei": 2**256},
        {"max_priority_fee_per_gas_in_wei": -1},
        {"to_address": ""},
        {"to_address": "0x"},
        {"to_address": RECIPIENT[:-2]},
        {"to_address": RECIPIENT + "00"},
        {"to_address": "0x" + "zz" * 20},
        {"to_address": "vitalik.eth"},
    ],
)
def test_a_transfer_out_of_range_stops_the_whole_batch(fields: dict[str, int | str]) -> None:
    with pytest.raises(UnsignableTransferError):
        sign_transfers(LocalSigner(KEY), [unsigned(), unsigned(**fields)])
