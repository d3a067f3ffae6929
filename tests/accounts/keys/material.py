"""Keys, passphrases and words that are no secret, and what must show none of them."""

import json
from pathlib import Path
from types import TracebackType

from eth_keyfile.keyfile import create_keyfile_json

PASSPHRASE = "correct horse battery staple, ünïcödé"
KEY = bytes.fromhex("4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318")
ADDRESS = "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23"
"""The key and address of web3.js's own documentation."""
OTHER_KEY = bytes.fromhex("59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d")
OTHER_ADDRESS = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
"""The second account of anvil and hardhat."""
RECIPIENT = "0xF0109fC8DF283027b6285cc889F5aA624EaC1F55"

MNEMONIC = "letter advice cage absurd amount doctor acoustic avoid " * 2
MNEMONIC += "letter advice cage absurd amount doctor acoustic bless"
"""24 words of the BIP-39 test vectors."""


def write_cheap_keystore(
    directory: Path, *, name: str = "UTC--2024-01-01T00-00-00Z--key", key: bytes = KEY, **changes: object
) -> Path:
    """Write a keystore file that opens in a millisecond: with PBKDF2 of one round."""
    directory.mkdir(exist_ok=True)
    content = create_keyfile_json(key, PASSPHRASE.encode(), kdf="pbkdf2", iterations=1)
    path = directory / name
    path.write_text(json.dumps(content | changes))
    return path


def every_local(trace: TracebackType | None) -> str:
    """Return the locals of every frame that an error report could print."""
    shown = ""
    while trace is not None:
        if "/tests/" not in trace.tb_frame.f_code.co_filename:
            shown += repr(trace.tb_frame.f_locals)
        trace = trace.tb_next
    return shown
