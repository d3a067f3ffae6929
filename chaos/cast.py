"""Who takes part: users with tokens and funded accounts, hot wallets, and recipients of all kinds."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

ETHER = 10**18
RICH_FUNDS_IN_WEI = 10_000 * ETHER
"""More than an account can spend in a day of rain: it may never be told that its funds are insufficient."""
WALLET_FUNDS_IN_WEI = 1_000_000 * ETHER
CLIENTS = 4
ACCOUNTS_EACH = 3
WALLETS = 2

POOR_PAYMENTS = 12
"""How many payments the poor account can make, all of the same amount, before its funds are insufficient."""
POOR_AMOUNT_IN_WEI = 10**15

SWEEP_EVERY_SECONDS = 5
SWEEP_MIN_IN_WEI = 10**15

# Recipients with code, put there as the chain begins (EVM opcodes, yellow paper appendix H).
REVERTS = f"0x{0xC4A051:040x}"
"""Reverts always: the node says so when asked for the gas, and nothing is sent."""
REVERTS_AT_TIMES = f"0x{0xC4A052:040x}"
"""Reverts in blocks with odd numbers: what was estimated in one block may revert in the next."""
COSTS_MORE = f"0x{0xC4A053:040x}"
"""Stores its number of calls: more gas than a plain transfer has."""

CODE = {
    REVERTS: "0x60006000fd",  # PUSH1 0 PUSH1 0 REVERT
    # NUMBER PUSH1 1 AND PUSH1 8 JUMPI STOP JUMPDEST PUSH1 0 PUSH1 0 REVERT
    REVERTS_AT_TIMES: "0x43600116600857005b60006000fd",
    COSTS_MORE: "0x60005460010160005500",  # PUSH1 0 SLOAD PUSH1 1 ADD PUSH1 0 SSTORE STOP
}


@dataclass(frozen=True)
class Payer:
    """A user's program: its token and the accounts that it pays from."""

    name: str
    token: str
    account_ids: list[int]


@dataclass(frozen=True)
class Cast:
    """All who take part, as `chaos.prepare` has made them."""

    payers: list[Payer]
    poor: Payer
    probe: Payer
    wallets: list[str]
    funds_in_wei: dict[int, int]
    """What each user's account began with, by its id."""
    deposit_addresses: dict[int, str]
    """The address that each account has to be paid in to, by its id; the poor account has none."""

    @property
    def addresses(self) -> list[str]:
        """The addresses whose keys the desk has."""
        return [*self.wallets, *self.deposit_addresses.values()]

    def write(self, path: Path) -> None:
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> "Cast":
        data = json.loads(path.read_text())
        return cls(
            payers=[Payer(**payer) for payer in data["payers"]],
            poor=Payer(**data["poor"]),
            probe=Payer(**data["probe"]),
            wallets=data["wallets"],
            funds_in_wei={int(account_id): funds for account_id, funds in data["funds_in_wei"].items()},
            deposit_addresses={int(account_id): address for account_id, address in data["deposit_addresses"].items()},
        )


def recipient(number: int) -> str:
    """Return an address that nobody else is paid at, away from the precompiled contracts at the lowest ones."""
    return f"0x{0xC4A05 << 140 | number:040x}"
