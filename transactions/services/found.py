"""Found and missing ether: book by hand what the chain has beyond the books, or lacks, and nothing else will explain.

Found is what came without a transfer that the intake finds: a contract passed it on, a block was rewarded with it, or
it came before the desk knew the address. Missing is what left without a transaction of the wallet's: a reorg deeper
than finality took it and it never came again, or code that the wallet was delegated to (EIP-7702) moved it. The chain
is asked what is there, and no more can be booked than what differs at the same block.

What is found is owed to whom the address is for. What is missing the desk bears, so what comes back of it is the
desk's.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connection
from django.db import transaction as db_transaction
from django.db.models import QuerySet, Sum

from accounts.exceptions import AlreadyPostedError, BadAmountError
from accounts.ledger import JournalDraft, post, system_account
from accounts.models import AccountKind, Entry, Journal, JournalKind, User
from accounts.money import WEI_MAX, format_ether
from accounts.services.adjustments import Adjustment
from accounts.services.audit import clean_reason, record_audit
from transactions.chain.client import Chain, get_chain
from transactions.exceptions import MoreThanFoundError, MoreThanMissingError, WalletStateError
from transactions.models import Block, Wallet
from transactions.services.compare import is_recorded, read_booked
from transactions.services.holdings import Holdings, is_behind, read_holding

AUDITED_AS = {JournalKind.FOUND: "wallet.found_booked", JournalKind.MISSING: "wallet.missing_booked"}


@dataclass(frozen=True, slots=True)
class Comparison:
    """A wallet at one block: what the chain says that it has, and what the books account for. Amounts are wei.

    `borne_in_wei` is what was booked as missing at a deposit address and has not been found again. `is_behind` says
    that the block holds transactions of the wallet's which the desk does not know, or not as mined there.
    """

    block_number: int
    on_chain_in_wei: int
    in_ledger_in_wei: int
    in_flight_in_wei: int
    borne_in_wei: int
    is_behind: bool

    @property
    def beyond_in_wei(self) -> int:
        """Return what the chain has beyond the books; below zero, what it lacks."""
        return self.on_chain_in_wei - self.in_ledger_in_wei - self.in_flight_in_wei

    @property
    def missing_in_wei(self) -> int:
        """Return what the chain lacks of what the books have; below zero, what it has beyond them."""
        return -self.beyond_in_wei


def look_at(wallet_id: int, *, chain: Chain | None = None) -> Comparison:
    """Compare a wallet with the chain, at the newest block that is final and searched for deposits.

    :raises ChainError: when no node can tell.
    :raises WalletStateError: when the books can't tell yet what is in flight, or there is no such wallet.
    """
    wallet = _get(wallet_id)
    return _compare(wallet, read_holding(chain or get_chain(), wallet))


def book_found(
    *,
    actor: User,
    wallet_id: int,
    amount_in_wei: int,
    reason: str,
    request_id: str,
    now: dt.datetime,
    chain: Chain | None = None,
) -> Adjustment:
    """Book ether that is at a wallet beyond the books: to a deposit address's account, else as the desk's funding.

    What the desk has borne at a deposit address comes first: of that the account has its credit already.

    :param request_id: the one-time id of the form or call: sent again, it books nothing a second time.
    :raises ReasonRequiredError: when no reason is given.
    :raises BadAmountError: when the amount is not within 1 and 2^256-1 wei, or the balance would not be.
    :raises AlreadyPostedError: when the request id was used for something else.
    :raises MoreThanFoundError: when there is less beyond the books.
    :raises ChainError: when no node can tell.
    :raises WalletStateError: when the books can't tell yet what is in flight, or there is no such wallet.
    """
    return _book(JournalKind.FOUND, actor, wallet_id, amount_in_wei, reason, request_id, now, chain or get_chain())


def book_missing(
    *,
    actor: User,
    wallet_id: int,
    amount_in_wei: int,
    reason: str,
    request_id: str,
    now: dt.datetime,
    chain: Chain | None = None,
) -> Adjustment:
    """Book ether that a wallet has in the books and not on the chain as the desk's loss, against external funding.

    The account of a deposit address keeps its credit.

    :param request_id: the one-time id of the form or call: sent again, it books nothing a second time.
    :raises ReasonRequiredError: when no reason is given.
    :raises BadAmountError: when the amount is not within 1 and 2^256-1 wei, or the balance would not be.
    :raises AlreadyPostedError: when the request id was used for something else.
    :raises MoreThanMissingError: when less is missing.
    :raises ChainError: when no node can tell.
    :raises WalletStateError: when the books can't tell yet what is in flight, a transaction of the wallet isn't known
        yet, or there is no such wallet.
    """
    return _book(JournalKind.MISSING, actor, wallet_id, amount_in_wei, reason, request_id, now, chain or get_chain())


def _book(
    kind: JournalKind,
    actor: User,
    wallet_id: int,
    amount_in_wei: int,
    reason: str,
    request_id: str,
    now: dt.datetime,
    chain: Chain,
) -> Adjustment:
    reason = clean_reason(reason)
    if not 0 < amount_in_wei <= WEI_MAX:
        raise BadAmountError("The amount must be from 1 to 2^256-1 wei.")
    wallet = _get(wallet_id)
    # An asset stands below zero in the ledger.
    change = -amount_in_wei if kind == JournalKind.FOUND else amount_in_wei
    done = _find_posted(kind, request_id, wallet, change)
    if done is not None:
        return done
    holdings = read_holding(chain, wallet)
    with db_transaction.atomic():
        # Who records another branch locks blocks first, too: so it sees all that was booked up to what it deletes.
        Block.objects.select_for_update(no_key=True).filter(number=holdings.block_number).first()
        # Whoever books at the same time waits here, and then finds that it is in the books already.
        wallet = Wallet.objects.select_for_update(no_key=True).get(pk=wallet.pk)
        done = _find_posted(kind, request_id, wallet, change)
        if done is not None:
            return done
        if wallet.opened_at_block > holdings.block_number:
            raise WalletStateError("Somebody has booked something at this wallet meanwhile. Look again in a minute.")
        comparison = _compare(wallet, holdings)
        _require(kind, comparison, amount_in_wei)
        opposite, words = _opposite_of(wallet, change, comparison.borne_in_wei)
        post(now=now, journals=[
            JournalDraft(kind, request_id, [*opposite, (wallet.account_id, change)], words, actor.pk)
        ])  # fmt: skip
        # Else the intake would book a plain transfer among what was found once more, should it search that block again,
        # and a node that lags would show as missing, or as found, at an older block what is in the books by now.
        Wallet.objects.filter(pk=wallet.pk, opened_at_block__lt=holdings.block_number).update(
            opened_at_block=holdings.block_number
        )
        journal = Journal.objects.get(kind=kind, source=request_id)
        details = {"amount_in_wei": str(amount_in_wei), "block": holdings.block_number, "journal": journal.pk}
        record_audit(actor=actor, action=AUDITED_AS[kind], target=wallet, reason=reason, details=details)
    return Adjustment(journal.pk, replayed=False)


def _get(wallet_id: int) -> Wallet:
    wallet = Wallet.objects.filter(pk=wallet_id).first()
    if wallet is None:
        raise WalletStateError("There is no such wallet.")
    return wallet


def _compare(wallet: Wallet, holdings: Holdings) -> Comparison:
    """Hold what the chain said against the books as they are now, whatever was settled or credited in between."""
    to_take_in = Block.objects.filter(number__lte=holdings.block_number, taken_in_at__isnull=True)
    with connection.cursor() as cursor:
        if to_take_in.exists() or not is_recorded(cursor, holdings):
            raise WalletStateError("The chain has changed meanwhile. Look again in a minute.")
        # Before and after: what the follower finds, or takes back, in between is in flight for one of them alone.
        was_behind = is_behind(holdings)
        [booked] = read_booked(cursor, holdings.block_number, wallet.pk)
    return Comparison(
        block_number=holdings.block_number,
        on_chain_in_wei=holdings.balances[wallet.address],
        in_ledger_in_wei=booked.in_ledger,
        in_flight_in_wei=booked.in_flight,
        borne_in_wei=0 if wallet.credits_id is None else _borne_at(wallet),
        is_behind=was_behind or is_behind(holdings),
    )


def _borne_at(wallet: Wallet) -> int:
    """Return what was booked as missing at an address, less what was found of it since."""
    at_wallet = Journal.objects.filter(entries__account=wallet.account_id)
    missing = Entry.objects.filter(journal__in=at_wallet.filter(kind=JournalKind.MISSING), amount_in_wei__lt=0)
    found = Entry.objects.filter(
        journal__in=at_wallet.filter(kind=JournalKind.FOUND), account__kind=AccountKind.EXTERNAL_FUNDING
    )
    return -_sum(missing) - _sum(found)


def _sum(entries: QuerySet[Entry]) -> int:
    return int(entries.aggregate(wei=Sum("amount_in_wei"))["wei"] or 0)


def _require(kind: JournalKind, comparison: Comparison, amount_in_wei: int) -> None:
    """Refuse to book more than differs, and as missing what a transaction may have moved that is yet to be settled."""
    at, wanted = f"At block {comparison.block_number}", f"not {format_ether(amount_in_wei)} ETH."
    if kind == JournalKind.FOUND:
        beyond = max(0, comparison.beyond_in_wei)
        if amount_in_wei > beyond:
            what = f"{format_ether(beyond)} ETH" if beyond else "nothing"
            raise MoreThanFoundError(
                f"{at} there is {what} beyond the books, {wanted} Look again: somebody may have booked it."
            )
        return
    if comparison.is_behind:
        raise WalletStateError(
            f"{at} the chain has transactions of this wallet that the desk does not know yet: what they moved is "
            "booked once they are told."
        )
    missing = max(0, comparison.missing_in_wei)
    if amount_in_wei > missing:
        what = f"{format_ether(missing)} ETH is" if missing else "nothing is"
        raise MoreThanMissingError(f"{at} {what} missing, {wanted} Look again: somebody may have booked it.")


def _opposite_of(wallet: Wallet, change: int, borne_in_wei: int) -> tuple[Sequence[tuple[int, int]], str]:
    """Return the other entries of the journal, and the words for it, which the owner of an account may read."""
    funding_id = system_account(AccountKind.EXTERNAL_FUNDING).pk
    if change > 0:
        return [(funding_id, -change)], "Missing on the chain, booked by staff"
    if wallet.credits_id is None:
        return [(funding_id, -change)], "Found at a hot wallet by staff"
    back = min(-change, borne_in_wei)
    entries = [(wallet.credits_id, -change - back), (funding_id, back)]
    # Why, staff wrote for each other.
    return [(account_id, wei) for account_id, wei in entries if wei], "Deposit booked by staff"


def _find_posted(kind: JournalKind, request_id: str, wallet: Wallet, change: int) -> Adjustment | None:
    """Return the journal that the same request has posted before, if it has.

    :raises AlreadyPostedError: when that was another one.
    """
    journal = Journal.objects.filter(kind=kind, source=request_id).first()
    if journal is None:
        return None
    if not journal.entries.filter(account_id=wallet.account_id, amount_in_wei=change).exists():
        raise AlreadyPostedError
    return Adjustment(journal.pk, replayed=True)
