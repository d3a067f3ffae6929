"""The auditor: what must hold of the books at any time, computed here anew and not by the desk's own checks."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from accounts.models import Account, AccountKind, Entry, Hold, HoldStatus, Journal, JournalKind
from tests.fakes.chain import FakeChain
from transactions.models import Attempt, Deposit, PassedNonce, Transaction, Wallet
from transactions.states import DepositStatus, FailureReason, Kind, Purpose, Stage, Status

HOLD_STATUS_BY_STATUS = {
    Status.PENDING: HoldStatus.HELD,
    Status.SUCCESSFUL: HoldStatus.SETTLED,
    Status.FAILED: HoldStatus.RELEASED,
}


FAILURE_BY_PURPOSE = {
    Purpose.PAYMENT: FailureReason.REVERTED,
    Purpose.CANCEL: FailureReason.CANCELLED,
    Purpose.STRANGER: FailureReason.DISPLACED,
}


def assert_books_balance(chain: FakeChain | None = None) -> None:
    """Check every balance, journal, hold and payment; with a chain, also that the wallets hold what the ledger says."""
    _check_accounts()
    _check_journals()
    _check_payments()
    _check_deposits()
    _check_losses()
    if chain is not None:
        _check_wallets(chain)


def _check_accounts() -> None:
    """Each balance is the sum of its entries, available is current less what is held, and all together are zero."""
    running: defaultdict[int, int] = defaultdict(int)
    for account_id, amount, balance_after in Entry.objects.order_by("id").values_list(
        "account_id", "amount_in_wei", "balance_after_in_wei"
    ):
        running[account_id] += amount
        assert balance_after == running[account_id], f"account {account_id}: balance after an entry"
    held: defaultdict[int, int] = defaultdict(int)
    for account_id, amount in Hold.objects.filter(status=HoldStatus.HELD).values_list("account_id", "amount_in_wei"):
        held[account_id] += amount
    for account in Account.objects.all():
        assert account.current_balance_in_wei == running[account.pk], f"{account}: current balance"
        assert account.available_balance_in_wei == running[account.pk] - held[account.pk], f"{account}: available"
        if account.kind == AccountKind.USER:
            assert 0 <= account.available_balance_in_wei <= account.current_balance_in_wei
    assert sum(running.values()) == 0, "all accounts together"


def _check_journals() -> None:
    """Each journal has at least two entries, none of them zero, that sum to zero."""
    amounts: defaultdict[int, list[int]] = defaultdict(list)
    for journal_id, amount in Entry.objects.values_list("journal_id", "amount_in_wei"):
        amounts[journal_id].append(amount)
    assert set(amounts) == set(Journal.objects.values_list("pk", flat=True)), "journals without entries"
    for journal_id, of_journal in amounts.items():
        assert len(of_journal) >= 2, f"journal {journal_id}"
        assert 0 not in of_journal, f"journal {journal_id}"
        assert sum(of_journal) == 0, f"journal {journal_id}"


def _check_payments() -> None:
    """Each payment has its hold, in the state that its own demands, and the settlement that it must have or none."""
    holds = {hold.source: hold for hold in Hold.objects.filter(kind="payment")}
    settlements: defaultdict[str, dict[int, int]] = defaultdict(dict)
    for source, account_id, amount in Entry.objects.filter(journal__kind=JournalKind.SETTLEMENT).values_list(
        "journal__source", "account_id", "amount_in_wei"
    ):
        settlements[source][account_id] = amount
    rows = list(Transaction.objects.select_related("wallet"))
    rounds = {source for row in rows for source in _rounds(row)}
    assert set(holds) == {source for row in rows if row.kind == Kind.PAYMENT for source in _rounds(row)}, "holds"
    assert set(settlements) <= rounds, "settlements without a payment"
    _check_reversals(rows, settlements)
    for row in rows:
        settlement = settlements.get(row.ledger_source)
        assert (settlement or {}) == _expected_settlement(row), f"{row}: settlement"
        if row.kind != Kind.PAYMENT:
            continue
        hold = holds[row.ledger_source]
        assert hold.status == HOLD_STATUS_BY_STATUS[Status(row.status)], f"{row}: hold of a {row.status} payment"
        assert (hold.account_id, hold.amount_in_wei) == (row.user_account_id, row.total_in_wei), f"{row}: hold"


def _rounds(row: Transaction) -> list[str]:
    """Return what a row's holds and settlements are known by, one for each time that it was followed."""
    return [f"{row.pk}.{number}" if number else str(row.pk) for number in range(row.reversals + 1)]


def _check_reversals(rows: Sequence[Transaction], settlements: Mapping[str, dict[int, int]]) -> None:
    """Each settlement of a round that a reorg has undone is taken back to the wei, and no other is."""
    undone: defaultdict[str, dict[int, int]] = defaultdict(dict)
    for source, account_id, amount in Entry.objects.filter(journal__kind=JournalKind.REVERSAL).values_list(
        "journal__source", "account_id", "amount_in_wei"
    ):
        undone[source][account_id] = -amount
    past = [source for row in rows for source in _rounds(row)[:-1] if source in settlements]
    assert dict(undone) == {source: settlements[source] for source in past}, "reversals"


def _expected_settlement(row: Transaction) -> dict[int, int]:
    """Return the entries that a payment's settlement must have, by account id."""
    if row.stage != Stage.SETTLED or row.wallet is None or row.nonce is None:
        return {}
    if row.failure_reason == FailureReason.DISPLACED and row.block_number is None:
        assert PassedNonce.objects.filter(wallet=row.wallet, nonce=row.nonce).exists(), f"{row}: given up without it"
        return {}
    burned = row.transaction_fee_blockchain_in_wei
    assert burned is not None, f"{row}: settled without its network fee"
    attempt = Attempt.objects.get(hash=row.transaction_hash)
    moved = attempt.value_in_wei if attempt.value_in_wei and row.succeeded_on_chain else 0
    if row.kind == Kind.SWEEP and row.status == Status.SUCCESSFUL:
        assert attempt.purpose == Purpose.PAYMENT, f"{row}: moved by an attempt that moves nothing"
        entries = {
            row.wallet.account_id: row.transaction_amount_in_wei + burned,
            Account.objects.get(kind=AccountKind.EXTERNAL_FUNDING).pk: -row.transaction_amount_in_wei,
            Account.objects.get(kind=AccountKind.NETWORK_FEES).pk: -burned,
        }
    elif row.kind == Kind.PAYMENT and row.status == Status.SUCCESSFUL:
        assert attempt.purpose == Purpose.PAYMENT, f"{row}: paid by an attempt that pays nobody"
        income = Account.objects.get(kind=AccountKind.FEE_INCOME).pk
        entries = {
            row.user_account_id: -row.total_in_wei,
            row.wallet.account_id: row.transaction_amount_in_wei + burned,
            income: row.transaction_fee_total_in_wei - burned,
        }
    else:
        strangers = attempt.purpose == Purpose.STRANGER
        kind = AccountKind.EXTERNAL_FUNDING if strangers else AccountKind.NETWORK_FEES
        opposite = Account.objects.get(kind=kind).pk
        entries = {row.wallet.account_id: burned + moved, opposite: -burned - moved}
        if row.kind == Kind.PAYMENT:
            assert row.failure_reason == FAILURE_BY_PURPOSE[Purpose(attempt.purpose)], f"{row}: failure reason"
    return {account_id: amount for account_id, amount in entries.items() if amount}


def _check_deposits() -> None:
    """Each deposit has a journal for each time that it was credited, undone for each time that it was taken back."""
    kinds = [JournalKind.DEPOSIT, JournalKind.WALLET_FUNDING, JournalKind.DEPOSIT_REVERSAL]
    posted: defaultdict[tuple[str, str], dict[int, int]] = defaultdict(dict)
    for kind, source, account_id, amount in Entry.objects.filter(
        journal__kind__in=kinds, journal__source__startswith="0x"
    ).values_list("journal__kind", "journal__source", "account_id", "amount_in_wei"):
        posted[kind, source][account_id] = amount
    expected: dict[tuple[str, str], dict[int, int]] = {}
    funding = Account.objects.filter(kind=AccountKind.EXTERNAL_FUNDING).values_list("pk", flat=True).first()
    for row in Deposit.objects.select_related("wallet"):
        opposite = row.wallet.credits_id or funding
        assert opposite is not None
        kind = JournalKind.DEPOSIT if row.wallet.credits_id else JournalKind.WALLET_FUNDING
        undone = row.credits - (row.status == DepositStatus.CREDITED)
        for number in range(1, row.credits + 1):
            source = Deposit.source_of(row.transaction_hash, number)
            expected[kind, source] = {opposite: row.amount_in_wei, row.wallet.account_id: -row.amount_in_wei}
            if number <= undone:
                back = {opposite: -row.amount_in_wei, row.wallet.account_id: row.amount_in_wei}
                expected[JournalKind.DEPOSIT_REVERSAL, source] = back
    assert dict(posted) == expected, "journals of deposits"


def _check_losses() -> None:
    """Nothing is lost by a payment that failed or a deposit that is credited, and nothing recovered beyond a loss."""
    lost: defaultdict[str, int] = defaultdict(int)
    for source, amount in Entry.objects.filter(
        journal__kind__in=[JournalKind.LOSS, JournalKind.RECOVERY], account__kind=AccountKind.LOSSES
    ).values_list("journal__source", "amount_in_wei"):
        lost[source] -= amount
    assert min(lost.values(), default=0) >= 0, "recovered without a loss"
    for payment in Transaction.objects.filter(kind=Kind.PAYMENT, status=Status.FAILED):
        assert sum(lost[source] for source in _rounds(payment)) == 0, f"{payment}: failed with a loss"
    for deposit in Deposit.objects.filter(status=DepositStatus.CREDITED):
        sources = [Deposit.source_of(deposit.transaction_hash, number) for number in range(1, deposit.credits + 1)]
        assert sum(lost[source] for source in sources) == 0, f"{deposit}: credited with a loss"


def _check_wallets(chain: FakeChain) -> None:
    """Compare each wallet's ledger account with the chain to the wei, where nothing of it is in flight."""
    for wallet in Wallet.objects.select_related("account"):
        in_flight = Transaction.objects.filter(wallet=wallet).exclude(stage=Stage.SETTLED)
        coming = Deposit.objects.filter(wallet=wallet, status=DepositStatus.WAITING)
        if not in_flight.exists() and not coming.exists():
            balance = chain.balances([wallet.address], block_number=None)[wallet.address]
            assert -wallet.account.current_balance_in_wei == balance, f"wallet {wallet}: ledger and chain"
