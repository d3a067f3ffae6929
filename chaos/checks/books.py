"""The ledger against itself, against what was paid, and against the chain; all computed anew."""

from collections import defaultdict
from collections.abc import Iterator

from chaos.evidence import Evidence
from chaos.rows import Hold

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
    """Each payment has a hold for amount and fee, settled or given back as its status says.

    A deep reorg that undid a settlement has begun another round, with a hold of its own: 17, 17.1, 17.2 …
    """
    rounds: defaultdict[int, dict[int, Hold]] = defaultdict(dict)
    for hold in evidence.rows.holds:
        if hold.kind == "payment":
            source, _, number = hold.source.partition(".")
            rounds[int(source)][int(number or 0)] = hold
    for payment in evidence.rows.payments:
        of_payment = rounds.pop(payment.id, {})
        if sorted(of_payment) != list(range(len(of_payment))):
            yield f"payment #{payment.id} has holds of the rounds {sorted(of_payment)}"
        newest = of_payment.pop(max(of_payment, default=0), None)
        total = payment.transaction_amount_in_wei + payment.transaction_fee_total_in_wei
        expected = (payment.user_account_id, total, _HOLD_BY_STATUS[payment.status])
        found = None if newest is None else (newest.account_id, newest.amount_in_wei, newest.status)
        if found != expected:
            yield f"payment #{payment.id} is {payment.status}; its hold is {found}, not {expected}"
        if any(hold.status == "held" for hold in of_payment.values()):
            yield f"payment #{payment.id} has a hold of a round that is over"
    for payment_id in rounds:
        yield f"a hold belongs to payment #{payment_id}, which is not there"


def accounts_have_paid_what_was_paid(evidence: Evidence) -> Iterator[str]:
    """A user's account has what it began with and what came for it, less amount and fee of what was paid."""
    left = dict(evidence.cast.funds_in_wei)
    owner = {address.lower(): account_id for account_id, address in evidence.cast.deposit_addresses.items()}
    for each in evidence.came():
        if each.to_address in owner:
            left[owner[each.to_address]] += each.value_in_wei
    for payment in evidence.rows.payments:
        if payment.status == "SUCCESSFUL":
            left[payment.user_account_id] -= payment.transaction_amount_in_wei + payment.transaction_fee_total_in_wei
    found = {account.id: account.current_balance_in_wei for account in evidence.rows.accounts}
    for account_id, expected in left.items():
        if found.get(account_id) != expected:
            yield f"account #{account_id} has {found.get(account_id)} wei; by what came and was paid it is {expected}"


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
