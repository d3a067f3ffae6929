"""The page that books ether which is at a wallet beyond the books: what is there, how much of it, and why."""

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone

from accounts.admin.asking import ask
from accounts.admin.base import staff_user
from accounts.admin.forms import AdjustmentForm
from accounts.exceptions import AccountsError
from accounts.money import format_ether
from transactions.chain.client import chain_for_pages
from transactions.chain.exceptions import ChainError
from transactions.exceptions import TransactionsError
from transactions.models import Wallet
from transactions.services.found import Comparison, book_found, look_at

if TYPE_CHECKING:
    from transactions.admin.wallets import WalletAdmin


def book(model_admin: "WalletAdmin", request: HttpRequest, wallet_id: int) -> HttpResponse:
    """Show what is beyond the books, ask how much of it is to be booked and why, and do it when that is confirmed."""
    if not model_admin.has_book_permission(request):
        raise PermissionDenied
    wallet = Wallet.objects.select_related("credits__owner").filter(pk=wallet_id).first()
    if wallet is None:
        raise Http404
    back = reverse("admin:transactions_wallet_change", args=[wallet.pk])
    form = AdjustmentForm(request.POST or None)
    is_valid = request.method == "POST" and form.is_valid()
    try:
        if is_valid and "confirm" in request.POST and _book(model_admin, request, wallet, form):
            return HttpResponseRedirect(back)
        comparison = look_at(wallet.pk, chain=chain_for_pages())
    except (TransactionsError, ChainError) as error:
        model_admin.message_user(request, str(error), messages.WARNING)
        return HttpResponseRedirect(back)
    if request.method != "POST":
        form.initial["amount"] = format_ether(max(0, comparison.beyond_in_wei))
    elif is_valid and not form.errors and form.cleaned_data["amount_in_wei"] > comparison.beyond_in_wei:
        form.add_error("amount", "There isn't that much beyond the books.")
    context: dict[str, Any] = {
        "title": f"Book ether found at {wallet}",
        "verb": "Book",
        "for_whom": wallet.credits or "the desk",
        "wallet": wallet,
        "comparison": comparison,
        "rows": _tell(comparison),
        "is_review": is_valid and not form.errors and "change" not in request.POST,
        "back": back,
    }
    return ask(model_admin, request, form, template="admin/transactions/wallet/found.html", **context)


def _tell(comparison: Comparison) -> list[tuple[str, int]]:
    return [
        (f"On the chain, at block {comparison.block_number}", comparison.on_chain_in_wei),
        ("By the ledger", comparison.in_ledger_in_wei),
        ("In flight", comparison.in_flight_in_wei),
    ]


def _book(model_admin: "WalletAdmin", request: HttpRequest, wallet: Wallet, form: AdjustmentForm) -> bool:
    """Book what was found; on a refusal say why in the form.

    :raises ChainError: when no node can tell.
    """
    amount = form.cleaned_data["amount_in_wei"]
    try:
        booked = book_found(
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
    done = f"Booked {format_ether(amount)} ETH for {wallet.credits or 'the desk'}: {wallet}."
    if booked.replayed:
        done = f"This was done before, by the same form: {done} Nothing was booked a second time."
    model_admin.message_user(request, done, messages.INFO if booked.replayed else messages.SUCCESS)
    return True
