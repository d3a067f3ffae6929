"""Prove the reserves: the books in one snapshot, and each wallet in the ledger against the chain at one block."""

from dataclasses import dataclass, field

from django.db import connection
from django.db.backends.utils import CursorWrapper

from accounts.services.verify import OnProgress, Report, read_snapshot
from transactions.chain.client import Chain, get_chain
from transactions.chain.exceptions import ChainError
from transactions.models import Wallet
from transactions.models.reserves import NOT_COMPARED_LENGTH_MAX
from transactions.services.compare import compare_wallets, is_recorded, measure_owed
from transactions.services.holdings import Holdings, read_holdings
from transactions.services.verify import books_to_go, check_books_of

BOOKS_ONLY = "Only the books were asked for."
BLOCK_GONE = "The chain changed while it was compared."


@dataclass(slots=True)
class Proof:
    """What a check of books and wallets went through and found.

    Without `holdings` the chain was not compared, and `not_compared` says why. `in_flight` is, by address, what the
    chain has more than the ledger says, in wei.
    """

    report: Report = field(default_factory=Report)
    holdings: Holdings | None = None
    not_compared: str = ""
    owed_in_wei: int = 0
    in_flight: dict[str, int] = field(default_factory=dict)

    @property
    def is_clean(self) -> bool:
        """Say whether books and chain were compared and nothing differs."""
        return self.report.is_clean and self.holdings is not None


def prove_reserves(
    *,
    chain: Chain | None = None,
    with_chain: bool = True,
    block_number: int | None = None,
    on_total: OnProgress = lambda _steps: None,
    on_progress: OnProgress = lambda _steps: None,
) -> Proof:
    """Check the books, and compare each wallet with the chain; a node that can't be asked leaves the books to check.

    :param block_number: to compare at an older block than the newest that is final and searched for deposits.
    :param on_total: told once how many wallets and ids there are to go through.
    :param on_progress: told how many were gone through since the last time.
    :raises BlockNotComparableError: when `block_number` is of the future, or of a block that isn't recorded any more.
    """
    with connection.cursor() as cursor:
        on_total(books_to_go(cursor) + (Wallet.objects.count() if with_chain else 0))
    proof = Proof(not_compared="" if with_chain else BOOKS_ONLY)
    if with_chain:
        try:
            proof.holdings = read_holdings(chain or get_chain(), block_number=block_number, on_progress=on_progress)
        except ChainError as error:
            proof.not_compared = _cleaned(str(error))
    # What the chain holds at a block stays so, whatever is booked meanwhile: the snapshot may be a later one.
    with read_snapshot() as cursor:
        _compare(cursor, proof)
        check_books_of(cursor, proof.report, on_progress)
    return proof


def _compare(cursor: CursorWrapper, proof: Proof) -> None:
    proof.owed_in_wei = measure_owed(cursor)
    if proof.holdings is None:
        return
    if not is_recorded(cursor, proof.holdings):
        proof.holdings, proof.not_compared = None, BLOCK_GONE
        return
    proof.in_flight = compare_wallets(cursor, proof.report, proof.holdings)


def _cleaned(text: str) -> str:
    """Return words of a node, whatever they are, as a column takes them."""
    return text.replace("\0", "").encode(errors="replace").decode()[:NOT_COMPARED_LENGTH_MAX]
