"""Signatures equal eth_account's, and keys show nowhere but in their encrypted files."""

import copy
import json
import logging
import pickle
import stat
import traceback
from pathlib import Path
from types import TracebackType

import pytest
import rlp  # type: ignore[import-untyped]
from eth_account import Account
from eth_keyfile.keyfile import create_keyfile_json
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from accounts.exceptions import AccountsError
from accounts.keys import (
    KeyFileError,
    KeyNotFoundError,
    KeyPassphraseError,
    KeystoreSigner,
    Signer,
    UnsignableTransferError,
    UnsignedTransfer,
    create_keystore,
    forget_signers,
    list_keystores,
    load_signer,
    open_keystore,
)
from accounts.money import WEI_MAX

CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
PASSPHRASE = "correct horse battery staple, ünïcödé"
KEY = bytes.fromhex("4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318")
ADDRESS = "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23"
"""The key and address of web3.js's own documentation."""
RECIPIENT = "0xF0109fC8DF283027b6285cc889F5aA624EaC1F55"

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
    signer = KeystoreSigner(private_key)
    [signed] = signer.sign(
        [UnsignedTransfer(chain_id, nonce, "0x" + recipient.hex(), value, gas, fee, tip)],
    )
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
    [signed] = KeystoreSigner(KEY).sign([unsigned(nonce=nonce)])
    assert 0 < int.from_bytes(rlp.decode(signed.raw[1:])[-1], "big") <= CURVE_ORDER // 2


def test_many_are_signed_in_order() -> None:
    signer: Signer = KeystoreSigner(KEY)
    together = signer.sign([unsigned(nonce=nonce) for nonce in range(5)])
    assert together == [signer.sign([unsigned(nonce=nonce)])[0] for nonce in range(5)]
    assert signer.sign([]) == []


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
        KeystoreSigner(KEY).sign([unsigned(), unsigned(**fields)])


# Where a key must not show.


def test_a_signer_shows_its_address_only() -> None:
    signer = KeystoreSigner(KEY)
    shown = f"{signer!r} {signer!s} {signer} {[signer]!r} {signer._key!r} {signer.sign.__self__!r}"  # type: ignore[attr-defined]
    assert repr(signer) == f"<KeystoreSigner {ADDRESS}>"
    assert KEY.hex() not in shown
    assert str(int.from_bytes(KEY, "big")) not in shown
    assert repr(KEY) not in shown
    assert not hasattr(signer, "__dict__")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_signer_can_not_be_pickled(protocol: int) -> None:
    with pytest.raises(TypeError, match="private key"):
        pickle.dumps(KeystoreSigner(KEY), protocol)


def test_a_signer_can_not_be_copied() -> None:
    signer = KeystoreSigner(KEY)
    for copier in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="private key"):
            copier(signer)


def every_local(trace: TracebackType | None) -> str:
    """Return the locals of every frame that an error report could print."""
    shown = ""
    while trace is not None:
        if "/tests/" not in trace.tb_frame.f_code.co_filename:
            shown += repr(trace.tb_frame.f_locals)
        trace = trace.tb_next
    return shown


def test_a_wrong_passphrase_tells_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    path, wrong = write_cheap_keystore(tmp_path), PASSPHRASE[::-1]
    with pytest.raises(KeyPassphraseError) as caught:
        open_keystore(path, wrong)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + caplog.text
    for secret in (KEY.hex(), wrong, PASSPHRASE):
        assert secret not in shown
    assert repr(KEY) not in every_local(caught.tb)
    assert caught.value.__context__ is None
    assert isinstance(caught.value, AccountsError)
    assert caught.value.code == "key_passphrase"


# Files.


def write_cheap_keystore(directory: Path, *, name: str = "UTC--2024-01-01T00-00-00Z--key", **changes: object) -> Path:
    """Write a keystore file that opens in a millisecond: with PBKDF2 of one round."""
    directory.mkdir(exist_ok=True)
    content = create_keyfile_json(KEY, PASSPHRASE.encode(), kdf="pbkdf2", iterations=1)
    path = directory / name
    path.write_text(json.dumps(content | changes))
    return path


def test_a_new_keystore_is_encrypted_and_its_owners_only(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "keystore"
    address = create_keystore(directory, PASSPHRASE)
    [path] = directory.iterdir()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert path.name.startswith("UTC--20")
    assert path.name.endswith(f"--{address[2:].lower()}")
    content = json.loads(path.read_text())
    assert content["version"] == 3
    assert content["crypto"]["kdf"] == "scrypt"
    assert content["crypto"]["kdfparams"]["n"] == 2**18
    # Any other wallet software can open it, and finds the key of the address that was handed out.
    assert Account.from_key(Account.decrypt(content, PASSPHRASE)).address == address
    assert list_keystores(directory) == [address]


def test_a_keystore_needs_a_passphrase(tmp_path: Path) -> None:
    with pytest.raises(KeyPassphraseError):
        create_keystore(tmp_path, "")
    assert list(tmp_path.iterdir()) == []


def test_a_keystore_that_cannot_be_opened_again_is_not_handed_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = create_keyfile_json(KEY, PASSPHRASE.encode(), kdf="pbkdf2", iterations=1)
    monkeypatch.setattr("accounts.keys.keystore.create_keyfile_json", lambda *args, **kwargs: other)
    with pytest.raises(KeyFileError, match="does not hold the key"):
        create_keystore(tmp_path, PASSPHRASE)


def test_only_keystore_files_are_listed(tmp_path: Path) -> None:
    directory = tmp_path / "keystore"
    assert list_keystores(directory) == []
    write_cheap_keystore(directory, name="b-newer")
    write_cheap_keystore(directory, name="a-other", address="f0109fc8df283027b6285cc889f5aa624eac1f55")
    write_cheap_keystore(directory, name="v4", version=4)
    write_cheap_keystore(directory, name="nameless", address="")
    (directory / "README").write_text("not JSON")
    (directory / "list.json").write_text("[]")
    (directory / "binary").write_bytes(b"\xff\xfe")
    (directory / "folder").mkdir()
    assert list_keystores(directory) == [RECIPIENT, ADDRESS]
    assert list_keystores(str(directory)) == [RECIPIENT, ADDRESS]


def test_a_file_without_an_address_goes_by_its_name(tmp_path: Path) -> None:
    write_cheap_keystore(tmp_path, name=f"UTC--2024-01-01T00-00-00Z--{ADDRESS[2:].lower()}", address="")
    assert list_keystores(tmp_path) == [ADDRESS]


@pytest.fixture
def keystore(tmp_path: Path, settings: Settings) -> Path:
    settings.KEYSTORE_DIR = tmp_path
    settings.KEYSTORE_PASSPHRASE = PASSPHRASE
    forget_signers()
    return write_cheap_keystore(tmp_path)


def test_a_signer_is_decrypted_once_per_process(keystore: Path) -> None:
    signer = load_signer(ADDRESS)
    assert signer.address == ADDRESS
    keystore.unlink()
    assert load_signer(ADDRESS) is signer
    forget_signers()
    with pytest.raises(KeyNotFoundError):
        load_signer(ADDRESS)


def test_an_address_without_a_file(keystore: Path) -> None:
    with pytest.raises(KeyNotFoundError, match=RECIPIENT):
        load_signer(RECIPIENT)


def test_a_wrong_passphrase_is_not_remembered(keystore: Path, settings: Settings) -> None:
    settings.KEYSTORE_PASSPHRASE = "wrong"
    with pytest.raises(KeyPassphraseError):
        load_signer(ADDRESS)
    settings.KEYSTORE_PASSPHRASE = PASSPHRASE
    assert load_signer(ADDRESS).address == ADDRESS


def test_a_file_with_the_key_of_another_address_is_refused(keystore: Path) -> None:
    write_cheap_keystore(keystore.parent, name="z", address=RECIPIENT[2:])
    with pytest.raises(KeyFileError, match="its key is another"):
        load_signer(RECIPIENT)


@pytest.mark.parametrize("crypto", [{}, {"kdf": "rot13"}, None, "text"])
def test_a_broken_file_is_refused(keystore: Path, crypto: object) -> None:
    path = write_cheap_keystore(keystore.parent, crypto=crypto)
    with pytest.raises(KeyFileError, match=path.name):
        load_signer(ADDRESS)
