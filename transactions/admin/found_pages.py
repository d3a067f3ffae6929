"""The pages that book what the chain has beyond the books, or lacks: what is there, how much of it, and why."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone

from accounts.admin.asking import ask
from accounts.admin.base import staff_user
from accounts.admin.forms import AdjustmentForm
from accounts.exceptions import AccountsError
from accounts.models import AccountKind, Entry
from accounts.money import format_ether
from accounts.services.adjustments import Adjustment
from transactions.chain.client import chain_for_pages
from transactions.chain.exceptions import ChainError
from transactions.exceptions import TransactionsError
from transactions.models import Wallet
from transactions.services.found import Comparison, book_found, book_missing, look_at

if TYPE_CHECKING:
    from transactions.admin.wallets import WalletAdmin


class Sign(NamedTuple):
    """What sets the two pages apart."""

    name: str
    book: Callable[..., Adjustment]
    verb: str
    done: str
    too_much: str

    def of(self, comparison: Comparison) -> int:
        """Return how much there is to book, in wei; zero or less: nothing."""
        return comparison.beyond_in_wei if self is FOUND else comparison.missing_in_wei

    def may_book(self, comparison: Comparison) -> bool:
        return self.of(comparison) > 0 and (self is FOUND or not comparison.is_behind)


FOUND = Sign("found", book_found, "Book", "Booked", "There isn't that much beyond the books.")
MISSING = Sign("missing", book_missing, "Write off", "Written off", "Not that much is missing.")


def book(model_admin: "WalletAdmin", request: HttpRequest, wallet_id: int, sign: Sign) -> HttpResponse:
    """Show what differs, ask how much of it is to be booked and why, and do it when that is confirmed."""
    if not model_admin.has_book_permission(request):
        raise PermissionDenied
    wallet = Wallet.objects.select_related("credits__owner").filter(pk=wallet_id).first()
    if wallet is None:
        raise Http404
    back = reverse("admin:transactions_wallet_change", args=[wallet.pk])
    form = AdjustmentForm(request.POST or None)
    is_valid = request.method == "POST" and form.is_valid()
    try:
        if is_valid and "confirm" in request.POST and _book(model_admin, request, wallet, form, sign):
            return HttpResponseRedirect(back)
        comparison = look_at(wallet.pk, chain=chain_for_pages())
    except (TransactionsError, ChainError) as error:
        model_admin.message_user(request, str(error), messages.WARNING)
        return HttpResponseRedirect(back)
    if request.method != "POST":
        form.initial["amount"] = format_ether(max(0, sign.of(comparison)))
    elif is_valid and not form.errors and form.cleaned_data["amount_in_wei"] > sign.of(comparison):
        form.add_error("amount", sign.too_much)
    is_review = is_valid and not form.errors and "change" not in request.POST
    context: dict[str, Any] = {
        "title": f"Book ether {sign.name} at {wallet}",
        "verb": sign.verb,
        "for_whom": _for_whom(wallet, comparison, form.cleaned_data["amount_in_wei"], sign) if is_review else "",
        "wallet": wallet,
        "comparison": comparison,
        "rows": _tell(comparison),
        "differs_in_wei": sign.of(comparison),
        "may_book": sign.may_book(comparison) or form.errors or is_review,
        "is_review": is_review,
        "back": back,
    }
    return ask(model_admin, request, form, template=f"admin/transactions/wallet/{sign.name}.html", **context)


def _tell(comparison: Comparison) -> list[tuple[str, int]]:
    return [
        (f"On the chain, at block {comparison.block_number}", comparison.on_chain_in_wei),
        ("By the ledger", comparison.in_ledger_in_wei),
        ("In flight", comparison.in_flight_in_wei),
    ]


def _book(model_admin: "WalletAdmin", request: HttpRequest, wallet: Wallet, form: AdjustmentForm, sign: Sign) -> bool:
    """Book what differs; on a refusal say why in the form.

    :raises ChainError: when no node can tell.
    """
    amount = form.cleaned_data["amount_in_wei"]
    try:
        booked = sign.book(
            actor=staff_user(request),
            wallet_id=wallet.pk,
            amount_in_wei=amount,
            reason=form.cleaned_data["reason"],
            request_id=str(form.cleaned_data["request_id"]),
            now=timezone.now(),
            chain=chain_for_pages(),
        )
    except (AccountsError, TransactionsError) as error:
        form.add_error(None, str(error))
        return False
    whom = f" for {_credited_by(booked)}" if sign is FOUND else ""
    done = f"{sign.done} {format_ether(amount)} ETH{whom}: {wallet}."
    if booked.replayed:
        done = f"This was done before, by the same form: {done} Nothing was booked a second time."
    model_admin.message_user(request, done, messages.INFO if booked.replayed else messages.SUCCESS)
    return True


def _for_whom(wallet: Wallet, comparison: Comparison, amount_in_wei: int, sign: Sign) -> str:
    """Return who is about to get what was found; of what is missing, nobody."""
    if sign is MISSING:
        return ""
    back = amount_in_wei if wallet.credits is None else min(amount_in_wei, comparison.borne_in_wei)
    return _in_words([("the desk", back), (str(wallet.credits), amount_in_wei - back)])


def _credited_by(booked: Adjustment) -> str:
    """Return who got what was found."""
    entries = Entry.objects.filter(journal=booked.journal_id, amount_in_wei__gt=0).select_related("account")
    return _in_words(
        [
            (str(entry.account) if entry.account.kind == AccountKind.USER else "the desk", entry.amount_in_wei)
            for entry in entries.order_by("account__kind", "pk")
        ]
    )


def _in_words(shares: Sequence[tuple[str, int]]) -> str:
    shares = [(who, wei) for who, wei in shares if wei]
    if len(shares) == 1:
        return shares[0][0]
    return " and ".join(f"{who} ({format_ether(wei)} ETH)" for who, wei in shares)
