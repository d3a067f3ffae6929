"""The pages between a transaction and what staff do to end it, a cancel or a verdict that it is lost: why."""

from typing import TYPE_CHECKING

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone

from accounts.admin.asking import ask
from accounts.admin.base import staff_user
from accounts.admin.forms import ReasonForm
from accounts.exceptions import AccountsError
from tasks.cancelling import cancel_payment
from transactions.chain.client import chain_for_pages
from transactions.chain.exceptions import ChainError
from transactions.exceptions import TransactionNotFoundError, TransactionsError
from transactions.models import Transaction
from transactions.services import displaced
from transactions.states import UNSIGNED, Kind, Status

if TYPE_CHECKING:
    from transactions.admin.payments import TransactionAdmin


class GiveUpForm(ReasonForm):
    """That staff have looked for themselves whether it was made."""

    is_looked_up = forms.BooleanField(label="A block explorer shows no transaction of the wallet with this nonce")
    field_order = ("is_looked_up", "reason")


def cancel(model_admin: "TransactionAdmin", request: HttpRequest, transaction_id: int) -> HttpResponse:
    """Ask why a payment or a sweep is to be called off, and do it or have its place taken."""
    if not model_admin.has_cancel_permission(request):
        raise PermissionDenied
    row = Transaction.objects.filter(pk=transaction_id, kind__in=[Kind.PAYMENT, Kind.SWEEP]).first()
    if row is None:
        raise Http404
    back = reverse("admin:transactions_transaction_change", args=[row.pk])
    form = ReasonForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            row = cancel_payment(actor=staff_user(request), transaction_id=row.pk, reason=form.cleaned_data["reason"])
        except (AccountsError, TransactionsError) as error:
            model_admin.message_user(request, str(error), messages.WARNING)
        else:
            if row.status == Status.FAILED:
                done = "is cancelled."
            elif row.stage in UNSIGNED:
                done = "is cancelled as soon as it is told that no unknown transaction has paid it."
            else:
                done = "is to be replaced by a transaction that pays nobody."
            model_admin.message_user(request, f"{row} {done}", messages.SUCCESS)
        return HttpResponseRedirect(back)
    meaning = (
        "Nothing signed yet: it ends at once and the money is available again. Sent already: a transaction that pays "
        "nobody is to take its place, and whichever of the two a block takes decides; the network's fee for it is "
        "ours. While a transaction that nobody can tell may have paid it, it waits until that one is told."
    )
    return ask(
        model_admin, request, form, title=f"Cancel {row}", verb=f"Cancel the {row.kind}", meaning=meaning, back=back
    )


def give_up(model_admin: "TransactionAdmin", request: HttpRequest, transaction_id: int) -> HttpResponse:
    """Ask why a transaction is given up whose nonce was used by what no node can tell, and end it as displaced."""
    if not model_admin.has_give_up_permission(request):
        raise PermissionDenied
    back = reverse("admin:transactions_transaction_change", args=[transaction_id])
    form = GiveUpForm(request.POST or None)
    try:
        if request.method == "POST" and form.is_valid():
            row = displaced.give_up(
                actor=staff_user(request),
                transaction_id=transaction_id,
                reason=form.cleaned_data["reason"],
                now=timezone.now(),
                chain=chain_for_pages(),
            )
            model_admin.message_user(request, f"{row} is given up: it has failed as displaced.", messages.SUCCESS)
            return HttpResponseRedirect(back)
        found = displaced.find_displaced(transaction_id=transaction_id, chain=chain_for_pages())
    except TransactionNotFoundError as error:
        raise Http404 from error
    except (AccountsError, TransactionsError, ChainError) as error:
        model_admin.message_user(request, str(error), messages.WARNING)
        return HttpResponseRedirect(back)
    meaning = (
        f"A final block counts nonce {found.nonce} of {found.wallet} as used, and no node can tell by what. An "
        "authorization (EIP-7702) does that, by whoever has the wallet's key; so does a transaction in a block that "
        "none of the nodes keeps. If it is given up, it has failed for good: a payment is refunded in whole. "
        "If it was made after all, it was paid and given back."
    )
    title = f"Give up {found.row}"
    return ask(
        model_admin, request, form, title=title, verb=f"Give up the {found.row.kind}", meaning=meaning, back=back
    )
