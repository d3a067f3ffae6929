"""What the ledger says of a transaction that is final: one journal for each way it can end."""

from collections.abc import Mapping
from dataclasses import dataclass

from accounts.ledger import JournalDraft
from accounts.models import AccountKind, JournalKind
from transactions.states import FailureReason, Kind, Purpose


@dataclass(frozen=True, slots=True)
class Settled:
    """A transaction in a block that is final. Amounts are wei.

    `purpose` is that of the attempt which the block holds, and `strangers_value_in_wei` what it moved if we did not
    sign it.
    """

    id: int
    kind: str
    purpose: str
    reversals: int
    account_id: int
    wallet_account_id: int
    amount_in_wei: int
    fee_total_in_wei: int
    fee_blockchain_in_wei: int
    strangers_value_in_wei: int
    succeeded: bool

    @property
    def source(self) -> str:
        """Return what its hold and its settlement are known by; see `Transaction.ledger_source`."""
        return self.rounds[-1]

    @property
    def rounds(self) -> list[str]:
        """Return what its holds and settlements are known by, one for each time that it was followed."""
        return rounds_of(self.id, self.reversals)

    @property
    def is_paid(self) -> bool:
        """Say whether this is a payment, and the recipient has it."""
        return self.kind == Kind.PAYMENT and self.purpose == Purpose.PAYMENT and self.succeeded

    @property
    def failure_reason(self) -> str:
        """Return why it failed, or nothing; what is nobody's payment is done when it is mined."""
        moves_money = self.kind in (Kind.PAYMENT, Kind.SWEEP)
        if self.succeeded and (self.purpose == Purpose.PAYMENT or not moves_money):
            return ""
        if not moves_money:
            return FailureReason.REVERTED.value
        if self.purpose == Purpose.CANCEL:
            return FailureReason.CANCELLED.value
        return FailureReason.DISPLACED.value if self.purpose == Purpose.STRANGER else FailureReason.REVERTED.value


def rounds_of(row_id: int, reversals: int) -> list[str]:
    """Return what a transaction's holds and settlements are known by, one for each time that it was followed."""
    return [str(row_id), *(f"{row_id}.{number}" for number in range(1, reversals + 1))]


OPPOSITE = (AccountKind.FEE_INCOME, AccountKind.NETWORK_FEES, AccountKind.EXTERNAL_FUNDING)
"""The desk's own accounts that settlements touch."""


def settlement_of(row: Settled, own_accounts: Mapping[AccountKind, int]) -> JournalDraft | None:
    """Return the journal that settles a transaction; nothing where no wei has moved.

    :param own_accounts: the ids of the `OPPOSITE` accounts.
    """
    if row.is_paid:
        return _journal_of_success(row, own_accounts[AccountKind.FEE_INCOME])
    fee = row.fee_blockchain_in_wei
    if row.kind == Kind.SWEEP and row.purpose == Purpose.PAYMENT and row.succeeded:
        return _journal_of_sweep(row, own_accounts)
    if row.purpose == Purpose.STRANGER:
        moved = fee + (row.strangers_value_in_wei if row.succeeded else 0)
        return _journal(row, moved, own_accounts[AccountKind.EXTERNAL_FUNDING], "Wallet used by another program")
    words = "Payment reverted: network fee" if row.purpose == Purpose.PAYMENT else "Nonce used up: network fee"
    return _journal(row, fee, own_accounts[AccountKind.NETWORK_FEES], words)


def _journal_of_success(row: Settled, fee_income_id: int) -> JournalDraft:
    """Amount and total fee leave the user; amount and network fee left the wallet; the rest is fee income."""
    income = row.fee_total_in_wei - row.fee_blockchain_in_wei
    entries = [
        (row.account_id, -(row.amount_in_wei + row.fee_total_in_wei)),
        (row.wallet_account_id, row.amount_in_wei + row.fee_blockchain_in_wei),
    ]
    if income:
        entries.append((fee_income_id, income))
    return JournalDraft(JournalKind.SETTLEMENT, row.source, entries, "Payment successful")


def _journal_of_sweep(row: Settled, own_accounts: Mapping[AccountKind, int]) -> JournalDraft:
    """What left is external until the wallet that it came to is credited, as by any other transfer; the fee is spent.

    So what comes to a wallet is booked in one way alone, whoever sent it, and by whatever database knew of it.
    """
    fee = row.fee_blockchain_in_wei
    entries = [
        (row.wallet_account_id, row.amount_in_wei + fee),
        (own_accounts[AccountKind.EXTERNAL_FUNDING], -row.amount_in_wei),
        *([(own_accounts[AccountKind.NETWORK_FEES], -fee)] if fee else []),
    ]
    return JournalDraft(JournalKind.SETTLEMENT, row.source, entries, "Moved to another wallet")


def _journal(row: Settled, moved_in_wei: int, opposite_id: int, description: str) -> JournalDraft | None:
    """Return the journal of what left the wallet without being a payment: ours to bear, not the user's."""
    if not moved_in_wei:
        return None
    entries = [(row.wallet_account_id, moved_in_wei), (opposite_id, -moved_in_wei)]
    return JournalDraft(JournalKind.SETTLEMENT, row.source, entries, description)
