"""The ledger against itself, against what was paid, and against the chain; all computed anew."""

from collections import defaultdict
from collections.abc import Iterator

from chaos.evidence import Evidence

_HOLD_BY_STATUS = {"SUCCESSFUL": "settled", "FAILED": "released", "PENDING": "held"}


def balances_equal_entries(evidence: Evidence) -> Iterator[str]:
    """Each balance is the sum of its entries, each entry goes on from the one before; available is less the holds."""
    posted: defaultdict[int, int] = defaultdict(int)
    for entry in evidence.rows.entries:
        posted[entry.account_id] += entry.amount_in_wei
        if posted[entry.account_id] != entry.balance_after_in_wei:
            yield (
                f"entry #{entry.id} leaves account #{entry.account_id} at {entry.balance_after_in_wei} wei; "
                f"its entries so far come to {posted[entry.account_id]}"
            )
    held: defaultdict[int, int] = defaultdict(int)
    for hold in evidence.rows.holds:
        held[hold.account_id] += hold.amount_in_wei if hold.status == "held" else 0
    for account in evidence.rows.accounts:
        expected = posted[account.id], posted[account.id] - held[account.id]
        found = account.current_balance_in_wei, account.available_balance_in_wei
        if found != expected:
            yield f"account #{account.id} has (current, available) {found} wei; entries and holds say {expected}"
        if account.kind == "user" and account.available_balance_in_wei < 0:
            yield f"account #{account.id} is overdrawn: {account.available_balance_in_wei} wei available"


def journals_sum_to_zero(evidence: Evidence) -> Iterator[str]:
    """Each business event moves money and makes none."""
    totals: defaultdict[int, int] = defaultdict(int)
    for entry in evidence.rows.entries:
        totals[entry.journal_id] += entry.amount_in_wei
    for journal_id, total in totals.items():
        if total:
            yield f"journal #{journal_id} sums to {total} wei"


def holds_are_resolved(evidence: Evidence) -> Iterator[str]:
    """Each payment has one hold, for amount and fee, settled or given back as its status says."""
    holds = {hold.source: hold for hold in evidence.rows.holds if hold.kind == "payment"}
    for payment in evidence.rows.payments:
        hold = holds.pop(str(payment.id), None)
        total = payment.transaction_amount_in_wei + payment.transaction_fee_total_in_wei
        expected = (payment.user_account_id, total, _HOLD_BY_STATUS[payment.status])
        found = None if hold is None else (hold.account_id, hold.amount_in_wei, hold.status)
        if found != expected:
            yield f"payment #{payment.id} is {payment.status}; its hold is {found}, not {expected}"
    for source in holds:
        yield f"a hold belongs to payment #{source}, which is not there"


def accounts_have_paid_what_was_paid(evidence: Evidence) -> Iterator[str]:
    """A user's account has what it began with less amount and fee of what was paid: what failed costs nothing."""
    left = dict(evidence.cast.funds_in_wei)
    for payment in evidence.rows.payments:
        if payment.status == "SUCCESSFUL":
            left[payment.user_account_id] -= payment.transaction_amount_in_wei + payment.transaction_fee_total_in_wei
    found = {account.id: account.current_balance_in_wei for account in evidence.rows.accounts}
    for account_id, expected in left.items():
        if found.get(account_id) != expected:
            yield f"account #{account_id} has {found.get(account_id)} wei; after its payments it should have {expected}"


def wallets_hold_what_the_ledger_says(evidence: Evidence) -> Iterator[str]:
    """The ledger equals the chain to the wei: a wallet has there what its account says (an asset: below zero)."""
    balances = {account.id: account.current_balance_in_wei for account in evidence.rows.accounts}
    for wallet in evidence.rows.wallets:
        on_chain = evidence.chain.balances_in_wei[wallet.address.lower()]
        if on_chain != -balances[wallet.account_id]:
            yield (
                f"wallet {wallet.address} has {on_chain} wei on the chain and {-balances[wallet.account_id]} in the "
                f"ledger: {on_chain + balances[wallet.account_id]:+d}"
            )


def the_desk_finds_nothing(evidence: Evidence) -> Iterator[str]:
    """The desk's own check of its books is clean."""
    yield from evidence.books
