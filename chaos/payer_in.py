"""Somebody outside who pays in: ether comes to deposit addresses, and now and then to a hot wallet.

What was sent may be lost with the mempool or taken back with its block, and nobody sends it again: the chain at the end
says what came.
"""

import http.client
import threading
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from random import Random
from time import sleep

from chaos.cast import ETHER, Cast
from txnsite.stack.anvil import Anvil, AnvilError

PAUSE_SECONDS = 0.7
_FUNDING_SHARE = 0.1
_AMOUNT_STEP_IN_WEI = 10**13
_STEPS_MAX = 1_000
LAST_AMOUNT_IN_WEI = 10 * ETHER
_LAST_TRIES = 60
_LAST_PAUSE_SECONDS = 1.0
# Whatever the base fee has jumped to, the next block takes it.
_FEES = {"maxFeePerGas": hex(100 * 10**9), "maxPriorityFeePerGas": hex(10**9)}


class PayerIn(threading.Thread):
    """Sends from the accounts whose keys the node itself has, and lets it choose the nonces.

    :param pays_last: at the end every deposit address is paid once more, much: a deep reorg may have taken back a
        deposit that was being swept, and then the sweep waits for other ether to come.
    """

    def __init__(self, cast: Cast, anvil: Anvil, rng: Random, *, pays_last: bool) -> None:
        super().__init__(name="payer-in", daemon=True)
        self._addresses: Sequence[str] = list(cast.deposit_addresses.values())
        self._wallets = cast.wallets
        self._anvil = anvil
        self._rng = rng
        self._pays_last = pays_last
        self._over = threading.Event()
        self._numbers = count(1)

    def run(self) -> None:
        senders = self._anvil.accounts()
        while not self._over.wait(self._rng.uniform(0, 2 * PAUSE_SECONDS)):
            to_wallet = self._rng.random() < _FUNDING_SHARE
            to_address = self._rng.choice(self._wallets if to_wallet else self._addresses)
            steps = self._rng.randrange(1, _STEPS_MAX)
            self._send(self._rng.choice(senders), to_address, steps * _AMOUNT_STEP_IN_WEI)
        if self._pays_last:
            self._pay_all(senders[0])

    def finish(self) -> None:
        """Pay nothing more; the node works by now."""
        self._over.set()

    def _pay_all(self, sender: str) -> None:
        for address in self._addresses:
            for _ in range(_LAST_TRIES):
                if self._send(sender, address, LAST_AMOUNT_IN_WEI):
                    break
                sleep(_LAST_PAUSE_SECONDS)

    def _send(self, sender: str, to_address: str, amount_in_wei: int) -> bool:
        """Send an amount that no other transfer has, and say whether the node has taken it."""
        unique = amount_in_wei + next(self._numbers)
        with suppress(OSError, http.client.HTTPException, ValueError, AnvilError):
            self._anvil.rpc(
                "eth_sendTransaction",
                {"from": sender, "to": to_address, "value": hex(unique), "gas": "0x5208", **_FEES},
            )
            return True
        return False
