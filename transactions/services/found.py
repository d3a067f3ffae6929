"""Found ether: book what came to an address of the desk's without a transfer that the intake finds.

A contract passed it on, a block was rewarded with it, or it came before the desk knew the address. The chain is asked
what is there; what the books can't account for at the same block may be booked, to whom the address belongs.
"""

import datetime as dt
from dataclasses import dataclass

from django.db import connection
from django.db import transaction as db_transaction

from accounts.exceptions import AlreadyPostedError, BadAmountError
from accounts.ledger import JournalDraft, post, system_account
from accounts.models import AccountKind, Journal, JournalKind, User
from accounts.money import WEI_MAX, format_ether
from accounts.services.adjustments import Adjustment
from accounts.services.audit import clean_reason, record_audit
from transactions.chain.client import Chain, get_chain
from transactions.exceptions import MoreThanFoundError, WalletStateError
from transactions.models import Block, Wallet
from transactions.services.compare import is_recorded, read_booked
from transactions.services.holdings import Holdings, read_holding


@dataclass(frozen=True, slots=True)
class Comparison:
    """A wallet at one block: what the chain says that it has, and what the books account for. Amounts are wei."""

    block_number: int
    on_chain_in_wei: int
    in_ledger_in_wei: int
    in_flight_in_wei: int

    @property
    def beyond_in_wei(self) -> int:
        """Return what the chain has beyond the books; below zero, what it lacks."""
        return self.on_chain_in_wei - self.in_ledger_in_wei - self.in_flight_in_wei


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

    :param request_id: the one-time id of the form or call: sent again, it books nothing a second time.
    :raises ReasonRequiredError: when no reason is given.
    :raises BadAmountError: when the amount is not within 1 and 2^256-1 wei, or the balance would not be.
    :raises AlreadyPostedError: when the request id was used for something else.
    :raises MoreThanFoundError: when there is less beyond the books.
    :raises ChainError: when no node can tell.
    :raises WalletStateError: when the books can't tell yet what is in flight, or there is no such wallet.
    """
    reason = clean_reason(reason)
    if not 0 < amount_in_wei <= WEI_MAX:
        raise BadAmountError("The amount must be from 1 to 2^256-1 wei.")
    wallet = _get(wallet_id)
    draft = _journal_of(wallet, amount_in_wei, request_id, actor)
    done = _find_posted(draft)
    if done is not None:
        return done
    holdings = read_holding(chain or get_chain(), wallet)
    with db_transaction.atomic():
        # Who records another branch locks blocks first, too: so it sees all that was booked up to what it deletes.
        Block.objects.select_for_update(no_key=True).filter(number=holdings.block_number).first()
        # Whoever books at the same time waits here, and then finds that it is in the books already.
        Wallet.objects.select_for_update(no_key=True).get(pk=wallet.pk)
        done = _find_posted(draft)
        if done is not None:
            return done
        _require_found(_compare(wallet, holdings), amount_in_wei)
        post(now=now, journals=[draft])
        # Else the intake would book a plain transfer among it once more, should it search that block again.
        Wallet.objects.filter(pk=wallet.pk, opened_at_block__lt=holdings.block_number).update(
            opened_at_block=holdings.block_number
        )
        journal = Journal.objects.get(kind=draft.kind, source=draft.source)
        details = {"amount_in_wei": str(amount_in_wei), "block": holdings.block_number, "journal": journal.pk}
        record_audit(actor=actor, action="wallet.found_booked", target=wallet, reason=reason, details=details)
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
        [booked] = read_booked(cursor, holdings.block_number, wallet.pk)
    return Comparison(holdings.block_number, holdings.balances[wallet.address], booked.in_ledger, booked.in_flight)


def _require_found(comparison: Comparison, amount_in_wei: int) -> None:
    beyond = max(0, comparison.beyond_in_wei)
    if amount_in_wei > beyond:
        what = f"{format_ether(beyond)} ETH" if beyond else "nothing"
        raise MoreThanFoundError(
            f"At block {comparison.block_number} there is {what} beyond the books, not {format_ether(amount_in_wei)} "
            "ETH. Look again: somebody may have booked it."
        )


def _journal_of(wallet: Wallet, amount_in_wei: int, request_id: str, actor: User) -> JournalDraft:
    """What is found at a deposit address is owed to its account; what is found at a hot wallet is the desk's own."""
    if wallet.credits_id is not None:
        # Its owner reads this; why, staff wrote for each other.
        opposite_id, words = wallet.credits_id, "Deposit booked by staff"
    else:
        opposite_id, words = system_account(AccountKind.EXTERNAL_FUNDING).pk, "Found at a hot wallet by staff"
    entries = [(opposite_id, amount_in_wei), (wallet.account_id, -amount_in_wei)]
    return JournalDraft(JournalKind.FOUND, request_id, entries, words, actor.pk)


def _find_posted(draft: JournalDraft) -> Adjustment | None:
    """Return the journal that the same request has posted before, if it has.

    :raises AlreadyPostedError: when that was another one.
    """
    journal = Journal.objects.filter(kind=draft.kind, source=draft.source).first()
    if journal is None:
        return None
    if set(journal.entries.values_list("account_id", "amount_in_wei")) != set(draft.entries):
        raise AlreadyPostedError
    return Adjustment(journal.pk, replayed=True)
